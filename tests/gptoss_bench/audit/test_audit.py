"""Any text with figures is judged: figures get names, units and lines; what cannot be true is an error."""

import csv
import io
import json
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from folders import TESTS
from gptoss_bench.audit import audit_text, draft_claims
from gptoss_bench.audit.published_text import find_figures
from gptoss_bench.claims.schema import parse_write_up
from gptoss_bench.cli.main import main
from gptoss_client import UsageError, parse_json

PAGES = sorted(set((TESTS / "published").glob("*.md")) - {TESTS / "published" / "README.md"})
FILES = sorted(file for file in (TESTS / "imported").iterdir() if file.suffix in (".txt", ".json", ".md", ".csv"))

TABLE = """\
> | metric | 1 stream | 8 streams |
> |---|---:|---:|
> | TTFT p50 (ms) | 100 | 900 |
> | latency p50 (ms) | 2,000 | 4000 |
> | tok/s | 100 | 700.5 |
"""
ROWS = """\
| concurrency | mean TTFT (ms) | tok/s | req/s |
|---:|---:|---:|---:|
| 1 | 35 | 250 | 0.25 |
| 32 | 200 | 1,491.1 | 1.5 |
"""
CELLS = """\
| case | baseline | tuned |
|---|---|---|
| **chat** | Total TPS: 100.5<br>Mean TPOT(ms): 9.5 | Total TPS: 120.5 <b>(+20%)</b><br>Mean TPOT(ms): 8.5 |
"""
BLOCK = "2000 requests | concurrency=256 | max_tokens=256\nLatency (s)  p50=8.835 p90=11.235\nwall time: 66.89 s\n"
BOX = """\
┏━━━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━┳━━━━━━━━━━┓
┃                   Metric ┃   avg ┃      p99 ┃
┡━━━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━╇━━━━━━━━━━┩
│ Time to First Token (ms) │   900 │ 2,000.00 │
│     Request Latency (ms) │ 3,100 │ 4,000.00 │
└──────────────────────────┴───────┴──────────┘
"""
GRID = """\
+--------------------------+--------+
| Key                      | Value  |
+==========================+========+
| Time taken for tests (s) | 32.1   |
+--------------------------+--------+
| Number of concurrency    | 50     |
+--------------------------+--------+
"""
PROSE = "With vLLM v0.11.0 an H100 makes about 45 tokens per second with gpt-oss-20b."


def named(text: str) -> list[dict[str, float]]:
    return [{name: one.figure.value for name, one in group.figures.items()} for group in find_figures(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            TABLE,
            [
                {"ttft_s.p50": 0.1, "done_s.p50": 2.0, "output_tok_s_total": 100.0},
                {"ttft_s.p50": 0.9, "done_s.p50": 4.0, "output_tok_s_total": 700.5},
            ],
        ),
        (
            ROWS,
            [
                {"concurrency_planned": 1.0, "ttft_s.mean": 0.035, "output_tok_s_total": 250.0, "request_s": 0.25},
                {"concurrency_planned": 32.0, "ttft_s.mean": 0.2, "output_tok_s_total": 1491.1, "request_s": 1.5},
            ],
        ),
        (
            CELLS,
            [{"total_tok_s": 100.5, "tpot_s.mean": 0.0095}, {"total_tok_s": 120.5, "tpot_s.mean": 0.0085}],
        ),
        (
            BLOCK,
            [
                {
                    "requests": 2000.0,
                    "concurrency_planned": 256.0,
                    "max_tokens": 256.0,
                    "done_s.p50": 8.835,
                    "done_s.p90": 11.235,
                    "wall_s": 66.89,
                }
            ],
        ),
        (PROSE, [{"output_tok_s_total": 45.0}]),
        ("TTFT: 12", []),  # without a unit it says nothing
        ("Input token throughput: 730.75 tokens/s", []),
        ("Throughput : 47.89 ± 1.07 tokens/s", [{"output_tok_s_total": 47.89}]),
        ("Concurrency: 5.48\nMax concurrency: 8", [{"concurrency_planned": 8.0}]),  # a mean is no plan
        ("Issue Rate (req/sec): 2.31E+15", [{"request_rate": 2.31e15}]),
        ("Total Latency (ms): 1500.0", [{"wall_s": 1.5}]),
        ("E2E (ms) avg: 182.5", [{"done_s.mean": 0.1825}]),
        ('{"mean_ttft_ms": 110.5,\n"duration_s": 4}', [{"ttft_s.mean": 0.1105, "wall_s": 4.0}]),
        (
            "| Tput User (TPS) | Tput Prefill (TPS) | tok/s |\n|--|--|--|\n| 33 | 601 | 90 |",
            [{"output_tok_s_total": 90.0}],
        ),
        (BOX, [{"ttft_s.mean": 0.9, "ttft_s.p99": 2.0, "done_s.mean": 3.1, "done_s.p99": 4.0}]),
        (GRID, [{"wall_s": 32.1, "concurrency_planned": 50.0}]),
        ("Peak output token throughput (tok/s): 900\nStd TTFT (ms): 3", []),
        ("Nothing to see here.", []),
    ],
)
def test_figures_are_named_by_label_unit_and_statistic(text: str, expected: list[dict[str, float]]) -> None:
    found = named(text)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other)


