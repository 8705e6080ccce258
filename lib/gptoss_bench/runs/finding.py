"""What a rule says about a result that breaks it, as a run keeps it in lint.json."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule that a result breaks. `severity` is error (do not quote it), warning (say so beside it) or note."""

    rule: str
    severity: str
    evidence: str
    advice: str
