"""`gptoss-bench compare FIRST SECOND`: print how two runs, or two sides of several runs, differ."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated

import typer

from gptoss_bench.cli.options import Json, ResultsFolder, share_option
from gptoss_bench.cli.output import coloured, print_json
from gptoss_bench.cli.run_ids import complete_run, find_side
from gptoss_client import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from gptoss_bench.lint import Result
    from gptoss_bench.stats import Difference, Limit

EXAMPLE = """examples, two runs, two repeat groups of `load --repeats`, and three runs a side:
  gptoss-bench compare 20261124T090000Z-load-0a1b2c 20261124T091000Z-load-3d4e5f
  gptoss-bench compare 20261124T090000Z-repeats-0a1b2c 20261124T090000Z-repeats-3d4e5f
  gptoss-bench compare RUN,RUN,RUN RUN,RUN,RUN

a regression gate, against a committed run and between two groups:
  gptoss-bench compare RUN --baseline 20261124T090000Z-load-0a1b2c --fail-if 'ttft_p50 > +10%'
  gptoss-bench compare BEFORE AFTER --fail-if 'ttft_p99 > +10%' --fail-if 'output_tok_s < -5%' --cannot-tell pass

Each line has the difference relative to the first side and its 95 % interval. Of single runs it says whether these two
runs differ, not which server is faster: that takes at least three runs of each, made in turn, as
`load --url A --url B --repeats 3` makes them. A run that is too short for an interval says: repeat the run."""


def compare(
    first: Annotated[
        str,
        typer.Argument(
            metavar="FIRST",
            help="run, repeat group, several runs separated by commas, or result file of another tool",
            autocompletion=complete_run,
        ),
    ],
    second: Annotated[
        str | None, typer.Argument(metavar="SECOND", help="what to compare with it", autocompletion=complete_run)
    ] = None,
    *,
    baseline: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="compare FIRST with this run or side, instead of SECOND with FIRST"),
    ] = None,
    fail_if: Annotated[
        list[str] | None,
        typer.Option("--fail-if", metavar="LIMIT", help="exit code 3 beyond a limit, 'ttft_p99 > +10%'; repeatable"),
    ] = None,
    cannot_tell: Annotated[
        str, typer.Option("--cannot-tell", metavar="pass|fail", help="what a limit does that nobody can tell")
    ] = "fail",
    same: Annotated[
        float | None, share_option("largest difference of repeated runs that counts as the same (default: 3%)")
    ] = None,
    results: ResultsFolder = None,
    as_json: Json = False,
) -> int:
    """Compare two runs or two groups of runs, or result files of other tools, with confidence intervals."""
    if (second is None) == (baseline is None):
        raise UsageError("name two sides: FIRST and SECOND, or one side and --baseline RUN")
    if cannot_tell not in ("pass", "fail"):
        raise UsageError(f"--cannot-tell is {cannot_tell!r}; write pass or fail")
    limits = _limits(fail_if) if fail_if else []
    named = (first, second) if second is not None else (str(baseline), first)
    found_sides = [find_side(text, results) for text in named]  # before pandas is imported

    from gptoss_bench.lint import check_result, differing_conditions
    from gptoss_bench.session import findings_document
    from gptoss_bench.stats import CANNOT_TELL, FAILS, SAME_MARGIN, check_limits, compare_results

    sides = [[_read(path) for path in side] for side in found_sides]
    every = [one for side in sides for one in side]
    if all(one.run for one in every):  # their TPOT and token rate have more to say than the server's decode rate
        compared = [[replace(one.side, rates=()) for one in side] for side in sides]
    else:
        compared = [[one.side for one in side] for side in sides]
    found = compare_results(*compared, margin=SAME_MARGIN if same is None else same)
    differing = differing_conditions((one.name, one.manifest) for one in every)
    errors = {one.name: [of for of in check_result(one).findings if of.severity == "error"] for one in every}
    names = [", ".join(one.name for one in side) for side in sides]
    checked = check_limits(limits, *compared)
    failing = (FAILS, CANNOT_TELL) if cannot_tell == "fail" else (FAILS,)
    code = 3 if any(one.word in failing for one in checked) else 0
    if as_json:
        print_json(
            {
                "first": names[0],
                "second": names[1],
                "differences": [asdict(difference) for difference in found],
                "limits": [asdict(one) for one in checked],
                "differing_conditions": findings_document(differing),
                "errors": {name: findings_document(ones) for name, ones in errors.items()},
            }
        )
        return code
    print(f"first:  {names[0]}\nsecond: {names[1]}\n")
    print("\n".join(difference_lines(found)))
    for finding in differing:
        print(f"\n{coloured(finding.severity)}: {finding.evidence} [{finding.rule}]\n  {finding.advice}")
    if len({one.notes for one in every}) > 1:  # names that do not mean the same on both sides
        for result in every:
            for note in result.notes:
                print(f"\n{coloured('note')} on {result.name}: {note}")
    for name, ones in errors.items():
        for finding in ones:
            print(f"\n{coloured('error')} in {name}: {finding.evidence} [{finding.rule}]")
    for one in checked:
        interval = f"  [{one.interval[0]:+.1%}, {one.interval[1]:+.1%}]" if one.interval else ""
        change = "" if one.change is None else f"  {one.change:+.1%}{interval}"
        why = f": {one.why}" if one.why else ""
        print(f"\nlimit {one.limit}{change}  {coloured(f'{one.word}{why}', one.word)}")
    return code


def difference_lines(differences: Sequence["Difference"]) -> list[str]:
    """Return the heads, a line per difference: values, change, interval, word; and what a wave is if one names them."""
    from gptoss_bench.stats import MIN_WAVES, QUANTITY_WORDS

    lines = [f"{'median, or rate':<20}{'first':>10} {'second':>10}  {'change':>7}  [95 % interval]  result"]
    for one in differences:
        values = " ".join(f"{'–' if value is None else f'{value:.4g}':>10}" for value in (one.first, one.second))
        change = "" if one.change is None else f"  {one.change:+7.1%}  {one.interval_text}"
        lines.append(f"{QUANTITY_WORDS.get(one.name, one.name):<20}{values}{change}  {coloured(one.text, one.word)}")
    if any(one.why and one.why.endswith("waves") for one in differences):
        lines.append(f"A wave is one request per slot. An interval from one run needs {MIN_WAVES} waves, or more.")
    return lines


def _limits(texts: Sequence[str]) -> "list[Limit]":
    from gptoss_bench.stats import Limit

    return [Limit.parse(text) for text in texts]


def _read(path: "Path") -> "Result":
    from gptoss_bench.lint import read_results

    results = read_results(path)
    if len(results) > 1:
        raise UsageError(
            f"{path} holds {len(results)} results: compare one of them, such as {path.name}#1 with {path.name}#2"
        )
    return results[0]
