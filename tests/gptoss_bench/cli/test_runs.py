"""`runs`: what is listed, in which order, and what the filters keep."""

import json

import pytest

from gptoss_bench import paths
from gptoss_bench.cli.main import main
from terminal import KIT, on_a_terminal

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


OPEN = {"concurrency_planned": None, "rate_planned": 12.5, "output_tok_s": 80.0, "failed": 3}


def written(results, run_id: str, summary: dict) -> None:
    folder = results / "runs" / run_id
    folder.mkdir(parents=True)
    manifest = {"schema": 2, "run_id": run_id, "scenario": "load", "status": "complete"}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "summary.json").write_text(json.dumps(summary))


def test_an_open_loop_has_a_rate_and_a_packed_stream_no_gap_of_zero(capsys, tmp_path):
    closed = {
        "requests": 4,
        "percentile_rule": "inclusive",
        "ttft_s": {"n": 0},
        "completed": 4,
        "concurrency_planned": 8,
        "output_tok_s_total": 91.26,
    }
    written(tmp_path, "20261124T090000Z-load-0a1b2c", closed | {"itl_s": {"n": 9, "p50": 0.0}})
    written(tmp_path, "20261124T090001Z-load-0a1b2d", closed | OPEN)
    assert main(["runs", "--results", str(tmp_path)]) == 0
    reported = capsys.readouterr()
    newest, oldest = (line.split() for line in reported.out.splitlines()[1:])
    assert newest == ["20261124T090001Z-load-0a1b2d", "complete", "12.5/s", "3", "80.0"]
    assert oldest == ["20261124T090000Z-load-0a1b2c", "complete", "8", "0", "not", "res.", "91.3*"]
    assert reported.err.startswith("2 runs, newest first; * over the whole run")


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_a_terminal_gets_the_columns_that_it_has_room_for(width):
    shown = on_a_terminal(*KIT, "runs", COLUMNS=str(width)).decode().replace("\r", "")
    head, *lines = shown.splitlines()
    assert [line.split()[0] for line in lines] == IDS
    assert max(map(len, [head, *lines])) <= width
    assert {"run", "TTFT", "tok/s"} <= {*head.split()}
    assert ("label" in head, "status" in head) == (width >= 80, width >= 100)


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
