"""`python -m gptoss_bench site`: render the executed notebooks of runs into a site that opens from disk."""

import argparse
from pathlib import Path
from typing import Any

from gptoss_bench import paths
from gptoss_bench.runs import Run, latest_runs
from gptoss_client import UsageError


def add_parser(commands: Any) -> None:
    """Add `site` to the commands."""
    parser = commands.add_parser(
        "site",
        help="render the executed notebooks of runs into a site that needs no network",
        epilog="example: python -m gptoss_bench site 20261124T090000Z-verdicts-0a1b2c",
    )
    parser.add_argument(
        "runs", nargs="*", metavar="RUN", help="ids of runs; the evidence of a run of verdicts is included"
        " (default: the newest run of verdicts)",
    )  # fmt: skip
    parser.add_argument(
        "--results", type=Path, default=paths.RESULTS, metavar="DIR", help="folder that holds runs/<run>"
    )
    parser.add_argument(
        "--out", type=Path, default=paths.SITE, metavar="DIR", help="folder of the site (default: results/site)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Build the site, print its first page and its size, and return the exit code."""
    # nbconvert takes seconds to import: only this command pays for it.
    from gptoss_bench.site import build_site, with_evidence

    chosen = with_evidence(_chosen(args.results, args.runs), args.results)
    front = build_site(chosen, args.out.absolute())
    files = [file for file in front.parent.rglob("*") if file.is_file()]
    print(f"{front}\n{len(files)} files, {sum(file.stat().st_size for file in files) / 1e6:.1f} MB")
    return 0


def _chosen(results: Path, run_ids: list[str]) -> list[Run]:
    if run_ids:
        return latest_runs(results, [Path(run_id).name for run_id in run_ids])
    verdicts = [run for run in latest_runs(results) if run.scenario == "verdicts"]
    if not verdicts:
        raise UsageError(f"there is no run of verdicts in {results / 'runs'}: run `make run`, or name the runs")
    return verdicts