def test_a_figure_keeps_its_line_and_its_rounding() -> None:
    figures = find_figures(f"intro\n\n{TABLE}")[0].figures
    assert [figures[name].line for name in ("ttft_s.p50", "done_s.p50", "output_tok_s_total")] == [5, 6, 7]
    assert figures["ttft_s.p50"].figure.step == pytest.approx(1e-3)
    assert find_figures("tok/s: 700.50")[0].figures["output_tok_s_total"].figure.step == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("content", "printed", "changed", "words"),
    [
        (TABLE, "2,000", "90", "TTFT p50 0.1 s is above latency p50 0.09 s"),
        (BLOCK, "p90=11.235", "p90=7.0", "latency p50 8.835 s is above latency p90 7 s"),
        (BLOCK, "66.89", "6.89", "is above the wall time 6.89 s"),
        (ROWS, "| 35 |", "| 0 |", "TTFT mean is 0 s"),
    ],
)
def test_what_cannot_be_true_is_an_error(content: str, printed: str, changed: str, words: str) -> None:
    assert not audit_text(content, "page").impossible
    found = audit_text(content.replace(printed, changed), "page")
    assert found.impossible
    assert any(words in one.evidence for result in found.results for one in result.findings)


def test_it_says_what_is_missing_and_what_cannot_be_compared() -> None:
    found = audit_text(f"{PROSE}\n\n{ROWS}\n{CELLS}", "page")
    in_prose = next(one for one in found.results if "line 1" in one.name)
    assert "the number of requests" in in_prose.missing
    assert not {"the engine and its version", "the model", "the hardware"} & set(in_prose.missing)
    assert any("requests in flight: 1, 32" in words for words in found.not_comparable)
    assert any("prompt and output tokens" in words for words in found.not_comparable)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_an_honest_page_has_no_impossible_figure(page: Path) -> None:
    found = audit_text(page.read_text(), page.name)
    assert sum(len(result.figures) for result in found.results) >= 3
    assert not [one.evidence for result in found.results for one in result.findings if one.severity == "error"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_no_figure_of_a_tools_file_is_called_impossible(file: Path) -> None:
    if file.name == "README.md":
        pytest.skip("it describes the files")
    found = audit_text(file.read_text(), file.name)
    rules = {one.rule for result in found.results for one in result.findings}
    assert not {"impossible-figures", "missing-requests"} & rules


def test_a_draft_is_a_claims_file_whose_claims_name_their_lines() -> None:
    text = (TESTS / "imported" / "write-up.txt").read_text()
    write_up = parse_write_up(yaml.safe_load(draft_claims(audit_text(text, "write-up.txt"))))
    by_name = {claim.name: claim for claim in write_up.claims}
    assert by_name["latency-p90"].lines == "7"
    assert (by_name["latency-p90"].published.value, by_name["latency-p90"].published.step) == (11.235, 0.001)
    assert by_name["token-rate"].decider == "not_measured"


def test_the_command_prints_lines_and_ends_with_3_for_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.md"
    page.write_text(ROWS)
    assert main(["audit", str(page)]) == 0
    assert "line 3: mean TTFT (ms): 35 ms" in capsys.readouterr().out
    monkeypatch.setattr("sys.stdin", io.StringIO(ROWS.replace("| 35 |", "| 0 |")))
    assert main(["audit", "-", "--json"]) == 3
    [shown] = json.loads(capsys.readouterr().out)
    assert shown["results"][0]["findings"][0]["rule"] == "impossible-figures"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing.md"], "cannot read missing.md"),
        (["{page}", "--draft", "{page}"], "exists"),
        (["{page}", "{page}", "--draft", "{new}"], "--draft takes one file"),
        (["{page}", "{claims}"], "judge claims files alone"),
        (["{empty}"], "no figure that can be named"),
    ],
)
def test_bad_input_gets_one_line(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {name: str(tmp_path / name) for name in ("page", "new", "empty")} | {"claims": "claims.yaml"}
    (tmp_path / "page").write_text(ROWS)
    (tmp_path / "empty").write_text("nothing")
    assert main(["audit", *(argument.format(**names) for argument in arguments)]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_a_draft_is_judged_by_the_same_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draft = tmp_path / "claims.yaml"
    block = "Number of requests: 2000\nSuccessful requests: 2000\nWall time: 66.89 s\nRequests / second: 29.9\n"
    page = tmp_path / "page.txt"
    page.write_text(block)
    assert main(["audit", str(page), "--draft", str(draft)]) == 0
    assert main(["audit", str(draft), "--results", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "line 4: Completed requests a second. 29.9 1/s" in shown
    assert "consistent (published figures against each other): 2000 requests / 66.89 s = 29.900 a second" in shown


def drafted(text: str) -> str:
    """Return the draft of a text, or why it is refused."""
    try:
        return draft_claims(audit_text(text, "page"))
    except UsageError as error:
        return str(error)


@given(st.text(max_size=400))
def test_any_text_is_audited_or_refused_in_one_line(text: str) -> None:
    shown = drafted(text)
    assert shown.startswith("# A draft") or "\n" not in shown


LABELS = st.sampled_from(["TTFT (ms)", "tok/s", "| p50", "requests", "|---|"])
VALUES = st.text("0123456789.,|-%\n", max_size=12)


@given(st.lists(st.tuples(LABELS, VALUES), max_size=12))
def test_tables_that_are_broken_are_audited_or_refused(parts: list[tuple[str, str]]) -> None:
    shown = drafted("\n".join(f"| {label} | {value} |" for label, value in parts))
    assert shown.startswith("# A draft") or "\n" not in shown


def test_json_that_no_tool_wrote_is_refused() -> None:
    assert parse_json("{}") == {}
    with pytest.raises(UsageError, match="no figure"):
        audit_text("{}", "x.json")


def published_rows() -> list[dict[str, str]]:
    with (TESTS / "published" / "gptoss_hardware.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


LABELS_OF_COLUMNS = {
    "concurrency": "concurrency",
    "out_tok_s": "output tok/s",
    "total_tok_s": "total tok/s",
    "req_s": "req/s",
    "ttft_ms": "TTFT (ms)",
    "tpot_ms": "TPOT (ms)",
}


@pytest.mark.parametrize("row", published_rows(), ids=lambda row: row["id"])
def test_no_published_figure_is_called_impossible(row: dict[str, str]) -> None:
    lines = [f"{label}: {row[column]}" for column, label in LABELS_OF_COLUMNS.items() if row[column]]
    try:
        found = audit_text("\n".join(lines), row["id"])
    except UsageError:
        assert not any(re.match(r"[\d.]+$", row[column]) for column in LABELS_OF_COLUMNS)  # nothing but ranges or words
    else:
        assert not found.impossible
