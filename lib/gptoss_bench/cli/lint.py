"""`gptoss-bench lint RUN-OR-FILE…`: print what makes results of this kit or of other tools untrustworthy."""

from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from gptoss_bench.cli.options import Json
from gptoss_bench.cli.output import coloured, print_json
from gptoss_bench.cli.run_ids import complete_run, find_run
from gptoss_client import UsageError

if TYPE_CHECKING:
    from gptoss_bench.lint import CheckedResult

EXAMPLE = """example:
  gptoss-bench lint results/runs/20261124T090000Z-load-0a1b2c
  vllm bench serve … --save-result --result-filename bench.json && gptoss-bench lint bench.json

Exit code 3 if a rule of severity error fires. For several results, their differing conditions are printed too."""


def lint(
    results: Annotated[
        list[str] | None,
        typer.Argument(metavar="RUN-OR-FILE", help="runs, or result files of other tools", autocompletion=complete_run),
    ] = None,
    *,
    rules: Annotated[bool, typer.Option("--rules", help="list the rules and why they matter")] = False,
    as_json: Json = False,
) -> int:
    """Check runs and result files of other tools by the same rules."""
    if rules:
        from gptoss_bench.lint import RULES

        if as_json:
            print_json([{"rule": rule.id, "severity": rule.severity, "reason": rule.reason} for rule in RULES])
        else:
            print("\n".join(f"{rule.id:<30} {rule.reason}" for rule in RULES))
        return 0
    if not results:
        raise UsageError("no result given: name a run or a result file, or use --rules to list the rules")
    paths = [find_run(name) for name in results]  # before pandas is imported

    from gptoss_bench.lint import CheckedResult, check_result, differing_conditions, read_results
    from gptoss_bench.runs import LoadSummary, Manifest
    from gptoss_bench.session import findings_document

    checked = [check_result(result) for path in paths for result in read_results(path)]
    between = differing_conditions((one.name, one.manifest) for one in checked)
    if len(checked) > 1:
        checked.append(CheckedResult("between them", LoadSummary(), Manifest(), between))
    if as_json:
        print_json([{"result": one.name, "findings": findings_document(one.findings)} for one in checked])
    else:
        print("\n\n".join(_shown(one) for one in checked))
    return 3 if any(finding.severity == "error" for one in checked for finding in one.findings) else 0


def _shown(one: "CheckedResult") -> str:
    lines = [one.name]
    for finding in one.findings:
        lines += [f"  {coloured(finding.severity)}: {finding.evidence} [{finding.rule}]", f"    {finding.advice}"]
    counts = Counter(finding.severity for finding in one.findings)
    reported = [
        coloured(f"{counts[kind]} {kind}{'s' * (counts[kind] != 1)}", kind if counts[kind] else "")
        for kind in ("error", "warning", "note")
    ]
    return "\n".join([*lines, f"  {', '.join(reported)}"])
