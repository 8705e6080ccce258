"""The rulers on disk: which one, if any, was laid on this machine."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gptoss_bench.error_bar import ruler_of
from gptoss_bench.store import Run


def ruler_here(results: Path, machine: Mapping[str, Any]) -> dict[str, Any]:
    """What a run on `machine` (of machine.machine) keeps of the newest complete ruler under `results`: `ruler_of`."""
    runs = [Run.load(file.parent) for file in sorted((results / "runs").glob("*-ruler-*/manifest.json"))]
    complete = [run for run in runs if run.manifest["status"] == "complete"]
    return ruler_of(machine, [(run.run_id, run.manifest["machine"], run.summary) for run in complete])
