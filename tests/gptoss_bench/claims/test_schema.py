"""Claims files that are wrong: one line for each mistake, which names file, claim, field and value."""

import contextlib
import copy
import datetime
import json
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gptoss_bench import paths
from gptoss_bench.claims.schema import load_write_up, parse_write_up, write_claims_schema
from gptoss_bench.claims.verdicts import decide_claims
from gptoss_client.errors import UsageError

FILE = yaml.safe_load(paths.CLAIMS.read_text())
SCHEMA = paths.ROOT / "docs" / "schemas" / "claims.json"


def changed(at: str, change: Any) -> Any:
    """The claims file with one entry changed by a function."""
    content = copy.deepcopy(FILE)
    change(next(entry for entry in content["claims"] if entry["id"].startswith(at)))
    return content


def lines(content: Any) -> list[str]:
    with pytest.raises(UsageError) as error:
        parse_write_up(content)
    return str(error.value).splitlines()


def arguments(**values: Any) -> Any:
    return lambda claim: claim["with"].update(values)


@pytest.mark.parametrize(
    ("at", "change", "expected"),
    [
        ("C34", lambda c: c.update(tolerence={"relative": 1}), "tolerence is unknown; did you mean 'tolerance'?"),
        ("C34", lambda c: c.pop("says"), "says is missing; add it"),
        ("C34", lambda c: c.update(says=7), "says is 7; it has to be a text"),
        ("C34", lambda c: c.update(kind="figur"), "kind is 'figur'; did you mean 'figure'?"),
        ("C34", lambda c: c.update(kind="x"), "kind is 'x'; choose from performance, figure, statement, opinion"),
        ("C34", lambda c: c.update(decider="mesured"), "decider is 'mesured'; did you mean 'measured'?"),
        ("C34", lambda c: c.pop("decider"), "decider is missing; add it"),
        ("C34", lambda c: c.update(needs="h10"), "needs is 'h10'; did you mean 'h100'?"),
        ("C34", lambda c: c.update(published={"valu": 1}), "published.valu is unknown; did you mean 'value'?"),
        ("C34", lambda c: c.update(published={"value": "fast"}), "published.value is 'fast'; it has to be a number"),
        ("C34", lambda c: c.update(published={"value": True}), "published.value is True; it has to be a number"),
        (
            "C34",
            lambda c: c.update(published={"value": float("nan")}),
            "published.value is nan; it has to be a finite number",
        ),
        (
            "C34",
            lambda c: c["published"].update(unit="token/s"),
            "published.unit is 'token/s'; did you mean 'tokens/s'?",
        ),
        (
            "C34",
            lambda c: c.update(published={"unit": "s"}),
            "published is {'unit': 's'}; write one of value, low and high, below, at_least, word",
        ),
        ("C34", lambda c: c.update(tolerance=0.25), "tolerance is 0.25; it has to be a mapping, name: value"),
        (
            "C34",
            lambda c: c.update(tolerance={"relative": -1}),
            "tolerance.relative is -1; input should be greater than or equal to 0",
        ),
        (
            "C34",
            lambda c: c.update({"with": ["wall_s"]}),
            "with is ['wall_s']; it has to be a mapping, name: value",
        ),
        ("C34", arguments(pth="wall_s"), "with.pth is unknown; did you mean 'path'?"),
        ("C34", lambda c: c["with"].pop("gpu"), "with.gpu is missing; add it"),
        ("C34", arguments(whole="yes"), "with.whole is 'yes'; it has to be true or false"),
        (
            "C34",
            arguments(parameters={"request": 2000}),
            "with.parameters.request is 'request'; did you mean 'requests'?",
        ),
        ("C34", arguments(prompt_tokens=[84]), "with.prompt_tokens[1] is missing; add it"),
        ("C28", arguments(holds="HTTP/2"), "with.holds is 'HTTP/2'; it has to be a list"),
        ("C28", arguments(holds=[]), "with.holds is missing; add it, or contains"),
        (
            "C28",
            arguments(holds=[[404]]),
            "with.holds[0] is [404]; it has to be a text, a whole number, or true or false",
        ),
        ("C26", lambda c: c["with"]["entries"][0].pop("source"), "with.entries[0].source is missing; add it"),
        (
            "C26",
            lambda c: c["with"]["entries"][1].update(date="soon"),
            "with.entries[1].date is 'soon'; it has to be a date, such as 2025-08-05",
        ),
        (
            "C26",
            lambda c: c["with"]["entries"][0].update(lacks=[]),
            "with.entries[0] says nothing of 'ttft'; add it to has or to lacks",
        ),
        ("C34", lambda c: c.update(lines="seven"), "lines is 'seven'; it has to be like 126-130, 343"),
        ("C10", arguments(software="vLM"), "with.software is 'vLM'; did you mean 'vLLM'?"),
        (
            "C10",
            arguments(backend="FlashAttention 9"),
            "with.backend is 'FlashAttention 9'; did you mean 'FlashAttention",
        ),
        (
            "C50",
            arguments(versions={"4.0.0": datetime.date(2025, 1, 1)}),
            "with.versions is not possible: transformers 4.0.0",
        ),
        (
            "C55",
            arguments(kept_by="C47-ttft-was"),
            "with.kept_by is 'C47-ttft-was'; did you mean 'C47-ttft-was-measured'?",
        ),
        ("C44", arguments(not_measured_by="C4"), "with.not_measured_by is 'C4'; "),
        ("C31", arguments(check="request_counts"), "with.check is 'request_counts'; did you mean 'request_count'?"),
        ("C31", lambda c: c["with"]["inputs"].pop("wall"), "with.inputs.wall is missing; add it"),
        (
            "C31",
            lambda c: c["with"]["inputs"].update(wall="C34-wal"),
            "with.inputs.wall is 'C34-wal'; did you mean 'C34-wall'?",
        ),
        (
            "C31",
            lambda c: c["with"]["inputs"].update(wall="C05-ideal-on-device"),
            "with.inputs.wall is C05-ideal-on-device, which has no published value; add it there",
        ),
        (
            "C01",
            arguments(architecture="gpt-oss-12b"),
            "with.architecture is 'gpt-oss-12b'; did you mean 'gpt-oss-120b'?",
        ),
        (
            "C16",
            arguments(devices=["A10 bare metal"]),
            "with.devices is 'A10 bare metal'; did you mean 'NVIDIA A10 (bare",
        ),
        ("C01", arguments(dtype="mxfp"), "with is not possible: dtype 'mxfp' is unknown; choose one of bf16, "),
        ("C34", arguments(path="wall"), "with.path is 'wall'; did you mean 'wall_s'?"),
        ("C34", arguments(beside={"a": "itl.p50"}), "with.beside.a is 'itl.p50'; did you mean 'itl_s.p50'?"),
        ("C34", arguments(path="?"), "with.path is '?'; write a path of the summary, such as ttft_s.p50"),
        ("C27", arguments(estimated="ttft_formula"), "with.estimated is 'ttft_formula'; did you mean 'ttft_formula_s"),
        ("C24", arguments(key="wrong_model"), "with.key is 'wrong_model'; did you mean 'wrong_model_status'?"),
        ("C15", arguments(fact="quantization"), "with.fact is 'quantization'; did you mean 'quantisation'?"),
        ("C09", arguments(architecture="gpt"), "with.architecture is 'gpt'; choose from gpt-oss-"),
    ],
)
def test_a_mistake_is_one_line_that_names_claim_field_and_value(at: str, change: Any, expected: str) -> None:
    claim_id = next(entry["id"] for entry in FILE["claims"] if entry["id"].startswith(at))
    [line] = lines(changed(at, change))
    assert line.startswith(f"claims.yaml: claim {claim_id}: {expected}")


