"""`python -m gptoss_bench rebuild RUN`: a run's derived files, made again from what came over the wire."""

import argparse
import filecmp
import json
import tempfile
from pathlib import Path
from typing import Any

from gptoss_bench.runs import Run
from gptoss_bench.session import rebuild_run
from gptoss_client import UsageError


def add_parser(commands: Any) -> None:
    """Add `rebuild` to the subcommands."""
    parser = commands.add_parser(
        "rebuild",
        help="derive a run's tables, summary and findings again from its raw data",
        description="Write requests.parquet, events.parquet, summary.json and lint.json again from raw.parquet.",
        epilog="example: python -m gptoss_bench rebuild --check results/runs/20261124T090000Z-load-0a1b2c",
    )
    parser.add_argument("folder", type=Path, metavar="RUN", help="folder of a finished run")
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 where a file would differ")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write or compare, a line a file. Raises UsageError where the run has no raw data or cannot be written."""
    found = Run.load(args.folder)
    if not args.check:
        try:
            names = rebuild_run(found, found.path)
        except OSError as error:
            raise UsageError(
                f"cannot write to {found.path}: {error.strerror or error}; free space, or copy it"
            ) from error
        print("\n".join(f"{name}: written" for name in names))
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        names = rebuild_run(found, Path(scratch))
        reported = {name: _difference(Path(scratch) / name, found.path / name) for name in names}
    print("\n".join(f"{name}: {words or 'the same'}" for name, words in reported.items()))
    return 1 if any(reported.values()) else 0


def _difference(made: Path, kept: Path) -> str:
    """In words, what of a kept file would be otherwise; empty where it is the same."""
    if not kept.exists():
        return "differs: it is not there"
    if filecmp.cmp(made, kept, shallow=False):
        return ""
    try:
        now, then = (_parts(json.loads(file.read_bytes())) for file in (made, kept))
    except (ValueError, TypeError, AttributeError, KeyError):
        return "differs"
    groups = {
        "now also": sorted(now.keys() - then.keys()),
        "no longer": sorted(then.keys() - now.keys()),
        "otherwise": sorted(name for name in now.keys() & then.keys() if now[name] != then[name]),
    }
    words = "; ".join(f"{group} {', '.join(names)}" for group, names in groups.items() if names)
    return f"differs: {words}" if words else "differs in nothing but its form"


def _parts(content: Any) -> dict[str, Any]:
    """What a document is told apart by: the rules of lint.json, the names of summary.json."""
    if isinstance(content, list):
        return {str(finding["rule"]): finding for finding in content}
    return dict(content)
