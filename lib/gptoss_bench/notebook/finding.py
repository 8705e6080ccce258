"""Show what a notebook found near its top too, where a reader begins, when it is run by hand.

In a notebook that papermill executes nothing is shown there: `put_findings_on_top` writes it into the first cell.
"""

from html import escape
from typing import Any

from gptoss_bench.notebook.fit_panel import has_frontend

PENDING = "What this run found is shown here when the last cell has run."
_places: list[Any] = []  # the display handle of the newest place


def place_finding() -> None:
    """Show a place for the finding below this cell, with a note that there is none yet."""
    if has_frontend():
        from IPython.display import HTML, display

        _places[:] = [display(HTML(_html(PENDING, "i")), display_id=True)]  # type: ignore[no-untyped-call]


def show_finding(*sentences: str) -> None:
    """Print the sentences of a finding, one a line, and show them in the place of `place_finding` too."""
    print(*sentences, sep="\n")
    for place in _places:
        from IPython.display import HTML

        place.update(HTML("".join(_html(line, "b") for text in sentences for line in text.splitlines())))  # type: ignore[no-untyped-call]


def _html(line: str, tag: str) -> str:
    """Return a line as the executed page shows it: a quotation at its top."""
    rule = "border-left:4px solid #8888;padding:2px 10px"
    return f'<div class="gptoss-finding" style="{rule}"><{tag}>{escape(line)}</{tag}></div>'