def test_a_wrong_id_and_one_that_is_used_twice_are_named() -> None:
    [line] = lines(changed("C34", lambda c: c.update(id="wall")))
    assert line == "claims.yaml: claim wall: id is 'wall'; it has to be like C07-short-name"
    twice = lines(changed("C37", lambda c: c.update(id="C35-request-rate")))
    assert twice[0] == "claims.yaml: claim C35-request-rate: id is used 2 times; give each claim its own"


def test_all_mistakes_of_a_file_are_shown_one_per_line() -> None:
    content = changed("C34", lambda c: c.update(kind="figur", needs="h10"))
    content["claims"].append({"says": "a"})
    content["source"]["read"] = 3
    assert lines(content) == [
        "claims.yaml: source.read is 3; it has to be a date, such as 2025-08-05",
        "claims.yaml: claim C34-wall: kind is 'figur'; did you mean 'figure'?",
        "claims.yaml: claim C34-wall: needs is 'h10'; did you mean 'h100'?",
        f"claims.yaml: claim number {len(FILE['claims']) + 1}: decider is missing; add it",
    ]


@pytest.mark.parametrize(
    "text", ["", "claims: 3", "claims: []", "- a", "claims: [3]", "a: \x00", "&a [*a]", "a: " + "[" * 3000]
)
def test_a_file_without_claims_is_refused_in_lines_that_name_it(tmp_path, text):
    file = tmp_path / "claims.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match=r"^[^\n]*claims\.yaml[^\n]+"):
        load_write_up(file)


