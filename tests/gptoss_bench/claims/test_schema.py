"""Claims files that are wrong: each is refused in one line that names the claim and the key."""

import copy
from typing import Any

import pytest
import yaml

from gptoss_bench import paths
from gptoss_bench.claims.schema import load_claims, parse_claims
from gptoss_client.errors import UsageError

FILE = yaml.safe_load(paths.CLAIMS.read_text())


def broken(at: str, change: Any) -> Any:
    """The claims file with one entry changed by a function."""
    content = copy.deepcopy(FILE)
    change(next(entry for entry in content["claims"] if entry["id"].startswith(at)))
    return content


@pytest.mark.parametrize(
    ("at", "change", "words"),
    [
        ("C34", lambda c: c.update(tolerence={"relative": 1}), ["C34-wall", "'tolerence'", "did you mean 'tolerance'"]),
        ("C34", lambda c: c.pop("says"), ["C34-wall", "'says'", "missing"]),
        ("C34", lambda c: c.update(says=7), ["C34-wall", "'says'", "a text"]),
        ("C34", lambda c: c.update(kind="figur"), ["C34-wall", "'kind'", "did you mean 'figure'"]),
        ("C34", lambda c: c.update(decider="mesured"), ["C34-wall", "'decider'", "did you mean 'measured'"]),
        ("C34", lambda c: c.update(needs="h10"), ["C34-wall", "'needs'", "did you mean 'h100'"]),
        ("C34", lambda c: c.update(id="wall"), ["claim wall", "'id'", "C07-short-name"]),
        ("C34", lambda c: c.update(id="C35-request-rate"), ["C35-request-rate", "'id'", "twice"]),
        ("C34", lambda c: c.update(published={"valu": 1}), ["C34-wall", "'valu'", "did you mean 'value'"]),
        ("C34", lambda c: c.update(published={"value": "fast"}), ["C34-wall", "'value'", "a number"]),
        ("C34", lambda c: c.update(published={"value": float("nan")}), ["C34-wall", "'value'", "a number"]),
        ("C34", lambda c: c.update(published={"unit": "s"}), ["C34-wall", "'published'", "value"]),
        ("C34", lambda c: c.update(tolerance=0.25), ["C34-wall", "'tolerance'", "mapping"]),
        ("C34", lambda c: c.update({"with": ["wall_s"]}), ["C34-wall", "'with'"]),
        ("C34", lambda c: c["with"].update(pth="wall_s"), ["C34-wall", "'pth'", "did you mean 'path'"]),
        ("C34", lambda c: c["with"].pop("gpu"), ["C34-wall", "'gpu'", "missing"]),
        ("C34", lambda c: c["with"].update(whole="yes"), ["C34-wall", "'whole'", "true or false"]),
        ("C28", lambda c: c["with"].update(holds="HTTP/2"), ["C28-http2", "'holds'", "a list"]),
        ("C24", lambda c: c["with"]["record"].update(version=0.32), ["C24-model-name", "'version'", "a text"]),
        ("C10", lambda c: c["with"]["entries"][0].pop("holds"), ["C10-sinks", "'holds'", "missing"]),
        ("C36", lambda c: c["with"].update(check="rates"), ["C36-rate", "'check'", "did you mean 'rate'"]),
        ("C36", lambda c: c["with"]["inputs"].pop("wall"), ["C36-rate", "'wall'", "missing"]),
        ("C36", lambda c: c["with"]["inputs"].update(wall="C34-wal"), ["C36-rate", "did you mean 'C34-wall'"]),
        ("C36", lambda c: c["with"]["inputs"].update(wall="C05-ideal-on-device"), ["C05-ideal", "no published value"]),
    ],
)
def test_a_wrong_claims_file_is_one_line_that_names_claim_and_key(at, change, words):
    with pytest.raises(UsageError) as error:
        parse_claims(broken(at, change))
    message = str(error.value)
    assert "\n" not in message
    assert all(word in message for word in ["claims.yaml", *words]), message


@pytest.mark.parametrize("text", ["", "claims: 3", "claims: []", "- a", "claims: [3]", "claims: [", "a: \x00"])
def test_a_file_without_claims_is_refused_in_one_line(tmp_path, text):
    file = tmp_path / "claims.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match=r"^[^\n]*claims\.yaml[^\n]+$"):
        load_claims(file)


def test_a_missing_file_is_refused_in_one_line(tmp_path):
    with pytest.raises(UsageError, match=r"cannot read claims\.yaml"):
        load_claims(tmp_path / "claims.yaml")
