"""`python -m gptoss_bench rebuild RUN`: a run's derived files, made again from what came over the wire."""

import argparse
import filecmp
import tempfile
from pathlib import Path
from typing import Any

from gptoss_bench.errors import UsageError
from gptoss_bench.rebuild import rebuild
from gptoss_bench.store import Run


def add_parser(commands: Any) -> None:
    """Add `rebuild` to the subcommands."""
    parser = commands.add_parser(
        "rebuild",
        help="derive a run's tables, summary and findings again from its raw data",
        description="Write requests.parquet, chunks.parquet, summary.json and lint.json again from raw.parquet.",
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
            names = rebuild(found, found.path)
        except OSError as error:
            raise UsageError(
                f"cannot write to {found.path}: {error.strerror or error}; free space, or copy it"
            ) from error
        print("\n".join(f"{name}: written" for name in names))
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        names = rebuild(found, Path(scratch))
        differ = {name: not _same(Path(scratch) / name, found.path / name) for name in names}
    print("\n".join(f"{name}: {'differs' if differ[name] else 'the same'}" for name in names))
    return 1 if any(differ.values()) else 0


def _same(one: Path, other: Path) -> bool:
    return other.exists() and filecmp.cmp(one, other, shallow=False)
