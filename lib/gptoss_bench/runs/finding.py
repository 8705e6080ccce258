"""Define a finding: what a lint rule found in a result, as lint.json keeps it."""

from dataclasses import dataclass, fields
from pathlib import Path

from pydantic import TypeAdapter

from gptoss_bench.files import read_json, reading
from gptoss_bench.runs.record import html_table

ADVICE = "write it again with `gptoss-bench rebuild`"


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule that a result breaks. `severity` is error (do not quote it), warning (say so beside it) or note."""

    rule: str
    severity: str
    evidence: str
    advice: str


class Findings(list[Finding]):
    """Findings of one run. A notebook cell shows them as a table."""

    def _repr_html_(self) -> str:
        names = [field.name for field in fields(Finding)]
        rows = [[getattr(finding, name) for name in names] for finding in self]
        return html_table(names, rows) if rows else "The linter found nothing."

    def __str__(self) -> str:
        lines = [f"{one.severity}: {one.evidence} [{one.rule}]\n  {one.advice}" for one in self]
        return "\n".join(lines) or "The linter found nothing."


def read_findings(file: Path) -> Findings:
    """Return the findings of a lint.json. Raises UsageError if it is no list of findings."""
    content = read_json(file, ADVICE)
    with reading(file, ADVICE):
        return Findings(TypeAdapter(list[Finding]).validate_python(content, strict=False))
