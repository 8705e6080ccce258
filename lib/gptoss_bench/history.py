"""The runs on disk: which of each scenario counts."""

from collections.abc import Iterable
from pathlib import Path

from gptoss_bench import paths
from gptoss_bench.run_labels import without_model
from gptoss_bench.store import Run


def latest_runs(results: Path = paths.RESULTS, run_ids: Iterable[str] = ()) -> list[Run]:
    """The runs named, or else the newest complete run of each scenario, oldest first.

    A run without a label goes before one that carries a label, and one of a real model before a tiny one's, however
    new: what was measured on a GPU is not lost to a later try on the embedded engine. Raises UsageError where a named
    run is not there.
    """
    folder = results / "runs"
    if named := list(run_ids):
        return [Run.load(folder / run_id) for run_id in named]
    newest: dict[str, Run] = {}
    for file in sorted(folder.glob("*/manifest.json")):
        run = Run.load(file.parent)
        best = newest.get(run.scenario)
        if run.manifest["status"] == "complete" and (best is None or _worth(run) >= _worth(best)):
            newest[run.scenario] = run
    return sorted(newest.values(), key=lambda run: run.run_id)


def _worth(run: Run) -> int:
    """0 of a run in which no gpt-oss answered, 1 of another with a label, 2 without one."""
    label = str(run.manifest["label"] or "")
    return 0 if without_model(label) else 1 if label else 2
