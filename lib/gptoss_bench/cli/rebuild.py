"""`python -m gptoss_bench rebuild RUN`: derive a run's tables, summary and findings again from its raw bytes."""

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
    """Add `rebuild` to the commands."""
    parser = commands.add_parser(
        "rebuild",
        help="derive a run's tables, summary and findings again from its raw bytes",
        description="Derive requests.parquet, events.parquet, summary.json and lint.json again from raw.parquet.",
        epilog="example: python -m gptoss_bench rebuild --check results/runs/20261124T090000Z-load-0a1b2c",
    )
    parser.add_argument("folder", type=Path, metavar="RUN", help="folder of a finished run")
    parser.add_argument(
        "--check", action="store_true", help="compare and write nothing; exit code 1 if a file would differ"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write or compare the files, print one line per file, and return 1 if one differs, else 0."""
    found = Run.load(args.folder)
    if not args.check:
        try:
            names = rebuild_run(found, found.path)
        except OSError as error:
            raise UsageError(
                f"cannot write to {found.path}: {error.strerror or error}; copy the run to a writable folder"
            ) from error
        print("\n".join(f"{name}: written" for name in names))
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        names = rebuild_run(found, Path(scratch))
        reported = {name: _difference(Path(scratch) / name, found.path / name) for name in names}
    print("\n".join(f"{name}: {words or 'the same'}" for name, words in reported.items()))
    return 1 if any(reported.values()) else 0


def _difference(made: Path, kept: Path) -> str:
    """Return how a kept file differs from the newly made one, as text; empty if it does not."""
    if not kept.exists():
        return "differs: the file is missing"
    if filecmp.cmp(made, kept, shallow=False):
        return ""
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
