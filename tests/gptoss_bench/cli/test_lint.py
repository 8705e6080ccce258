"""`lint` as a shell sees it: what it prints of runs and of files, and its exit codes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from folders import TESTS
from gptoss_bench import paths
from gptoss_bench.cli.main import main

FILES = TESTS / "imported"


def run_of(scenario: str) -> Path:
    return sorted(paths.RUNS.glob(f"*-{scenario}-*"))[0]


def test_the_published_figures_end_with_exit_code_3(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", str(FILES / "write-up.txt")]) == 3
    shown = capsys.readouterr().out
    assert "error: TTFT / latency is 0.2570 / 0.2558 / 0.2558 at these percentiles [ttft-is-a-frac" in shown
    assert shown.rstrip().endswith("1 error, 2 warnings, 5 notes")


def test_a_run_is_judged_by_what_it_kept_and_by_its_manifest(capsys: pytest.CaptureFixture[str]) -> None:
    run = run_of("vllm-h100")
    assert main(["lint", "--json", str(run)]) == 0
    [found] = json.loads(capsys.readouterr().out)
    assert found["result"] == f"{run.name} (TINY MODEL)"
    kept = {finding["rule"] for finding in json.loads((run / "lint.json").read_text())}
    assert kept <= {finding["rule"] for finding in found["findings"]}


def test_several_results_show_what_differs_between_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", str(run_of("vllm-h100")), str(run_of("ollama-a10"))]) == 0
    between = capsys.readouterr().out.rpartition("\nbetween them\n")[2]
    assert "[mixed-versions]" in between


def test_a_packed_file_is_read_and_a_cut_one_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packed = FILES / "guidellm.json.gz"
    assert main(["lint", str(packed)]) == 0
    assert "guidellm 0.8.1" in capsys.readouterr().out
    cut = tmp_path / "cut.json.gz"
    cut.write_bytes(packed.read_bytes()[:500])
    assert main(["lint", str(cut)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_reader_that_has_seen_enough_gets_no_traceback() -> None:
    command = [sys.executable, "-m", "gptoss_bench", "lint", str(FILES / "guidellm.json.gz")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as shown:
        assert shown.stdout is not None and shown.stderr is not None
        shown.stdout.close()
        assert shown.stderr.read() == b""
    assert shown.returncode == 0


@pytest.mark.parametrize("name", ["nothing-here", "README.md"])
def test_what_cannot_be_read_is_one_line_and_exit_code_2(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", str(FILES / name)]) == 2
    reported = capsys.readouterr()
    assert reported.out == ""
    assert len(reported.err.splitlines()) == 1


def test_a_run_without_figures_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", str(run_of("verdicts"))]) == 2
    assert "has no figures to check" in capsys.readouterr().err
