"""The look of figures and tables: where the numbers come from, and a word across what is no measurement."""

import re
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from gptoss_bench.provenance import provenance

PALETTE = "colorblind"
HATCHES = ("", "///", "...", "xxx", "---", "|||")  # of parts side by side, for print without colour
RED = "#b00020"
FOOTER_WIDTH = 150  # characters, of a figure 9 inches wide


def new_figure(width: float = 9.0, height: float = 4.0, columns: int = 1, rows: int = 1) -> tuple[Figure, Any]:
    """A figure and its axes (an array where there are several) in the kit's look: legible in print and in grey.

    Rows share their x axis.
    """
    sns.set_theme(style="whitegrid", palette=PALETTE, context="notebook", rc={"figure.dpi": 110})
    return plt.subplots(rows, columns, figsize=(width, height), layout="constrained", sharex=rows > 1)


def finished(figure: Figure, manifest: Mapping[str, Any], note: str = "") -> Figure:
    """Add the footer, in red whether the client was the limit, and the run's label across the figure; shown once."""
    client = manifest.get("client") or {"error_bar": "", "bound": []}
    wide = round(FOOTER_WIDTH * figure.get_figwidth() / 9.0)
    footer = [textwrap.fill(" · ".join(filter(None, (provenance(manifest), note))), wide)]
    footer += [textwrap.fill(client["error_bar"], wide)] if client["error_bar"] else []
    figure.supxlabel("\n".join(footer), fontsize=7.5, color="0.35", x=0.01, ha="left")
    if client["bound"]:
        words = textwrap.fill(f"CLIENT-BOUND: {'; '.join(client['bound'])}", round(0.75 * wide))
        figure.suptitle(words, fontsize=9, color=RED, weight="bold", x=0.01, ha="left")
    if label := manifest.get("label"):
        look: dict[str, Any] = {"color": "0.5", "alpha": 0.16, "weight": "bold", "rotation": 18}
        look["fontsize"] = _label_size(len(label), *(72 * inches for inches in figure.get_size_inches()))
        figure.text(0.5, 0.5, label, ha="center", va="center", **look)
    plt.close(figure)
    return figure


def _label_size(characters: int, width: float, height: float) -> float:
    """Points of a label of so many bold characters, turned by 18 degrees, that stays in a figure of these points."""
    length = 0.7 * characters  # in its own size
    return min(44.0, 0.95 * width / (0.95 * length + 0.4), 0.95 * height / (0.31 * length + 1.15))


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
