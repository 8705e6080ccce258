"""`python -m gptoss_bench compare FIRST SECOND`: print whether the second result is faster, slower or the same."""

import argparse
from pathlib import Path
from typing import Any

from gptoss_bench.cli.arguments import parse_share
from gptoss_bench.lint import check_result, differing_conditions, read_results
from gptoss_bench.stats import SAME_MARGIN, Difference, compare_results
from gptoss_client import UsageError

EXAMPLE = """example:
  python -m gptoss_bench compare results/runs/20261124T090000Z-load-0a1b2c results/runs/20261124T091000Z-load-3d4e5f

Each line has the difference relative to the first result and its 95 % interval over requests. Two loads of one server
can differ by more, because requests within a load are correlated: `load --until` repeats the load."""


def add_parser(commands: Any) -> None:
    """Add `compare` to the commands."""
    parser = commands.add_parser(
        "compare",
        help="compare two results: same, faster, slower or cannot tell",
        description="Compare two run folders, or result files of other tools, with confidence intervals.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("first", type=Path, metavar="FIRST", help="run folder, or result file of another tool")
    parser.add_argument("second", type=Path, metavar="SECOND", help="result to compare with it")
    parser.add_argument(
        "--same",
        type=parse_share,
        default=SAME_MARGIN,
        metavar="SHARE",
        help="largest difference that counts as the same (default: 3%%)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Compare two results, print one line per quantity, and return the exit code."""
    sides = []
    for path in (args.first, args.second):
        results = read_results(path)
        if len(results) > 1:
            raise UsageError(f"{path} holds {len(results)} results: compare takes one result per side")
        sides += results
    found = compare_results(*(side.side for side in sides), margin=args.same)
    print(f"first:  {sides[0].name}\nsecond: {sides[1].name}\n")
    print("\n".join(_line(difference) for difference in found))
    for finding in differing_conditions((side.name, side.manifest) for side in sides):
        print(f"\n{finding.severity}: {finding.evidence} [{finding.rule}]\n  {finding.advice}")
    for side in sides:
        for finding in check_result(side).findings:
            if finding.severity == "error":
                print(f"\nerror in {side.name}: {finding.evidence} [{finding.rule}]")
    return 0


def _line(one: Difference) -> str:
    values = " ".join(f"{'–' if value is None else f'{value:.5g}':>10}" for value in (one.first, one.second))
    change = f"  {one.change:+7.1%}  {one.interval_text}" if one.interval is not None else ""
    return f"{one.name:<20}{values}{change}  {one.verdict_text}"
