"""Check a result, of this kit or of another tool, against all rules of the linter."""

from dataclasses import dataclass, field

import pandas as pd

from gptoss_bench.lint.results import Result
from gptoss_bench.lint.rules.arithmetic import ARITHMETIC_RULES
from gptoss_bench.lint.rules.design import DESIGN_RULES
from gptoss_bench.lint.rules.fleet import FLEET_RULES
from gptoss_bench.lint.rules.machine import MACHINE_RULES
from gptoss_bench.lint.rules.open_loop import OPEN_LOOP_RULES
from gptoss_bench.lint.rules.results import RESULT_RULES
from gptoss_bench.lint.rules.rule import Rule, SingleResultRule, apply_rules, severity_rank
from gptoss_bench.lint.rules.setup import COMPARISON_RULES, NAMES_DIFFER, SETUP_RULES
from gptoss_bench.runs import Finding, LoadSummary, Manifest

SINGLE_RESULT_RULES: tuple[SingleResultRule, ...] = (
    *ARITHMETIC_RULES,
    *RESULT_RULES,
    *OPEN_LOOP_RULES,
    *FLEET_RULES,
    *MACHINE_RULES,
    *SETUP_RULES,
    *DESIGN_RULES,
)
# Every rule that can make a finding, in the order in which they are listed: errors first.
RULES: tuple[Rule, ...] = tuple(
    sorted((*SINGLE_RESULT_RULES, NAMES_DIFFER, *COMPARISON_RULES), key=lambda rule: severity_rank(rule.severity))
)


@dataclass(frozen=True, slots=True)
class CheckedResult:
    """The name, summary and manifest of a result, and its findings, errors first."""

    name: str
    summary: LoadSummary
    manifest: Manifest
    findings: list[Finding] = field(default_factory=list)


def check_run(summary: LoadSummary, requests: pd.DataFrame, manifest: Manifest) -> list[Finding]:
    """Return the findings about a run, errors first. `requests` is the whole request table, warm-up included."""
    return apply_rules(SINGLE_RESULT_RULES, Result("", summary, requests, manifest))


def check_result(result: Result) -> CheckedResult:
    """Apply every rule for a single result, and note where another tool gives a name another meaning."""
    findings = apply_rules(SINGLE_RESULT_RULES, result)
    findings += [NAMES_DIFFER.finding(note) for note in result.notes]
    return CheckedResult(result.name, result.summary, result.manifest, findings)
