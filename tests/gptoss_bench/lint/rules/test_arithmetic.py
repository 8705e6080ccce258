"""Rules on figures against each other: a result that breaks each, and one that does not; the planted table of files."""

import json
from pathlib import Path
from typing import Any

import pytest

from folders import TESTS
from gptoss_bench.importers import ImportedSummary
from gptoss_bench.lint.check import check_result
from gptoss_bench.lint.results import Result, read_results
from gptoss_bench.lint.rules.arithmetic import ARITHMETIC_RULES
from gptoss_bench.lint.rules.rule import apply_rules
from gptoss_bench.runs.finding import Finding
from gptoss_bench.runs.manifest import Manifest
from gptoss_bench.runs.request_table import derive_tables

IMPORTED = TESTS / "imported"
SOUND: dict[str, Any] = {
    "requests": 100,
    "completed": 100,
    "concurrency_planned": 8,
    "wall_s": 50.0,
    "request_s": 2.0,
    "output_tok_s_total": 128.0,
    "completion_tokens": {"mean": 64.0, "sum": 6400},
    "ttft_s": {"n": 100, "mean": 0.5, "p50": 0.4, "p90": 0.8, "p99": 0.9},
    "tpot_s": {"n": 100, "mean": 0.05},
    "done_s": {"n": 100, "mean": 3.65, "p50": 3.6, "p90": 3.9, "p99": 4.0},
}


def server(total_s: float) -> dict[str, Any]:
    parts = {"load_s": 5.0, "prompt_s": 0.2, "eval_s": 18.0, "total_s": total_s}
    return {"server": {name: {"n": 1, "p50": value} for name, value in parts.items()}}


def findings(**changed: Any) -> dict[str, Finding]:
    summary = ImportedSummary.model_validate({**SOUND, **changed})
    result = Result("", summary, derive_tables([])[0], Manifest(parameters={"max_tokens": 64}))
    return {found.rule: found for found in apply_rules(ARITHMETIC_RULES, result)}


BROKEN: list[tuple[str, dict[str, Any], str]] = [
    ("impossible-figures", {"request_s": 4.0, "output_tok_s_total": 256.0}, "100 completed at 4/s take 25 s"),
    ("impossible-figures", {"completion_tokens": {"mean": 65.0}}, "with at most 64 allowed"),
    ("impossible-figures", {"done_s": {**SOUND["done_s"], "p90": 3.0}}, "latency p50 3.6 s is above latency p90 3 s"),
    ("impossible-figures", {"ttft_s": {"n": 100, "mean": 0.0}}, "TTFT mean is 0 s"),
    ("missing-requests", {"requests": 120}, "of 120 requests 100 completed and 0 failed: 20 are missing"),
    ("time-unaccounted", server(31.3), "8.1 s of the server's total of 31.3 s (26%)"),
    ("time-unaccounted", {"ttft_s": {"n": 100, "mean": 0.05, "p50": 0.04}}, "of the mean latency of 3.65 s"),
    ("prefill-too-fast", {"prefill": [{"tokens": 32768, "n": 1, "tok_s": 139_357.0}]}, "139,357 tokens/s"),
]
WITHIN: list[tuple[str, dict[str, Any]]] = [
    ("impossible-figures", {"request_s": 2.01}),
    ("missing-requests", {"requests": 120, "failed": 20}),
    ("time-unaccounted", server(25.0)),
    ("prefill-too-fast", {"prefill": [{"tokens": 32768, "n": 1, "tok_s": 39_357.0}]}),
]


@pytest.mark.parametrize(("rule", "changed", "words"), BROKEN)
def test_each_rule_is_broken(rule: str, changed: dict[str, Any], words: str) -> None:
    found = findings(**changed)
    assert rule in found
    assert words in found[rule].evidence


def test_a_sound_result_breaks_no_rule() -> None:
    assert findings() == {}


@pytest.mark.parametrize(("rule", "changed"), WITHIN)
def test_what_can_be_is_no_finding(rule: str, changed: dict[str, Any]) -> None:
    assert rule not in findings(**changed)


# Trust in a linter: each of these alterations of a real result makes it impossible, so each has to be an error.
BLOCKS = [
    ("7645.2", "9000.0", "301 each"),
    ("66.89", "30.00", "take 66.89 s"),
    ("p90=11.235", "p90=7.0", "latency p50 8.835 s is above latency p90 7 s"),
    ("p50=2.271", "p50=9.9", "TTFT p50 9.9 s is above"),
]


@pytest.mark.parametrize(("printed", "instead", "words"), BLOCKS)
def test_an_altered_block_of_the_write_up_is_an_error(printed: str, instead: str, words: str, tmp_path: Path) -> None:
    text = (IMPORTED / "write-up.txt").read_text()
    assert printed in text
    assert words in errors_of(tmp_path / "block.txt", text.replace(printed, instead))


FILES: list[tuple[dict[str, Any], str]] = [
    ({"completed": 20}, "of 24 requests 20 completed and 0 failed: 4 are missing"),
    ({"output_throughput": 614.0}, "tokens at 614/s take"),
    ({"duration": 1.25}, "the wall time is 1.25 s"),
    ({"request_throughput": 19.2}, "completed at 19.2/s take"),
    ({"p90_e2el_ms": 410.0}, "is above latency p90 0.41 s"),
    ({"p90_ttft_ms": 500.0, "p99_ttft_ms": 500.0}, "TTFT p90 0.5 s is above latency p90"),
    ({"mean_ttft_ms": 0.0, "median_ttft_ms": 0.0, "p50_ttft_ms": 0.0}, "TTFT"),
]


@pytest.mark.parametrize(("changed", "words"), FILES)
def test_an_altered_file_of_vllm_is_an_error(changed: dict[str, Any], words: str, tmp_path: Path) -> None:
    content = json.loads((IMPORTED / "vllm-bench-serve.json").read_text())
    assert words in errors_of(tmp_path / "bench.json", json.dumps({**content, **changed}))


def errors_of(file: Path, text: str) -> str:
    file.write_text(text)
    [result] = read_results(file)
    found = check_result(result).findings
    return "; ".join(one.evidence for one in found if one.severity == "error")


@pytest.mark.parametrize("file", sorted(file.name for file in IMPORTED.iterdir() if file.name != "README.md"))
def test_no_figure_of_a_real_file_is_called_impossible(file: str) -> None:
    found = [one for result in read_results(IMPORTED / file) for one in check_result(result).findings]
    assert not {"impossible-figures", "missing-requests"} & {one.rule for one in found}
