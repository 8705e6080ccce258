"""Define a finding: what a lint rule found in a result, as lint.json keeps it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule that a result breaks. `severity` is error (do not quote it), warning (say so beside it) or note."""

    rule: str
    severity: str
    evidence: str
    advice: str
