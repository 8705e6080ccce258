"""Every notebook runs cell by cell, and each kind of broken notebook is reported."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import papermill
import pytest

from folders import TESTS
from gptoss_bench import paths
from gptoss_bench.notebook.profiles import read_profile
from gptoss_bench.notebook.runner import PAGE_POLICY, execute_notebook
from gptoss_bench.runs.folder import Run
from gptoss_client.errors import RunFailed, UsageError

TINY = TESTS / "notebooks"
# `capacity` has a test of its own; `verdicts` reads the runs of those before it, and `one_request` writes none.
NOTEBOOKS = [*sorted({path.stem for path in paths.NOTEBOOKS.glob("*.ipynb")} - {"capacity", "verdicts"}), "verdicts"]
SCENARIOS = {name.replace("_", "-") for name in NOTEBOOKS} - {"one-request"}


def prepare(source: Path, target: Path, parameters: Mapping[str, object]) -> None:
    """Write a notebook with injected parameters and without executing it, because nbval takes no parameters."""
    papermill.execute_notebook(source, target, dict(parameters), prepare_only=True, progress_bar=False)


def nbval(folder: Path, *, cell_timeout_s: int = 240) -> subprocess.CompletedProcess[str]:
    """Run every cell of every notebook in a folder, with shorter timeouts than the half hour of nbval."""
    timeouts = [f"--nbval-cell-timeout={cell_timeout_s}", "--nbval-kernel-startup-timeout=120"]
    command = [sys.executable, "-m", "pytest", "--nbval-lax", *timeouts, "-p", "no:cacheprovider", "-c", os.devnull]
    return subprocess.run(
        [*command, "--rootdir", str(folder), str(folder)],
        capture_output=True,
        text=True,
        cwd=paths.ROOT,
        timeout=1200,
        check=False,
    )


def test_every_cell_of_every_scenario_runs(tmp_path):
    books, results = tmp_path / "books", tmp_path / "results"
    books.mkdir()
    for number, name in enumerate(NOTEBOOKS):
        where = {"results_dir": str(results), **read_profile(paths.PROFILES / "smoke.yaml")}
        prepare(paths.NOTEBOOKS / f"{name}.ipynb", books / f"{number}_{name}.ipynb", where)
    done = nbval(books)
    assert done.returncode == 0, done.stdout[-6000:]
    runs = {run.scenario: run for run in map(Run.load, (results / "runs").iterdir())}
    assert set(runs) == SCENARIOS | {"vllm-h100-temperature-1"}
    assert {run.manifest.status for run in runs.values()} == {"complete"}
    assert runs["vllm-h100"].manifest.labels == runs["ollama-a10"].manifest.labels == ["TINY MODEL"]


def test_nbval_fails_a_notebook_that_breaks_and_passes_one_that_is_whole(tmp_path):
    for name in ("broken_cell", "lost_task", "whole"):
        prepare(TINY / f"{name}.ipynb", tmp_path / f"{name}.ipynb", {"results_dir": str(tmp_path)})
    done = nbval(tmp_path)
    assert done.returncode == 1, done.stdout[-3000:]
    assert "ZeroDivisionError" in done.stdout and "was not awaited" in done.stdout
    failed = set(re.findall(r"^FAILED .*?(\w+)\.ipynb::", done.stdout, re.MULTILINE))
    assert failed == {"broken_cell", "lost_task"}


def test_nbval_fails_a_notebook_whose_kernel_dies(tmp_path):
    prepare(TINY / "dead_kernel.ipynb", tmp_path / "dead_kernel.ipynb", {"results_dir": str(tmp_path)})
    done = nbval(tmp_path, cell_timeout_s=5)  # a dead kernel is seen by its silence
    assert done.returncode == 1, done.stdout[-3000:]
    assert "dead_kernel.ipynb::Cell 3" in done.stdout


@pytest.fixture
def tiny_notebooks(monkeypatch):
    """Let the runner find the notebooks of tests/notebooks."""
    monkeypatch.setattr(paths, "NOTEBOOKS", TINY)


def test_the_runner_counts_a_notebook_that_wrote_its_result(tmp_path, tiny_notebooks):
    cells = list[str]()
    done = execute_notebook("whole", {"results_dir": str(tmp_path)}, tmp_path, report_cell=cells.append)
    numbers = range(1, 6)  # one holds the parameters given
    assert cells == [*(f"whole (cell {number} of 5)" for number in numbers), "writing the page"]
    assert done.run.manifest.status == "complete"
    assert done.notebook.parent == done.html.parent == done.run.path
    assert 'src="http' not in done.html.read_text()
    assert f"<head>{PAGE_POLICY}" in done.html.read_text()
    assert str(tmp_path) not in done.notebook.read_text().replace(f'results_dir = \\"{tmp_path}', "").replace(
        f'"results_dir": "{tmp_path}', ""
    )


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("broken_cell", RunFailed, "ZeroDivisionError"),
        ("bad_input", UsageError, "concurrency must be 1 or more"),
        ("lost_task", RunFailed, "was not awaited"),
        ("dead_kernel", RunFailed, "kernel died"),
        ("no_result", RunFailed, "wrote no result"),
        ("endless_cell", RunFailed, "longer than 8 s"),
    ],
)
def test_the_runner_counts_no_notebook_that_broke_and_keeps_it(tmp_path, tiny_notebooks, name, error, words):
    timeout_s = 8 if name == "endless_cell" else 240
    with pytest.raises(error, match=words) as reported:
        execute_notebook(name, {"results_dir": str(tmp_path)}, tmp_path, timeout_s=timeout_s)
    assert "\n" not in str(reported.value)
    [folder] = (tmp_path / "runs").iterdir()
    assert (folder / "notebook.ipynb").exists()
    assert Run.load(folder).manifest.status == "incomplete"
