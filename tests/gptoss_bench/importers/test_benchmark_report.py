"""llm-d's Benchmark Report: what a run gives in it, what it does not, and what comes back from it."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

import published
from benchmark_report_schema import find_violations
from gptoss_bench.cli.main import main
from gptoss_bench.importers import parse_results, write_benchmark_report
from gptoss_bench.lint import check_result, read_results
from gptoss_bench.runs import LoadSummary, Run
from gptoss_client import UsageError
from tool_files import BENCHMARK_REPORT, FORMS

RUNS = [run for run in map(Run.load, published.folders()) if isinstance(run.summary, LoadSummary)]
[RANDOM_WEIGHTS] = [run for run in RUNS if run.run_id.endswith("281d07")]


def report(run: Run) -> dict[str, Any]:
    return yaml.safe_load(write_benchmark_report(run))


def aggregate(run: Run) -> dict[str, Any]:
    return report(run)["results"]["request_performance"]["aggregate"]


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.run_id)
def test_a_run_gives_a_report_that_the_schema_allows(run: Run) -> None:
    found = report(run)
    assert find_violations(found) == []
    assert found["run"]["uid"] == run.run_id
    assert found["run"].get("keywords", []) == run.manifest.labels


def test_the_check_finds_what_the_schema_refuses() -> None:
    assert find_violations(BENCHMARK_REPORT | {"results": {}}) == []
    wrong = copy.deepcopy(report(RANDOM_WEIGHTS))
    measured = wrong["results"]["request_performance"]["aggregate"]
    measured["latency"]["request_latency"]["units"] = "s/token"
    del measured["latency"]["time_to_first_token"]["mean"]
    measured["requests"]["total"] = 1.5
    measured["throughput"]["extra"] = 1
    del wrong["scenario"]["load"]["standardized"]["source"]
    assert len(find_violations(wrong)) == 5


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.run_id)
def test_what_comes_back_are_the_numbers_of_the_run(run: Run) -> None:
    [found] = parse_results(write_benchmark_report(run), "report.yaml")
    mine, back = run.load_summary, found.summary
    assert (back.requests, back.completed, back.failed) == (mine.requests, mine.completed, mine.failed)
    assert (back.request_s, back.output_tok_s_total) == (mine.request_s, mine.output_tok_s_total)
    assert (back.concurrency_planned, back.completion_tokens.mean) == (
        mine.concurrency_planned,
        mine.completion_tokens.mean,
    )
    for name in ("ttft_s", "tpot_s", "done_s"):
        one, other = mine.distribution(name), back.distribution(name)
        assert other.mean == one.mean
        assert [other.at(at) for at in ("p50", "p90", "p99")] == [
            one.at(at) if one.resolved.at(at) else None for at in ("p50", "p90", "p99")
        ]
    server = run.manifest.server
    assert (found.manifest.server.model, found.manifest.server.version) == (server.model, server.version)
    assert found.manifest.labels == run.manifest.labels


def test_the_same_rules_hold_before_and_after(tmp_path: Path) -> None:
    file = tmp_path / "report.yaml"
    file.write_text(write_benchmark_report(RANDOM_WEIGHTS))
    [result] = read_results(file)
    assert not [one for one in check_result(result).findings if one.severity == "error"]


def test_what_is_not_known_is_absent() -> None:
    found = aggregate(RANDOM_WEIGHTS)
    assert RANDOM_WEIGHTS.load_summary.tokens_per_event > 1.1
    assert "inter_token_latency" not in found["latency"]  # its gaps are between chunks of several tokens
    assert RANDOM_WEIGHTS.load_summary.tpot_s.mean is None
    assert "time_per_output_token" not in found["latency"]
    bare = copy.deepcopy(RANDOM_WEIGHTS)
    bare.manifest.endpoint.version, bare.manifest.code.version = None, None
    assert set(report(bare)["scenario"]) == set()


def test_units_are_converted_and_a_wrong_one_is_refused() -> None:
    changed = copy.deepcopy(BENCHMARK_REPORT)
    times = changed["results"]["request_performance"]["aggregate"]["latency"]["time_to_first_token"]
    times |= {"units": "s", "mean": 0.11, "p50": 0.1}
    [found] = parse_results(json.dumps(changed), "report.json")
    assert (found.summary.ttft_s.mean, found.summary.ttft_s.p50) == (0.11, 0.1)
    times["units"] = "hours"
    with pytest.raises(UsageError, match=r"time_to_first_token\.units is 'hours'; choose from s, ms"):
        parse_results(json.dumps(changed), "report.json")


def test_the_server_is_the_component_with_a_model() -> None:
    [found] = parse_results(FORMS["benchmark-report.json"], "report.json")
    server = found.manifest.server
    assert (server.engine, server.version, server.model) == ("vllm", "0.25.0", "openai/gpt-oss-20b")
    assert [gpu.name for gpu in found.manifest.gpus] == ["2 × NVIDIA-H100-80GB-HBM3"]
    assert found.manifest.labels == []  # the keywords of another tool are no labels of this kit
    assert any("role chunk" in note for note in found.notes)


@pytest.mark.parametrize("version", ["0.1", "0.3", 0.2])
def test_another_version_is_refused_in_one_line(version: Any) -> None:
    for content in (BENCHMARK_REPORT, {"scenario": {}, "metrics": {}}):
        with pytest.raises(UsageError, match=r"version is .*; this kit reads llm-d Benchmark Report, versions 0\.2"):
            parse_results(json.dumps({**content, "version": version}), "report.json")


def test_the_command_writes_it_beside_the_pages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(RANDOM_WEIGHTS.path), "--out", str(tmp_path), "--benchmark-report"]) == 0
    file = tmp_path / f"{RANDOM_WEIGHTS.run_id}.benchmark-report.yaml"
    assert str(file) in capsys.readouterr().out
    assert main(["lint", str(file)]) == 0
