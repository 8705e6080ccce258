"""Several results on the same axes, whoever measured them; what a tool does not tell is said in its place."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gptoss_bench.figures.load import plain_log_scale
from gptoss_bench.figures.style import PALETTE, finished, new_figure
from gptoss_bench.lint import Result
from gptoss_bench.runs import merged_labels
from gptoss_bench.stats import PERCENTILES, QUANTITIES, about_result, points_side_by_side

MARKS = {"p50": "o", "p90": "s", "p99": "^"}
UNITS = {"ttft_s": ("seconds", 1.0), "itl_s": ("milliseconds", 1e3), "tpot_s": ("milliseconds", 1e3)}
NOT_REPORTED = "not told"
NAME_WIDTH = 30  # characters


def results_beside(results: Sequence[Result]) -> Figure:
    """Do several results tell the same? A row a result, its p50, p90 and p99, and their 95 % intervals where known."""
    table = points_side_by_side(results)
    figure, panels = new_figure(width=12.0, height=1.9 + 0.62 * len(results), columns=len(QUANTITIES))
    for axes, (quantity, title) in zip(panels, QUANTITIES.items(), strict=True):
        unit, scale = UNITS.get(quantity, ("seconds", 1.0))
        _panel(axes, table.points[table.points["quantity"] == quantity], scale)
        axes.set_title(title, pad=24)
        axes.set(xlabel=unit, ylim=(len(results) - 0.5, -0.5))
        axes.set_yticks(np.arange(len(results)), [""] * len(results))
        axes.grid(visible=False, axis="y")
    panels[0].set_yticklabels([_named(one, table.notes) for one in results], fontsize=8.5)
    for at, mark in MARKS.items():
        panels[0].plot([], [], mark, color=_colour(at), label=at)
    look: dict[str, Any] = {"ncols": len(MARKS), "frameon": False, "fontsize": 8.5, "borderaxespad": 0.0}
    panels[0].legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), **look)
    return finished(figure, _together([one.manifest for one in results]), _notes(table.notes, table.points))


def _panel(axes: Axes, points: pd.DataFrame, scale: float) -> None:
    reported = points[points["value_s"].notna()]
    for at in range(int(points["result"].max()) + 1):
        rows = points[points["result"] == at]
        known = rows[rows["value_s"].notna()]
        numbers = "".join(f" [{number}]" for number in rows["notes"].iloc[0])
        if known.empty:
            look: dict[str, Any] = {"style": "italic", "color": "0.35", "fontsize": 9, "va": "center", "ha": "center"}
            axes.text(0.5, at, NOT_REPORTED + numbers, transform=axes.get_yaxis_transform(), **look)
            continue
        axes.plot(known["value_s"] * scale, [at] * len(known), "-", color="0.7", linewidth=1.2, zorder=1)
        for row in known[::-1].itertuples():  # the median lies on top
            _mark(axes, row, scale)
        middle = known.iloc[0]
        words = f"{middle['value_s'] * scale:.3g}{numbers}"
        axes.annotate(words, (middle["value_s"] * scale, at), (0, 7), textcoords="offset points", fontsize=8)
    values = reported["value_s"].astype(float) * scale
    if len(values) and values.min() > 0 and values.max() > 8 * values.min():
        plain_log_scale(axes, "x", (values.min() / 1.6, values.max() * 2.2))
    else:
        axes.set_xlim(0, 1.25 * values.max() if len(values) else 1)


def _mark(axes: Axes, row: Any, scale: float) -> None:
    """One percentile: filled where it is resolved, with a bar where its interval is known."""
    colour = _colour(row.percentile)
    if pd.notna(row.low_s):
        ends = [row.low_s * scale, row.high_s * scale]
        axes.plot(ends, [row.result] * 2, "-|", color=colour, linewidth=2.2, markersize=9, zorder=2)
    face = colour if row.resolved else "white"
    place = (row.value_s * scale, row.result)
    axes.plot(*place, MARKS[row.percentile], color=colour, markerfacecolor=face, markersize=7, zorder=3)


def _colour(percentile: str) -> Any:
    return sns.color_palette(PALETTE)[list(PERCENTILES).index(percentile)]


def _named(one: Result, notes: Mapping[int, str]) -> str:
    numbers = [f"[{number}]" for number, note in notes.items() if note in one.notes and about_result(note) is None]
    return textwrap.fill(" ".join([one.name, *numbers]), NAME_WIDTH)


def _notes(notes: Mapping[int, str], points: pd.DataFrame) -> str:
    words = ["empty mark: not resolved"] if not points.loc[points["value_s"].notna(), "resolved"].all() else []
    return "; ".join([*words, *(f"[{number}] {note}" for number, note in notes.items())])


def _together(manifests: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The labels of all results, across the figure; each result is named in its row."""
    bound = [
        f"{each.get('run_id')}: {words}"
        for each in manifests
        for words in (each.get("client") or {}).get("bound") or []
    ]
    return {
        "label": merged_labels(each.get("label") for each in manifests),
        "client": {"error_bar": "", "bound": bound},
    }
