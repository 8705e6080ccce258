"""Show a table in a notebook: on GitHub, in JupyterLab and as text, with missing values left empty."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd

# A cell of several parts, such as the evidence of a verdict, is folded after its first part.
_LONG_CELL = 240
_PARTS = re.compile(rf"(<td>)(?=[^<]{{{_LONG_CELL}}})([^<]*?)(?<!&amp)(?<!&lt)(?<!&gt); ([^<]*)</td>")


@dataclass(frozen=True, slots=True)
class ReadableTable:
    """A table as notebooks show it: no text is cut, and a long cell with parts shows the first, the others unfolded.

    Alignment is set in each cell, because GitHub ignores style sheets.
    """

    table: pd.DataFrame
    number_format: str = ""

    def _repr_html_(self) -> str:
        side = "right" if all(map(pd.api.types.is_numeric_dtype, self.table.dtypes)) else "left"
        html = self._formatted(self.table.to_html, border=0, justify=side)
        html = _PARTS.sub(r"\1<details><summary>\2</summary>\3</details></td>", html)
        html = re.sub(r"(<tr>\s*)<th>", r'\1<th style="text-align: left; vertical-align: top">', html)
        return re.sub(r"<(td|th)>", rf'<\1 style="text-align: {side}; vertical-align: top">', html)

    def __repr__(self) -> str:
        return self._formatted(self.table.to_string, max_colwidth=60)

    def _formatted(self, write: Callable[..., str], **more: Any) -> str:
        columns = self.table.select_dtypes("number" if self.number_format else "float")
        index = not isinstance(self.table.index, pd.RangeIndex)
        return write(formatters=dict.fromkeys(columns, self._number), na_rep="", index=index, **more)

    def _number(self, value: Any) -> str:
        if pd.isna(value):
            return ""
        return (self.number_format or ("{:.4g}" if abs(value) < 1e4 else "{:,.0f}")).format(value)


def show_table(table: pd.DataFrame, number_format: str = "") -> ReadableTable:
    """Return a table to show as the value of a cell.

    Every number is formatted with `number_format`, such as "{:,}"; without it
    fractions get four significant figures, and from 10,000 on none of their decimals.
    """
    return ReadableTable(table, number_format)
