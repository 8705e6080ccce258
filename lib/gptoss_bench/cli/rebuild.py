"""`gptoss-bench rebuild RUN`: derive a run's tables, summary and findings again from its raw bytes, or finish it."""

import filecmp
import json
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from gptoss_bench.cli.options import Json
from gptoss_bench.cli.output import print_json
from gptoss_bench.cli.run_ids import complete_run, find_run
from gptoss_bench.files import writing
from gptoss_client import UsageError

EXAMPLE = "example: gptoss-bench rebuild --check 20261124T090000Z-load-0a1b2c"
SAME = "the same"


def rebuild(
    run: Annotated[str, typer.Argument(metavar="RUN", help="id or folder of a run", autocompletion=complete_run)],
    *,
    check: Annotated[
        bool, typer.Option("--check", help="compare and write nothing; exit code 1 if a file would differ")
    ] = False,
    as_json: Json = False,
) -> int:
    """Derive requests.parquet, events.parquet, summary.json and lint.json again from raw.parquet.

    A run that was killed is finished from the requests that had ended, and becomes incomplete.
    """
    path = find_run(run)  # before pandas is imported

    from gptoss_bench.runs import Run
    from gptoss_bench.session import finish_interrupted, rebuild_run, showing_progress

    found = Run.load(path)
    if not found.finished and check:
        raise UsageError(f"run {found.run_id} has no end yet: `gptoss-bench rebuild` without --check finishes it")
    with showing_progress(f"{found.run_id}: deriving the tables from the raw bytes"):
        if not found.finished:
            path = finish_interrupted(found.path).path
            reported = dict.fromkeys(
                sorted(file.name for file in (*path.glob("*.parquet"), *path.glob("*.json"))), "written"
            )
        elif not check:
            with writing(found.path, "copy the run to a writable folder"):
                reported = dict.fromkeys(rebuild_run(found, found.path), "written")
        else:
            with tempfile.TemporaryDirectory() as scratch:
                names = rebuild_run(found, Path(scratch))
                reported = {name: _difference(Path(scratch) / name, found.path / name) for name in names}
    if as_json:
        print_json(reported)
    else:
        print("\n".join(f"{name}: {words}" for name, words in reported.items()))
    return 1 if check and any(words != SAME for words in reported.values()) else 0


def _difference(made: Path, kept: Path) -> str:
    """Return how a kept file differs from the newly made one, as text, or SAME."""
    if not kept.exists():
        return "differs: the file is missing"
    if filecmp.cmp(made, kept, shallow=False):
        return SAME
    try:
        now, then = (_parts(json.loads(file.read_bytes())) for file in (made, kept))
    except (ValueError, TypeError, AttributeError, KeyError):
        return "differs"
    groups = {
        "added": sorted(now.keys() - then.keys()),
        "removed": sorted(then.keys() - now.keys()),
        "changed": sorted(name for name in now.keys() & then.keys() if now[name] != then[name]),
    }
    words = "; ".join(f"{group} {', '.join(names)}" for group, names in groups.items() if names)
    return f"differs: {words}" if words else "differs only in its formatting"


def _parts(content: Any) -> dict[str, Any]:
    """Return the parts that are compared: the findings of lint.json by rule, the entries of summary.json by name."""
    if isinstance(content, list):
        return {str(finding["rule"]): finding for finding in content}
    return dict(content)
