"""Check run ids, and find those nearest to a misspelled one."""

import difflib
import re
from pathlib import Path

from gptoss_client import UsageError, one_line

NEAREST = 5
REPEATS = "repeats"  # in the id of a repeat group


def check_run_name(run_id: str, scenario: str) -> None:
    """Raise UsageError unless run id and scenario can be parts of a file name and of an address on every system."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}", run_id):
        raise UsageError(f"the run id {one_line(run_id, 80)!r} is not letters, digits, dots, hyphens and underscores")
    if not re.fullmatch("[a-z0-9][a-z0-9_-]{0,99}", scenario):
        raise UsageError(f"the scenario {one_line(scenario, 80)!r} is not small letters, digits and hyphens")


def can_be_repeat_group(name: str) -> bool:
    """Return whether a name can be the id of a repeat group, without reading any run."""
    return REPEATS in name


def nearest_run_ids(name: str, folder: Path) -> list[str]:
    """Return the ids of the runs in `folder` that are most similar to `name`, at most NEAREST, the nearest first."""
    there = sorted((file.parent.name for file in folder.glob("*/manifest.json")), reverse=True)
    return difflib.get_close_matches(name, there, n=NEAREST, cutoff=0.0)


def named_run(name: str, folder: Path) -> Path | None:
    """Return the run of `folder` with this id, or with its last six characters where only one has them, else None."""
    if re.fullmatch("[0-9a-f]{6}", name) and len(ends := [*folder.glob(f"*-{name}/manifest.json")]) == 1:
        return ends[0].parent
    return folder / name if name and Path(name).name == name and (folder / name / "manifest.json").exists() else None
