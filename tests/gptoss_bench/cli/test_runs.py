"""`runs`: what is listed, in which order, and what the filters keep."""

import json

import pytest

from gptoss_bench import paths
from gptoss_bench.cli.main import main

IDS = sorted((file.parent.name for file in paths.RUNS.glob("*/manifest.json")), reverse=True)


def listed(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict]:
    assert main(["runs", "--json", *arguments]) == 0
    return json.loads(capsys.readouterr().out)


def test_all_runs_are_listed_newest_first(capsys):
    assert [run["run"] for run in listed(capsys)] == IDS
    assert main(["runs"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split()[:3] == ["run", "status", "label"]
    assert [line.split()[0] for line in lines] == IDS


def test_runs_are_filtered_by_scenario_engine_label_and_words(capsys):
    assert {run["scenario"] for run in listed(capsys, "--scenario", "h100")} == {"vllm-h100"}
    assert all(run["engine"] == "vllm" for run in listed(capsys, "--engine", "VLLM"))
    tiny = listed(capsys, "--label", "tiny model")
    assert tiny and all("TINY MODEL" in run["label"] for run in tiny)
    assert {run["label"] for run in listed(capsys, "--label", "")} == {""}
    assert {run["scenario"] for run in listed(capsys, "tiny", "ollama")} == {"ollama-a10"}


def test_no_match_and_no_run_are_a_line_on_stderr(capsys, tmp_path):
    assert listed(capsys, "no-such-word") == []
    assert main(["runs", "--scenario", "h1000"]) == 0
    reported = capsys.readouterr()
    assert (reported.out, reported.err.count("\n")) == ("", 1)
    assert "vllm-h100" in reported.err
    assert main(["runs", "--results", str(tmp_path)]) == 0
    assert str(tmp_path) in capsys.readouterr().err
