"""Draw results of several tools on the same axes, with a note where a tool reports no value or defines it otherwise."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gptoss_bench.figures.style import (
    CONNECTOR,
    NOTE,
    PALETTE,
    PERCENTILE_MARKS,
    finish_figure,
    labels_and_limits,
    new_figure,
    set_log_scale,
)
from gptoss_bench.lint import Result
from gptoss_bench.stats import RATE_KINDS, REPORTED_PERCENTILES, points_side_by_side, quantity_of_note

UNITS = {"ttft_s": ("seconds", 1.0), "itl_s": ("milliseconds", 1e3), "tpot_s": ("milliseconds", 1e3)}
NOT_REPORTED = "not reported"
NAME_WIDTH = 30  # characters
ROW_HEIGHT, TEST_HEIGHT = 0.62, 0.24  # inches, of a result and of a test of prefill or decode in it


def results_side_by_side(results: Sequence[Result]) -> Figure:
    """Draw p50, p90 and p99 of each result with their 95 % intervals, and prefill and decode rates where measured."""
    table = points_side_by_side(results)
    kinds = {kind: title for kind, title in RATE_KINDS.items() if (table.rates["kind"] == kind).any()}
    tests = 0 if table.rates.empty else int(table.rates.groupby(["result", "kind"]).size().max())
    height = 1.9 + max(ROW_HEIGHT, TEST_HEIGHT * tests) * len(results)
    figure, panels = new_figure(width=12.0, height=height, columns=len(table.quantities) + len(kinds))
    for axes, (quantity, title) in zip(panels, table.quantities.items(), strict=False):
        unit, scale = UNITS.get(quantity, ("seconds", 1.0))
        _draw_quantity(axes, table.points[table.points["quantity"] == quantity], scale)
        axes.set_title(title, pad=24)
        axes.set_xlabel(unit)
    for axes, (kind, title) in zip(panels[len(table.quantities) :], kinds.items(), strict=True):
        _draw_rates(axes, table.rates[table.rates["kind"] == kind], len(results))
        axes.set_title(title, pad=24)
        axes.set_xlabel("tokens/s")
    for axes in panels:
        axes.set_ylim(len(results) - 0.5, -0.5)
        axes.set_yticks(np.arange(len(results)), [""] * len(results))
        axes.grid(visible=False, axis="y")
    panels[0].set_yticklabels([_row_label(one, table.notes) for one in results], fontsize=8.5)
    if table.quantities:
        for percentile, mark in PERCENTILE_MARKS.items():
            panels[0].plot([], [], mark, color=_colour(percentile), label=percentile)
        look: dict[str, Any] = {"ncols": len(PERCENTILE_MARKS), "frameon": False, "fontsize": 8.5, "borderaxespad": 0.0}
        panels[0].legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), **look)
    shared = labels_and_limits(one.manifest for one in results)
    return finish_figure(figure, shared, _footnotes(table.notes, table.points, table.rates))


def _draw_rates(axes: Axes, rates: pd.DataFrame, results: int) -> None:
    """Draw the tests of each result below each other: filled where an interval is known, with a bar for it."""
    for at in range(results):
        rows = rates[rates["result"] == at]
        if rows.empty:
            _write_not_reported(axes, at, NOT_REPORTED)
        for place, row in zip(_places(at, len(rows)), rows.itertuples(), strict=True):
            _draw_rate(axes, place, row)
    values = rates["tok_s"].astype(float)
    if values.min() > 0 and values.max() > 8 * values.min():
        set_log_scale(axes, "x", (values.min() / 1.6, values.max() * 4))
    else:
        axes.set_xlim(0, 1.6 * values.max() or 1)


def _draw_rate(axes: Axes, place: float, row: Any) -> None:
    colour, known = _colour("p50"), pd.notna(row.low)
    if known:
        axes.plot([row.low, row.high], [place] * 2, "-|", color=colour, linewidth=2.2, markersize=9, zorder=2)
    axes.plot(row.tok_s, place, "D", color=colour, markerfacecolor=colour if known else "white", zorder=3)
    shown = f"{row.tok_s:,.0f}" if row.tok_s >= 1000 else f"{row.tok_s:.4g}"
    words = f"{row.test}: {shown}" if row.test else shown
    axes.annotate(words, (row.tok_s, place), (8, -3), textcoords="offset points", fontsize=7.5)


def _places(at: int, count: int) -> Sequence[float]:
    """Return the heights of the tests of a result within its row."""
    return [at + ((place + 0.5) / count - 0.5) * 0.8 for place in range(count)]


def _write_not_reported(axes: Axes, at: int, words: str) -> None:
    look: dict[str, Any] = {"style": "italic", "color": NOTE, "fontsize": 9, "va": "center", "ha": "center"}
    axes.text(0.5, at, words, transform=axes.get_yaxis_transform(), **look)


def _draw_quantity(axes: Axes, points: pd.DataFrame, scale: float) -> None:
    reported = points[points["value_s"].notna()]
    for at in range(int(points["result"].max()) + 1):
        rows = points[points["result"] == at]
        known = rows[rows["value_s"].notna()]
        numbers = "".join(f" [{number}]" for number in rows["notes"].iloc[0])
        if known.empty:
            _write_not_reported(axes, at, NOT_REPORTED + numbers)
            continue
        axes.plot(known["value_s"] * scale, [at] * len(known), "-", color=CONNECTOR, linewidth=1.2, zorder=1)
        for row in known[::-1].itertuples():  # so that the median is on top
            _draw_percentile(axes, row, scale)
        middle = known.iloc[0]
        text = f"{middle['value_s'] * scale:.3g}{numbers}"
        axes.annotate(text, (middle["value_s"] * scale, at), (0, 7), textcoords="offset points", fontsize=8)
    values = reported["value_s"].astype(float) * scale
    if len(values) and values.min() > 0 and values.max() > 8 * values.min():
        set_log_scale(axes, "x", (values.min() / 1.6, values.max() * 2.2))
    else:
        axes.set_xlim(0, 1.25 * values.max() if len(values) else 1)


def _draw_percentile(axes: Axes, row: Any, scale: float) -> None:
    """Draw one percentile: filled if it is resolved, with a bar if its interval is known."""
    colour = _colour(row.percentile)
    if pd.notna(row.low_s):
        ends = [row.low_s * scale, row.high_s * scale]
        axes.plot(ends, [row.result] * 2, "-|", color=colour, linewidth=2.2, markersize=9, zorder=2)
    face = colour if row.resolved else "white"
    place = (row.value_s * scale, row.result)
    axes.plot(*place, PERCENTILE_MARKS[row.percentile], color=colour, markerfacecolor=face, markersize=7, zorder=3)


def _colour(percentile: str) -> Any:
    return sns.color_palette(PALETTE)[list(REPORTED_PERCENTILES).index(percentile)]


def _row_label(one: Result, notes: Mapping[int, str]) -> str:
    numbers = [f"[{number}]" for number, note in notes.items() if note in one.notes and quantity_of_note(note) is None]
    return textwrap.fill(" ".join([one.name, *numbers]), NAME_WIDTH)


def _footnotes(notes: Mapping[int, str], points: pd.DataFrame, rates: pd.DataFrame) -> str:
    unresolved = not points.loc[points["value_s"].notna(), "resolved"].all()
    legend = ["empty mark: not resolved"] if unresolved else []
    if rates["low"].isna().any():
        legend.append("empty diamond: no interval, n is below 3 or not reported")
    return "; ".join([*legend, *(f"[{number}] {note}" for number, note in notes.items())])
