"""`python -m gptoss_bench site`: the executed notebooks of chosen runs as pages that open from disk."""

import argparse
from pathlib import Path
from typing import Any

from gptoss_bench import paths
from gptoss_bench.runs import Run, latest_runs
from gptoss_client import UsageError


def add_parser(commands: Any) -> None:
    """Add `site` and its options to the subcommands."""
    parser = commands.add_parser(
        "site",
        help="render the executed notebooks of chosen runs into pages that need no network",
        epilog="example: python -m gptoss_bench site 20261124T090000Z-verdicts-0a1b2c",
    )
    parser.add_argument(
        "runs", nargs="*", metavar="RUN", help="ids of runs; with a run of verdicts those that it rests on come along"
        " (default: the newest run of verdicts)",
    )  # fmt: skip
    parser.add_argument("--results", type=Path, default=paths.RESULTS, metavar="DIR", help="has runs/<run>")
    parser.add_argument("--out", type=Path, default=paths.SITE, metavar="DIR", help="default: site")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Build the site and print where it begins and how large it is. Raises UsageError in words."""
    # nbconvert takes seconds to import, which no other command has to pay
    from gptoss_bench.site import build_site

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
        raise UsageError(f"there is no run of verdicts under {results / 'runs'}: make run, or name the runs")
    return verdicts


def with_evidence(runs: list[Run], results: Path) -> list[Run]:
    """These runs and those that a run of verdicts among them rests on, each once."""
    ids = [run.run_id for run in runs]
    resting = [run_id for run in runs if run.scenario == "verdicts" for run_id in run.summary["runs"]]
    return latest_runs(results, dict.fromkeys([*ids, *resting]))
