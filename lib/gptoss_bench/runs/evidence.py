"""Choose which of several runs of a scenario is preferred as evidence for verdicts."""

from collections.abc import Iterable
from pathlib import Path

from gptoss_bench import paths
from gptoss_bench.runs.catalogue import readable_runs
from gptoss_bench.runs.folder import Run
from gptoss_bench.runs.labels import no_gpt_oss_labels


def latest_runs(results: Path = paths.RESULTS, run_ids: Iterable[str] = ()) -> list[Run]:
    """Return the named runs, or the newest complete run of each scenario, oldest first.

    A run without a label goes before one that carries a label, and one of a real model before a tiny one's, however
    new: what was measured on a GPU is not lost to a later try on the embedded engine. A folder that cannot be read is
    left out with a warning. Raises UsageError where a named run is not there.
    """
    folder = results / "runs"
    if named := list(run_ids):
        return [Run.load(folder / run_id) for run_id in named]
    newest: dict[str, Run] = {}
    for run in readable_runs(results):
        best = newest.get(run.scenario)
        if run.manifest.status == "complete" and (best is None or _preference(run) >= _preference(best)):
            newest[run.scenario] = run
    return sorted(newest.values(), key=lambda run: run.run_id)


def _preference(run: Run) -> int:
    """Return 0 for a run without a gpt-oss model, 1 for another run with a label, 2 for a run without a label."""
    labels = run.manifest.labels
    return 0 if no_gpt_oss_labels(labels) else 1 if labels else 2
