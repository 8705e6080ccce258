"""TODO docstring."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd


@dataclass(frozen=True, slots=True)
class Page:
    """A table to read. Its alignment is in its cells, for GitHub shows a notebook without its style sheets."""

    table: pd.DataFrame
    number: str = ""

    def _repr_html_(self) -> str:
        side = "right" if all(map(pd.api.types.is_numeric_dtype, self.table.dtypes)) else "left"
        html = self._formatted(self.table.to_html, border=0, justify=side)
        html = re.sub(r"(<tr>\s*)<th>", r'\1<th style="text-align: left; vertical-align: top">', html)
        return re.sub(r"<(td|th)>", rf'<\1 style="text-align: {side}; vertical-align: top">', html)

    def __repr__(self) -> str:
        """For what shows no HTML."""
        return self._formatted(self.table.to_string, max_colwidth=60)

    def _formatted(self, write: Callable[..., str], **more: Any) -> str:
        numbers = {name: self._number for name in self.table.select_dtypes("number" if self.number else "float")}
        index = not isinstance(self.table.index, pd.RangeIndex)
        return write(formatters=numbers, na_rep="", index=index, **more)

    def _number(self, value: Any) -> str:
        return "" if pd.isna(value) else (self.number or "{:.4g}").format(value)


def page(table: pd.DataFrame, number: str = "") -> Page:
    """A table to read, without row numbers; a missing value is left empty.

    Every number is formatted with `number`, such as "{:,}"; without it fractions get four significant figures.
    """
    return Page(table, number)
