"""The form of a lint rule: id, severity, reason and advice, and the check that finds evidence against a result."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from gptoss_bench.lint.results import Result
from gptoss_bench.runs import Finding

SEVERITIES = ("error", "warning", "note")

# Returns the evidence that a result breaks the rule, with its own advice where the rule's does not suit; None where
# the result does not break it, or does not say enough to know.
Check = Callable[[Result], str | tuple[str, str] | None]


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of the linter. `reason` says why a result that breaks it cannot be trusted, `advice` what to do."""

    id: str
    severity: str
    reason: str
    advice: str

    def finding(self, evidence: str, advice: str = "") -> Finding:
        """Return the finding that this rule is broken."""
        return Finding(self.id, self.severity, evidence, advice or self.advice)


@dataclass(frozen=True, slots=True)
class SingleResultRule(Rule):
    """A rule that one result breaks or holds."""

    check: Check

    def apply(self, result: Result) -> Finding | None:
        """Return the finding about a result, None where there is none."""
        broken = self.check(result)
        if broken is None:
            return None
        return self.finding(broken) if isinstance(broken, str) else self.finding(*broken)


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
