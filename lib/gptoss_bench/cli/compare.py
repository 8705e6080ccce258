"""`gptoss-bench compare FIRST SECOND`: print whether the second result is faster, slower or the same."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from gptoss_bench.cli.options import Json, share_option
from gptoss_bench.cli.output import coloured, print_json
from gptoss_bench.cli.run_ids import complete_run, find_run
from gptoss_client import UsageError

if TYPE_CHECKING:
    from gptoss_bench.stats import Difference

EXAMPLE = """example:
  gptoss-bench compare results/runs/20261124T090000Z-load-0a1b2c results/runs/20261124T091000Z-load-3d4e5f

Each line has the difference relative to the first result and its 95 % interval over requests. Two loads of one server
can differ by more, because requests within a load are correlated: `load --until` repeats the load."""


def compare(
    first: Annotated[
        str, typer.Argument(metavar="FIRST", help="run, or result file of another tool", autocompletion=complete_run)
    ],
    second: Annotated[
        str, typer.Argument(metavar="SECOND", help="result to compare with it", autocompletion=complete_run)
    ],
    *,
    same: Annotated[float | None, share_option("largest difference that counts as the same (default: 3%)")] = None,
    as_json: Json = False,
) -> int:
    """Compare two runs, or result files of other tools, with confidence intervals."""
    from gptoss_bench.lint import check_result, differing_conditions, read_results
    from gptoss_bench.session import findings_document
    from gptoss_bench.stats import SAME_MARGIN, compare_results

    sides = []
    for path in (find_run(first), find_run(second)):
        results = read_results(path)
        if len(results) > 1:
            raise UsageError(f"{path} holds {len(results)} results: compare takes one result per side")
        sides += results
    found = compare_results(*(side.side for side in sides), margin=SAME_MARGIN if same is None else same)
    differing = differing_conditions((side.name, side.manifest) for side in sides)
    errors = [[one for one in check_result(side).findings if one.severity == "error"] for side in sides]
    if as_json:
        print_json(
            {
                "first": sides[0].name,
                "second": sides[1].name,
                "differences": [asdict(difference) for difference in found],
                "differing_conditions": findings_document(differing),
                "errors": {side.name: findings_document(ones) for side, ones in zip(sides, errors, strict=True)},
            }
        )
        return 0
    print(f"first:  {sides[0].name}\nsecond: {sides[1].name}\n")
    print("\n".join(_line(difference) for difference in found))
    for finding in differing:
        print(f"\n{coloured(finding.severity)}: {finding.evidence} [{finding.rule}]\n  {finding.advice}")
    for side, ones in zip(sides, errors, strict=True):
        for finding in ones:
            print(f"\n{coloured('error')} in {side.name}: {finding.evidence} [{finding.rule}]")
    return 0


def _line(one: "Difference") -> str:
    values = " ".join(f"{'–' if value is None else f'{value:.5g}':>10}" for value in (one.first, one.second))
    change = f"  {one.change:+7.1%}  {one.interval_text}" if one.interval is not None else ""
    return f"{one.name:<20}{values}{change}  {coloured(one.verdict_text, one.verdict)}"
