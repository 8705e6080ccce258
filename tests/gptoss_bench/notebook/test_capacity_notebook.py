"""The notebook of a search runs on the embedded engine, and its target passes server and limits to it."""

import subprocess
from pathlib import Path

import nbformat
import pytest

from gptoss_bench import paths
from gptoss_bench.cli.main import main
from gptoss_bench.readings import capacity_finding
from gptoss_bench.runs.folder import Run
from gptoss_bench.site.redraw import redraw

SHORT = ("first_level=30.0", "level_seconds=1.0", "near_levels=4", "max_minutes=0.05", "prompts=fixed", "slo=e2e=2s")


def test_the_notebook_searches_and_shows_what_it_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    profile = ["run", "--profile", str(paths.PROFILES / "capacity.yaml"), *(word for p in SHORT for word in ("-p", p))]
    assert main([*profile, "--results", str(tmp_path), "capacity"]) == 0
    [folder] = (tmp_path / "runs").iterdir()
    run = Run.load(folder)
    summary = run.load_summary
    assert (run.scenario, run.manifest.status, run.manifest.labels) == ("capacity", "complete", ["TINY MODEL"])
    assert summary.capacity is not None and summary.slo is not None and summary.slo.e2e_s == 2.0
    assert summary.capacity.levels[0].level == 30 and summary.capacity.levels[0].requests > 0
    finding = capacity_finding(summary, run.manifest)
    assert finding in capsys.readouterr().out
    cells = {cell.id: cell for cell in nbformat.read(folder / "notebook.ipynb", as_version=4).cells}
    assert finding.removeprefix("TINY MODEL: ").split(";")[0] in cells["claim"].source
    picture, read = cells["curve"].outputs
    assert "image/png" in picture.data and "requests/s" in read.data["text/markdown"]
    [table] = cells["levels"].outputs
    assert "within the SLO" in table.data["text/html"]
    figure = redraw("share_within_slo", run)
    assert figure is not None and "E2E ≤ 2 s" in " ".join(figure.get_supxlabel().split())


def commands_of(ready: Path, *words: str) -> str:
    """Return what `make run-capacity` would run."""
    ready.touch()
    command = ["make", "-n", f"READY={ready}", "run-capacity", *words]
    return subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True, check=True).stdout


def test_the_target_passes_server_and_limits_and_without_a_server_takes_the_embedded_engine(tmp_path: Path) -> None:
    given = " ".join(commands_of(tmp_path / "ready", "URL=http://h:1", "SLO=ttft=0.5s,tpot=30ms").split())
    assert (
        "-p 'url=http://h:1' --profile notebooks/profiles/endpoint.yaml -p 'slo=ttft=0.5s,tpot=30ms' capacity" in given
    )
    alone = " ".join(commands_of(tmp_path / "ready").split())
    assert "--profile notebooks/profiles/capacity.yaml capacity" in alone
