"""Find the run ids nearest to a misspelled one."""

import difflib
from pathlib import Path

NEAREST = 5


def nearest_run_ids(name: str, folder: Path) -> list[str]:
    """Return the ids of the runs in `folder` that are most similar to `name`, at most NEAREST, the nearest first."""
    there = sorted((file.parent.name for file in folder.glob("*/manifest.json")), reverse=True)
    return difflib.get_close_matches(name, there, n=NEAREST, cutoff=0.0)
