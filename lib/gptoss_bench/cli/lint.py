"""`python -m gptoss_bench lint RUN-OR-FILE…`: print what makes results of this kit or of other tools untrustworthy."""

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

from gptoss_bench.lint import RULES, CheckedResult, check_result, differing_conditions, read_results
from gptoss_bench.session import findings_document
from gptoss_client import UsageError

EXAMPLE = """example:
  python -m gptoss_bench lint results/runs/20261124T090000Z-load-0a1b2c
  vllm bench serve … --save-result --result-filename bench.json && python -m gptoss_bench lint bench.json

Exit code 3 if a rule of severity error fires. For several results, their differing conditions are printed too."""


def add_parser(commands: Any) -> None:
    """Add `lint` to the commands."""
    parser = commands.add_parser(
        "lint",
        help="check what makes a result untrustworthy; exit code 3 for an error",
        description="Check run folders and result files of other tools by the same rules.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "results", type=Path, nargs="*", metavar="RUN-OR-FILE", help="run folder, or result file of another tool"
    )
    parser.add_argument("--rules", action="store_true", help="list the rules and why they matter")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON, one list per result")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Check the results, print the findings, and return 3 if one is an error, else 0."""
    if args.rules:
        print("\n".join(f"{rule.id:<30} {rule.reason}" for rule in RULES))
        return 0
    if not args.results:
        raise UsageError("no result given: name a run folder or a result file, or use --rules to list the rules")
    checked = [check_result(result) for path in args.results for result in read_results(path)]
    between = differing_conditions((one.name, one.manifest) for one in checked)
    if len(checked) > 1:
        checked.append(CheckedResult("between them", {}, {}, between))
    if args.json:
        print(
            json.dumps([{"result": one.name, "findings": findings_document(one.findings)} for one in checked], indent=1)
        )
    else:
        print("\n\n".join(_shown(one) for one in checked))
    return 3 if any(finding.severity == "error" for one in checked for finding in one.findings) else 0


def _shown(one: CheckedResult) -> str:
    lines = [one.name]
    for finding in one.findings:
        lines += [f"  {finding.severity}: {finding.evidence} [{finding.rule}]", f"    {finding.advice}"]
    counts = Counter(finding.severity for finding in one.findings)
    reported = [f"{counts[kind]} {kind}{'s' * (counts[kind] != 1)}" for kind in ("error", "warning", "note")]
    return "\n".join([*lines, f"  {', '.join(reported)}"])