def test_a_mistake_of_yaml_is_named_with_its_line(tmp_path):
    file = tmp_path / "claims.yaml"
    file.write_text("schema: 1\nclaims:\n  - id: [\n")
    with pytest.raises(UsageError, match=r"^claims\.yaml, line 4, column 1: [^\n]+$"):
        load_write_up(file)


def test_a_missing_file_is_refused_in_one_line(tmp_path):
    with pytest.raises(UsageError, match=r"cannot read claims\.yaml"):
        load_write_up(tmp_path / "claims.yaml")


SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates() | st.datetimes() | st.binary()
)
KEYS = st.sampled_from(["id", "value", "version", "relative"]) | st.text() | st.integers() | st.none() | st.dates()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=6
)


def places(content: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place of a YAML document, as keys and indices."""
    inner = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [at, *(place for key, value in inner for place in places(value, (*at, key)))]


PLACES = [place for place in places(FILE) if place]
PLACE = {claim["id"][:3]: at for at, claim in enumerate(FILE["claims"])}


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(PLACES), VALUES, st.booleans())
@example(("claims", PLACE["C34"], "id"), "a\u2028b", False)
@example(("claims", PLACE["C34"], "says"), "a\nb", True)
@example(("claims", PLACE["C31"], "published", "value"), 0, False)
@example(("claims", PLACE["C34"], "with", "gpu"), "A10(", False)
@example(("claims", PLACE["C44"], "published", "value"), 1e300, False)
@example(("claims", PLACE["C33"], "published", "value"), 1e15, False)
@example(("claims", PLACE["C01"], "published", "value"), -1, False)
def test_any_value_in_any_field_gives_a_verdict_or_a_usage_error(place, value, as_key):
    content = copy.deepcopy(FILE)
    parent = content
    for step in place[:-1]:
        parent = parent[step]
    if as_key and isinstance(parent, dict) and isinstance(value, str | int | None):
        parent[value] = parent.pop(place[-1])
    else:
        parent[place[-1]] = value
    try:
        write_up = parse_write_up(content)
    except UsageError as error:
        found = str(error).splitlines()
    else:
        found = []
        with contextlib.suppress(UsageError):  # a figure with which a check cannot be computed
            assert len(decide_claims(write_up)) == len(write_up.claims)
    assert all(line.startswith("claims.yaml: ") for line in found)


def test_the_json_schema_is_that_of_the_model(tmp_path):
    write_claims_schema(tmp_path / "claims.json")
    command = "from gptoss_bench.claims.schema import *; write_claims_schema(paths.ROOT / 'docs/schemas/claims.json')"
    assert SCHEMA.read_text() == (tmp_path / "claims.json").read_text(), f'run .venv/bin/python -c "{command}"'
    assert "mapping" in json.loads(SCHEMA.read_text())["properties"]["claims"]["items"]["discriminator"]
