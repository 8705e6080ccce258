"""Print coloured words, tables and JSON: colours only on a terminal, a pipe gets plain text."""

import json
import os
import sys
from collections.abc import Container, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from gptoss_bench.runs import Finding

COLOURS = {
    **dict.fromkeys(("error", "fail", "contradicted", "inconsistent", "slower", "slower now"), "red"),
    **dict.fromkeys(("not reproduced", "not delivered", "not a measurement"), "red"),
    **dict.fromkeys(("warning", "outdated", "imprecise"), "yellow"),
    **dict.fromkeys(("these two runs differ", "these runs differ", "repeat the run"), "yellow"),
    **dict.fromkeys(("ok", "reproduced", "faster", "faster now", "same", "seen", "consistent"), "green"),
    **dict.fromkeys(("confirmed in sources",), "green"),
    **dict.fromkeys(("note", "fits", "does not fit", "fits narrowly, not decided", "measured elsewhere"), "cyan"),
    **dict.fromkeys(("not comparable", "not re-measured", "unreadable", "out of scope", "opinion"), "cyan"),
}


def coloured(text: str, word: str | None = None) -> str:
    """Return the text in the colour of a severity, verdict or state, which is the text itself unless `word` is given.

    Without a terminal, with NO_COLOR, or with TERM=dumb, the text is returned as it is.
    """
    colour = COLOURS.get(text if word is None else word)
    if colour is None or not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return typer.style(text, fg=colour, bold=True)


def print_findings(findings: "Iterable[Finding]") -> None:
    """Print one line per finding of the linter: its severity, its evidence and the name of the rule."""
    for finding in findings:
        print(f"{coloured(finding.severity)}: {finding.evidence} [{finding.rule}]")


def print_json(value: Any) -> None:
    """Print a value as indented JSON; a path is printed as text."""
    print(json.dumps(value, indent=1, default=os.fspath))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], numbers: Container[str] = ()) -> None:
    """Print aligned columns, those named in `numbers` to the right. A line is as long as it needs to be."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in columns:
        table.add_column(name, justify="right" if name in numbers else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console = Console(width=10_000, color_system=None, highlight=False, markup=False, emoji=False)
    with console.capture() as capture:
        console.print(table)
    print("\n".join(line.rstrip() for line in capture.get().splitlines()))
