"""Throughput against latency, one point a level of a sweep, with what was published on the same axes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gptoss_bench.figures.load import plain_log_scale
from gptoss_bench.figures.style import PALETTE, finished, new_figure

PANELS = {  # name in a row: title, unit of the axis, seconds to that unit, percentiles drawn
    "done_s": ("Latency by throughput", "seconds, whole request", 1.0, ("p50",)),
    "tpot_s": ("TPOT by throughput", "milliseconds per output token", 1e3, ("p50",)),
    "ttft_s": ("TTFT by throughput", "seconds to the first token", 1.0, ("p50", "p99")),
}
LINES = {"p50": ("o", "-"), "p99": ("^", "--")}
Words = Mapping[str, Any]
NO_SWEEP = "no sweep was made"
NO_RATE = "no level of the sweep tells its rate:\nthe server counts no tokens, or a level was too short"


@dataclass(frozen=True, slots=True)
class PublishedPoint:
    """The one point that was published: its load, its rate (ramp and tail inside), and what stood for its times, s."""

    words: str
    concurrency: int
    tok_s: float
    done_s: float
    ttft_formula_s: float


def throughput_against_latency(
    rows: Sequence[Mapping[str, Any]], manifest: Mapping[str, Any], published: PublishedPoint | None = None
) -> Figure:
    """What does each request wait for more tokens a second? `rows` are a summary's "sweep"; bars are 95 % intervals."""
    reported = [row for row in rows if row["output_tok_s"] is not None]
    figure, panels = new_figure(width=10.5, height=4.2, columns=len(PANELS))
    rates = [row["output_tok_s"] for row in reported] + ([published.tok_s] if published else [])
    for axes, (name, (title, unit, scale, percentiles)) in zip(panels, PANELS.items(), strict=True):
        for colour, at in zip(sns.color_palette(PALETTE), percentiles, strict=False):
            _line(axes, [(row, row[name]) for row in reported], at, scale, colour)
        if published is not None:
            _published_point(axes, name, published)
        axes.set(title=title, xlabel="output tokens per second, all streams", ylabel=unit)
        drawn = [float(value) for line in axes.get_lines() for value in np.asarray(line.get_ydata(), dtype=float)]
        if rates and drawn:
            plain_log_scale(axes, "x", (min(rates) / 1.5, max(rates) * 1.7))
            entries = len(axes.get_legend_handles_labels()[0])
            plain_log_scale(axes, "y", (min(drawn) / 2, max(drawn) * 2.2**entries))  # room for the legend
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=8, loc="upper left")
    if not reported:
        panels[0].text(0.5, 0.5, NO_RATE if rows else NO_SWEEP, transform=panels[0].transAxes, ha="center", fontsize=9)
    return finished(figure, manifest, _note(rows))


def _line(axes: Axes, rows: Sequence[tuple[Words, Words]], at: str, scale: float, colour: Any) -> None:
    """One percentile over the levels, each a row of the sweep and the distribution in it that is drawn.

    A bar is its interval, an empty mark is not resolved, a number is the streams. A time of 0, whose tokens came in one
    read, has no place on a logarithmic axis: it stands in words at the foot.
    """
    for row, reported in rows:
        if reported[at] == 0:
            words, foot = f"{row['concurrency']}: {at} 0", axes.get_xaxis_transform()
            axes.text(row["output_tok_s"], 0.02, words, transform=foot, ha="center", fontsize=8)
    rows = [(row, reported) for row, reported in rows if reported[at]]
    mark, line = LINES[at]
    rates, values = [row["output_tok_s"] for row, _ in rows], [reported[at] * scale for _, reported in rows]
    axes.plot(rates, values, line, color=colour, linewidth=1.6, label=at if rows else None)
    for (row, reported), rate, value in zip(rows, rates, values, strict=True):
        resolved = at == "p50" or reported["p99_resolved"]
        axes.plot(rate, value, mark, color=colour, markersize=7, markerfacecolor=colour if resolved else "white")
        if at == "p50" and reported["p50_interval"]:
            axes.vlines(rate, *(end * scale for end in reported["p50_interval"]), color="0.15", linewidth=1.4)
        if at == "p50":
            words = f"{row['concurrency']}" + (" !" if row["client_bound"] else "")
            axes.annotate(words, (rate, value), (7, -13), textcoords="offset points", fontsize=9)


def _published_point(axes: Axes, name: str, published: PublishedPoint) -> None:
    reported = {"done_s": (published.done_s, "p50"), "ttft_s": (published.ttft_formula_s, "p50, by its formula")}
    if name not in reported:
        axes.plot([], [], " ", label="published: not told")
        return
    value, how = reported[name]
    label = f"{published.words}, {how}"
    axes.plot(published.tok_s, value, "*", color="black", markersize=13, markerfacecolor="0.7", label=label)
    words = f"{published.concurrency}"
    axes.annotate(words, (published.tok_s, value), (7, -15), textcoords="offset points", fontsize=9)


def _note(rows: Sequence[Mapping[str, Any]]) -> str:
    words = "a number at a point: streams; rates in the steady window, the published one over the whole run"
    if any(not row["ttft_s"]["p99_resolved"] for row in rows):
        words += "; empty mark: not resolved"
    if any(row["client_bound"] for row in rows):
        words += "; !: CLIENT-BOUND there"
    return words
