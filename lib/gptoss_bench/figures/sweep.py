"""Draw throughput against latency, one point per level of a sweep, with the published point on the same axes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gptoss_bench.figures.style import (
    CONNECTOR,
    EDGE,
    PALETTE,
    PERCENTILE_LINES,
    PERCENTILE_MARKS,
    draw_client_pair,
    draw_slo,
    finish_figure,
    is_visible,
    label_line_ends,
    new_figure,
    set_log_scale,
)
from gptoss_bench.runs import Manifest, SweepRow, SweepTimes
from gptoss_bench.stats import has_steady_rates

PANELS = {  # by name in a row: title, label of the axis, factor from seconds to its unit, percentiles drawn
    "done_s": ("Latency by throughput", "seconds, whole request", 1.0, ("p50",)),
    "tpot_s": ("TPOT by throughput", "milliseconds per output token", 1e3, ("p50",)),
    "ttft_s": ("TTFT by throughput", "seconds to the first token", 1.0, ("p50", "p99")),
}
LIMITS = {"done_s": "e2e_s", "tpot_s": "tpot_s", "ttft_s": "ttft_s"}  # of an SLO, by the name of a panel
NO_SWEEP = "no sweep was measured"
NO_RATE = "no level of the sweep has a rate:\nthe server counts no tokens, or a level was too short"


@dataclass(frozen=True, slots=True)
class PublishedPoint:
    """The published point: load, tokens per second over the whole run, latency and TTFT by formula in seconds."""

    legend: str
    concurrency: int
    tok_s: float
    done_s: float
    ttft_formula_s: float


def throughput_against_latency(
    rows: Sequence[SweepRow], manifest: Manifest, published: PublishedPoint | None = None
) -> Figure:
    """Draw latency, TPOT and TTFT of each level of a sweep by its throughput, with 95 % intervals as bars.

    A load with limits also has its goodput, and a line at each limit. `rows` are the sweep of a summary. A run with a
    label, such as TINY MODEL, is drawn without the published point: it cannot be compared with it.
    """
    published = None if manifest.labels else published
    steady = has_steady_rates(rows)
    rated = [(row, row.output_tok_s if steady else row.output_tok_s_total) for row in rows]
    with_rate = [(row, rate) for row, rate in rated if rate is not None]
    limited = any(row.goodput_share is not None for row, _ in with_rate)
    figure, panels = new_figure(width=13.5 if limited else 10.5, height=4.2, columns=len(PANELS) + limited)
    rates = [rate for _, rate in with_rate] + ([published.tok_s] if published else [])
    for axes, (name, (title, unit, scale, percentiles)) in zip(panels, PANELS.items(), strict=False):
        for colour, percentile in zip(sns.color_palette(PALETTE), percentiles, strict=False):
            _draw_percentile(axes, [(*each, each[0].times(name)) for each in with_rate], percentile, scale, colour)
        if published is not None:
            _draw_published(axes, name, published)
        axes.set(title=title, xlabel="output tokens/s, all streams", ylabel=unit)
        drawn = [float(value) for line in axes.get_lines() for value in np.asarray(line.get_ydata(), dtype=float)]
        if rates and drawn:
            set_log_scale(axes, "x", (min(rates) / 1.5, max(rates) * 1.7))
            entries = len(axes.get_legend_handles_labels()[0])
            set_log_scale(axes, "y", (min(drawn) / 2, max(drawn) * 2.2**entries))  # leave space for the legend
        draw_slo(axes, manifest, LIMITS[name], scale=scale)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=8, loc="upper left")
    if limited:
        _draw_goodput(panels[-1], with_rate)
        set_log_scale(panels[-1], "x", (min(rates) / 1.5, max(rates) * 1.7))
    if not with_rate:
        panels[0].text(0.5, 0.5, NO_RATE if rows else NO_SWEEP, transform=panels[0].transAxes, ha="center", fontsize=9)
    labels = ", ".join(manifest.labels)
    apart = f"; the published point is left out, {labels} cannot be compared with it" if labels else ""
    return finish_figure(figure, manifest, _note(rows) + apart)


def _draw_goodput(axes: Axes, rows: Sequence[tuple[SweepRow, float]]) -> None:
    """Draw the requests per second that met every limit, with their intervals, below all that completed."""
    good_colour, all_colour = sns.color_palette(PALETTE)[2], "0.4"
    every = [(rate, row.request_s) for row, rate in rows if row.request_s is not None]
    axes.plot(*zip(*every, strict=True), "--", marker="x", color=all_colour, linewidth=1.4)
    good = [(row, rate, row.goodput_request_s) for row, rate in rows if row.goodput_request_s is not None]
    axes.plot([rate for _, rate, _ in good], [value for *_, value in good], "-o", color=good_colour, markersize=7)
    for row, rate, value in good:
        if row.goodput_interval is not None:
            axes.vlines(rate, *row.goodput_interval, color=EDGE, linewidth=1.4)
        text = f"{row.concurrency}: {row.goodput_share:.0%}"
        axes.annotate(text, (rate, value), (4, -13), textcoords="offset points", fontsize=9)
    axes.set(title="Goodput by throughput", xlabel="output tokens/s, all streams", ylabel="requests per second")
    axes.set_ylim(bottom=0)
    axes.margins(y=0.15)
    ends = [(every[-1][1], "completed", all_colour)] + [(value, "within SLO", good_colour) for *_, value in good[-1:]]
    label_line_ends(axes, ends)


def _draw_percentile(
    axes: Axes, rows: Sequence[tuple[SweepRow, float, SweepTimes]], percentile: str, scale: float, colour: Any
) -> None:
    """Draw one percentile over the levels.

    Each of `rows` is a level of the sweep, its rate, and the times in it that are drawn. A thin bar is their interval,
    a wide one the range that the client's timestamps allow, an empty mark is not resolved, a number is the count of
    streams. A time of 0 (all tokens came in one read) is text at the bottom.
    """
    drawn = []
    for row, rate, times in rows:
        value = times.at(percentile)
        pair = _client_pair(times, percentile, scale)
        if value is None and pair is not None:
            axes.plot([rate, rate], pair, color=colour, linewidth=5, alpha=0.5, solid_capstyle="butt")
            axes.annotate(f"{row.concurrency}", (rate, pair[1]), (7, -4), textcoords="offset points", fontsize=9)
        elif value == 0:
            text, place = f"{row.concurrency}: {percentile} not resolved", axes.get_xaxis_transform()
            axes.text(rate, 0.02, text, transform=place, ha="center", fontsize=8)
        elif value is not None:
            drawn.append((row, rate, times, value * scale))
    rates, values = [rate for _, rate, _, _ in drawn], [value for *_, value in drawn]
    label = percentile if drawn else None
    axes.plot(rates, values, PERCENTILE_LINES[percentile], color=colour, linewidth=1.6, label=label)
    for row, rate, times, value in drawn:
        look = {"color": colour, "markersize": 7, "markerfacecolor": colour if times.resolved(percentile) else "white"}
        draw_client_pair(axes, rate, _client_pair(times, percentile, scale), colour)
        axes.plot(rate, value, PERCENTILE_MARKS[percentile], **look)
        if percentile == "p50" and times.p50_interval:
            low, high = times.p50_interval
            axes.vlines(rate, low * scale, high * scale, color=EDGE, linewidth=1.4)
        if percentile == "p50":
            text = f"{row.concurrency}" + (" !" if row.client_bound else "")
            axes.annotate(text, (rate, value), (7, -13), textcoords="offset points", fontsize=9)


def _client_pair(times: SweepTimes, at: str, scale: float = 1.0) -> tuple[float, float] | None:
    low, high = (side.at(at) if side else None for side in (times.low, times.high))
    return None if low is None or high is None else (low * scale, high * scale)


def _is_uncertain(times: SweepTimes) -> bool:
    return any(is_visible(_client_pair(times, at)) for at in ("p50", "p99"))


def _draw_published(axes: Axes, name: str, published: PublishedPoint) -> None:
    times = {"done_s": (published.done_s, "p50"), "ttft_s": (published.ttft_formula_s, "p50, by its formula")}
    if name not in times:
        axes.plot([], [], " ", label="published: not reported")
        return
    value, how = times[name]
    label = f"{published.legend}, {how}"
    axes.plot(published.tok_s, value, "*", color="black", markersize=13, markerfacecolor=CONNECTOR, label=label)
    axes.annotate(
        f"{published.concurrency}", (published.tok_s, value), (7, -15), textcoords="offset points", fontsize=9
    )


def _note(rows: Sequence[SweepRow]) -> str:
    window = "steady window" if has_steady_rates(rows) else "whole level, ramp-up and drain included"
    note = f"a number at a point: streams; rates of the {window}, the published one of the whole run"
    if any(row.tpot_s.p50 is None and _client_pair(row.tpot_s, "p50") for row in rows):
        note += "; a wide bar without a point: TPOT lies within it, without running token counts it has no value"
    if any(row.goodput_share is not None for row in rows):
        note += "; goodput: the share of the requests within the SLO beside the streams"
    if any(_is_uncertain(row.times(name)) for row in rows for name in PANELS):
        note += "; wide pale bar: as far as the client's timestamps allow"
    if any(not row.times(name).resolved(at) for row in rows for name, (*_, drawn) in PANELS.items() for at in drawn):
        note += "; empty mark: not resolved"
    if rows and rows[0].prompts is not None:
        note += f"; prompts: {rows[0].prompts}"
    if any(row.client_bound for row in rows):
        note += "; !: CLIENT-BOUND there"
    return note
