"""The form of a lint rule: id, severity, reason and advice, and the check that finds evidence against a result."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from gptoss_bench.lint.results import Result
from gptoss_bench.runs import Finding

SEVERITIES = ("error", "warning", "note")


@dataclass(frozen=True, slots=True)
class Evidence:
    """The evidence that a result breaks a rule, with `advice` and `severity` where the rule's own do not suit."""

    text: str
    advice: str = ""
    severity: str = ""


# Returns the evidence that a result breaks the rule; None where it does not, or does not say enough to know.
Check = Callable[[Result], str | Evidence | None]


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of the linter. `reason` says why a result that breaks it cannot be trusted, `advice` what to do.

    `severity` is error only where a figure cannot be true or cannot be known; Evidence may state another one.
    """

    id: str
    severity: str
    reason: str
    advice: str

    def finding(self, evidence: str | Evidence) -> Finding:
        """Return the finding that this rule is broken."""
        if isinstance(evidence, str):
            return Finding(self.id, self.severity, evidence, self.advice)
        return Finding(self.id, evidence.severity or self.severity, evidence.text, evidence.advice or self.advice)


@dataclass(frozen=True, slots=True)
class SingleResultRule(Rule):
    """A rule that one result breaks or holds."""

    check: Check

    def apply(self, result: Result) -> Finding | None:
        """Return the finding about a result, None where there is none."""
        broken = self.check(result)
        return None if broken is None else self.finding(broken)


def rule(id: str, severity: str, *, reason: str, advice: str) -> Callable[[Check], SingleResultRule]:
    """Turn the check below this decorator into a rule for a single result."""
    return partial(SingleResultRule, id, severity, reason, advice)


def apply_rules(rules: Iterable[SingleResultRule], result: Result) -> list[Finding]:
    """Return the findings about a result, errors first, then in the order of the rules."""
    found = [finding for one in rules if (finding := one.apply(result)) is not None]
    return sorted(found, key=lambda finding: severity_rank(finding.severity))


def severity_rank(severity: str) -> int:
    """Return 0 for an error, 1 for a warning, 2 for a note."""
    return SEVERITIES.index(severity)
