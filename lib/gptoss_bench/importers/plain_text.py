"""Take what a terminal, a log or a quotation adds to a text out of it, before a tool's output is looked for."""

import csv
import re
from collections.abc import Iterator

# Colours, cursor movements and window titles, as terminals of ECMA-48 understand them.
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_QUOTE = re.compile(r"(?m)^(?:[ \t]*>)+ ?")


def plain_text(text: str) -> str:
    """Return the text without colour codes, progress bars' returns and the "> " in front of quoted lines."""
    lines = _ESCAPE.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    return _QUOTE.sub("", lines.removeprefix("\ufeff"))


def csv_rows(text: str) -> Iterator[list[str]]:
    """Yield the rows of a text as cells; none if it is no CSV."""
    try:
        yield from csv.reader(text.lstrip().splitlines())
    except csv.Error:  # such as a cell of more than 128 KiB
        return
