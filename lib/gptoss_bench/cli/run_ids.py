"""Find a run by its id or its folder, and name the nearest ids where there is none."""

import glob
import os
from pathlib import Path

from gptoss_bench import paths
from gptoss_bench.runs import can_be_repeat_group, named_run, nearest_run_ids
from gptoss_client import UsageError

NEWEST = 5


def find_run(name: str | Path, results: Path | None = None) -> Path:
    """Return the path that `name` is, also with the number of a result in it (FILE#2), or the folder of the run.

    The six characters at the end of an id are enough where only one run has them. Raises UsageError with the
    nearest ids if there is neither.
    """
    given, runs = Path(name), (results or paths.RESULTS) / "runs"
    for path in (given, runs / given):
        if path.exists() or Path(str(path).rpartition("#")[0]).is_file():
            return path
    if (found := named_run(str(name), runs)) is not None:
        return found
    near = given.parent if any(given.parent.glob("*/manifest.json")) else runs
    raise UsageError(f"there is no run {str(name)!r} and no such path; {nearest_runs(given.name, near)}")


def find_side(text: str, results: Path | None = None) -> list[Path]:
    """Return the paths of one side of a comparison: a run, a file, a repeat group, or several, separated by commas.

    Raises UsageError with the nearest ids if there is none of them.
    """
    # os.path answers False for a list that is longer than a name of a file may be, where Path raises.
    names = [text] if os.path.exists(text) else text.split(",")
    return [path for name in names for path in _repeated(name, results) or [find_run(name, results)]]


def _repeated(name: str, results: Path | None) -> list[Path]:
    if not can_be_repeat_group(name):
        return []
    from gptoss_bench.runs import repeated_runs  # it imports pandas

    return repeated_runs(results or paths.RESULTS, name)


def complete_run(incomplete: str) -> list[str]:
    """Return the ids of runs that begin with this text, for the completion of a shell."""
    return sorted(file.parent.name for file in paths.RUNS.glob(f"{glob.escape(incomplete)}*/manifest.json"))


def nearest_runs(name: str, runs: Path) -> str:
    """Return the ids in a folder that are nearest to `name`, or the newest ones without a name, as text."""
    ids = sorted((file.parent.name for file in runs.glob("*/manifest.json")), reverse=True)
    if not ids:
        return f"there is no run in {runs} yet: measure one with `gptoss-bench load` or `make run`"
    if not name:
        return f"newest runs: {', '.join(ids[:NEWEST])}"
    return f"nearest runs: {', '.join(nearest_run_ids(name, runs))}"
