"""Define a finding: what a lint rule found in a result, as lint.json keeps it."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from gptoss_bench.files import read_json, reading

ADVICE = "write it again with `gptoss-bench rebuild`"


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule that a result breaks. `severity` is error (do not quote it), warning (say so beside it) or note."""

    rule: str
    severity: str
    evidence: str
    advice: str


def read_findings(file: Path) -> list[Finding]:
    """Return the findings of a lint.json. Raises UsageError if it is no list of findings."""
    content = read_json(file, ADVICE)
    with reading(file, ADVICE):
        return TypeAdapter(list[Finding]).validate_python(content, strict=False)
