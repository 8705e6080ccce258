"""Draw the levels of a search for the capacity: the share of the requests within the SLO against the load."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from gptoss_bench.figures.style import (
    BAND,
    DASHED,
    EDGE,
    GUIDE,
    ON_WHITE,
    PALETTE,
    RED,
    finish_figure,
    legend_below,
    new_figure,
    set_log_scale,
)
from gptoss_bench.runs import Capacity, CapacityLevel, LoadSummary, Manifest
from gptoss_bench.stats import CAPACITY_UNITS, capacity_curve, capacity_text, client_limits, level_interval

NO_SEARCH = "no capacity was searched for"
NO_LEVEL = "no level has a request that counts"
POINTS = 200  # of the curve
BAND_LABELS = {"carries": "capacity, 95 % interval", "between": "from a level that met the SLO to one that missed it"}
LINE_LABELS = {"at least": "carries at least this", "less than": "carries less than this"}


def share_within_slo(summary: LoadSummary, manifest: Manifest) -> Figure:
    """Draw the share of the requests within the SLO at each level of a search, with 95 % intervals as bars.

    The curve is fitted to the levels near the capacity. The capacity is where it crosses the share that was asked for;
    the grey band is its 95 % interval. A cross is a level at which the client may have been the limit: no evidence.
    """
    figure, axes = new_figure(height=4.6)
    axes.set(title="Share of the requests within the SLO by load", ylabel="requests within the SLO")
    found = summary.capacity
    if found is None or summary.slo is None:
        axes.text(0.5, 0.5, NO_SEARCH, transform=axes.transAxes, ha="center")
        return finish_figure(figure, manifest)
    axes.set(xlabel=f"load, {CAPACITY_UNITS[found.goal.by]}", ylim=(-0.04, 1.06))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    shown = [level for level in found.levels if level.requests]
    if not shown:
        axes.text(0.5, 0.5, NO_LEVEL, transform=axes.transAxes, ha="center")
    else:
        span = min(level.level for level in shown) / 1.3, max(level.level for level in shown) * 1.3
        _draw_result(axes, found, span)
        _draw_levels(axes, shown, found)
        set_log_scale(axes, "x", span)
        axes.axhline(found.goal.share, color=GUIDE, linewidth=1, linestyle=DASHED)
        text, look = f"asked for: {found.goal.share * 100:g} %", {"fontsize": 8.5, "va": "top"}
        axes.annotate(text, (span[0], found.goal.share), (4, -4), textcoords="offset points", bbox=ON_WHITE, **look)
    legend_below(axes)
    return finish_figure(figure, manifest, f"{capacity_text(found, summary.slo)}; {_bars_text(found)}")


def _draw_levels(axes: Axes, levels: Sequence[CapacityLevel], found: Capacity) -> None:
    """Draw a dot for each level, and a cross where the client may have been the limit."""
    colour = sns.color_palette(PALETTE)[0]
    limited = [level for level in levels if client_limits(level, found.goal)]
    for level in levels:
        if interval := level_interval(level, found):
            axes.vlines(level.level, *interval, color=EDGE, linewidth=1.2, alpha=0.6)
    for some, label, look in (
        ([level for level in levels if level not in limited], "level", {"marker": "o", "color": colour, "alpha": 0.8}),
        (limited, "level limited by the client", {"marker": "X", "color": RED}),
    ):
        if some:
            shares = [level.met / level.requests for level in some]
            style: dict[str, Any] = {"linestyle": "none", "markersize": 9, "markeredgecolor": "white", **look}
            axes.plot([level.level for level in some], shares, label=label, **style)


def _draw_result(axes: Axes, found: Capacity, span: tuple[float, float]) -> None:
    """Draw the fitted curve, the capacity and its interval, or the loads between which the search left it."""
    if found.word in BAND_LABELS and found.low is not None and found.high is not None:
        axes.axvspan(found.low, found.high, color=BAND, alpha=0.3, linewidth=0, label=BAND_LABELS[found.word])
    elif found.word in LINE_LABELS and (at := found.low or found.high):
        axes.axvline(at, color=GUIDE, linewidth=1.6, linestyle="-.", label=LINE_LABELS[found.word])
    loads = np.geomspace(*span, POINTS)
    curve = capacity_curve(found, loads)
    if curve is not None and found.value is not None:
        axes.plot(loads, curve, color=sns.color_palette(PALETTE)[1], linewidth=2.2, label="fitted curve")
        axes.axvline(found.value, color=GUIDE, linewidth=1.6)
        text = f"{found.value:.3g} {CAPACITY_UNITS[found.goal.by]}"
        axes.annotate(
            text, (found.value, 0.03), (-6, 0), textcoords="offset points", fontsize=9, ha="right", bbox=ON_WHITE
        )


def _bars_text(found: Capacity) -> str:
    """Return what the bars of the levels are."""
    if found.dispersion is None:
        return "bars: 95 % intervals as if requests were independent, too narrow: those of a level wait in one queue"
    return (
        "bars: 95 % intervals; near the capacity requests count as"
        f" {found.dispersion:.2g} times fewer, because levels differ so much more than independent requests would"
    )
