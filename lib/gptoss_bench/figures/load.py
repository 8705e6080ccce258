"""Draw the requests and events of one load: latencies, gaps, decode rates, and what was in flight."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gptoss_bench.figures.style import (
    BAND,
    DURATION_HATCHES,
    EDGE,
    GUIDE,
    LINES,
    PALETTE,
    SERIES_MARKS,
    draw_client_pair,
    draw_slo,
    finish_figure,
    is_visible,
    legend_below,
    new_figure,
    set_log_scale,
)
from gptoss_bench.runs import Distribution, LoadSummary, Manifest
from gptoss_bench.stats import REPORTED_PERCENTILES, measured_rows

PHASES = {"measure": "measured", "warmup": "warm-up", "cold": "cold"}  # the levels of a sweep are left out
GOLDEN_SHARE = 0.618034  # multiples of it, less their whole part, lie evenly
OF_USERS = ("endpoint", "explore", "load", "capacity")  # scenarios of a user's server: the write-up is not its matter
DISTRIBUTIONS = {
    "ttft_s": "TTFT, measured",
    "ttfa_s": "TTFA: first answer token",
    "ttft_formula_s": "TTFT by the write-up's formula",
    "done_s": "whole request",
}


class _Series(NamedTuple):
    """The percentiles of one source in seconds, and where they were measured their distribution."""

    source: str
    seconds: Mapping[str, float | None]
    measured: Distribution | None = None


def published_and_measured(
    published: Mapping[str, Mapping[str, float]], summary: LoadSummary, manifest: Manifest
) -> Figure:
    """Draw the published latency and TTFT beside the measured ones, by percentile.

    `published` has "done_s" and "ttft_formula_s", each with its percentiles in seconds. A run with a label, such as
    TINY MODEL, is no measurement of the published model: it gets axes of its own.
    """

    def ours(source: str, found: Distribution) -> _Series:
        return _Series(source, {p: found.exclusive.at(p) for p in REPORTED_PERCENTILES}, found)

    panels = {
        "Latency of a request": [_Series("published", published["done_s"]), ours("measured", summary.done_s)],
        "TTFT": [
            _Series("published, by its formula", published["ttft_formula_s"]),
            ours("same formula", summary.ttft_formula_s),
            ours("measured", summary.ttft_s),
        ],
    }
    note = "percentiles by the exclusive rule, as published; line: 95 % interval of a p50; empty mark: not resolved"
    if manifest.labels:
        figure, grid = new_figure(height=6.4, columns=len(panels), rows=2)
        for (above, below), (title, series) in zip(grid.T, panels.items(), strict=True):
            _draw_percentiles(above, f"{title}: published", series, 0, 1)
            _draw_percentiles(below, f"{title}: this run", series, 1, len(series))
        note += f"; {', '.join(manifest.labels)}: not comparable with the published figures"
    else:
        figure, row = new_figure(columns=len(panels))
        for axes, (title, series) in zip(row, panels.items(), strict=True):
            _draw_percentiles(axes, title, series, 0, len(series))
    if any(is_visible(one.client_pair(at)) for one in (summary.done_s, summary.ttft_s) for at in REPORTED_PERCENTILES):
        note += "; wide pale bar: as far as the client's timestamps allow"
    return finish_figure(figure, manifest, note)


def _draw_percentiles(axes: Axes, title: str, series: Sequence[_Series], first: int, end: int) -> None:
    """Draw series `first` to `end`, each with the colour and the mark that it has among all `series`."""
    drawn = []
    for place, one in enumerate(series[first:end]):
        colour, mark = sns.color_palette(PALETTE)[first + place], SERIES_MARKS[first + place]
        shift = 0.26 * (place - (end - first - 1) / 2)
        look: dict[str, Any] = {"color": colour, "markersize": 8, "linestyle": ""}
        for at_x, p in enumerate(REPORTED_PERCENTILES):
            if (value := one.seconds.get(p)) is None:
                continue
            drawn.append(value)
            resolved = one.measured is None or one.measured.resolved.at(p)
            axes.plot(at_x + shift, value, mark, markerfacecolor=colour if resolved else "white", **look)
            text = f"{value:.3f}" if value >= 1 else f"{value:.3g}"
            axes.annotate(text, (at_x + shift, value), (0, 7), textcoords="offset points", fontsize=7.5, ha="center")
            if one.measured is not None and one.source == "measured":
                draw_client_pair(axes, at_x + shift, one.measured.client_pair(p), colour)
        if one.measured is not None and one.measured.p50_interval:
            axes.vlines(shift, *one.measured.p50_interval, color=EDGE, linewidth=1.4)
        axes.plot([], [], mark, label=one.source, **look)
    axes.set(title=title, ylabel="seconds", xlim=(-0.6, len(REPORTED_PERCENTILES) - 0.4))
    axes.set_xticks(range(len(REPORTED_PERCENTILES)), list(REPORTED_PERCENTILES))
    axes.tick_params(labelbottom=True)
    set_log_scale(axes, "y", (min(drawn) / 1.6, max(drawn) * 1.6) if drawn else None)
    axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=3)


def latency_distributions(requests: pd.DataFrame, manifest: Manifest) -> Figure:
    """Draw the distributions of the time to the first token, to the first answer token and to the end of a request.

    A load of the write-up has its formula beside them; a load of a user's server has not.
    """
    rows = measured_rows(requests)
    rows = rows[rows.outcome == "completed"]
    figure, axes = new_figure()
    for (column, name), line in zip(DISTRIBUTIONS.items(), LINES, strict=True):
        if rows[column].notna().any() and not (column == "ttft_formula_s" and manifest.scenario in OF_USERS):
            sns.ecdfplot(rows, x=column, ax=axes, label=name, linestyle=line, linewidth=2)
    axes.set(title="When a request gets its first token, its first answer token, and its end")
    axes.set(xlabel="seconds since it was sent", ylabel="share of requests")
    for name in ("ttft_s", "e2e_s"):
        draw_slo(axes, manifest, name, vertical=True)
    set_log_scale(axes, "x")
    legend_below(axes)
    return finish_figure(figure, manifest)


def gap_distribution(events: pd.DataFrame, summary: LoadSummary, manifest: Manifest) -> Figure:
    """Draw the distribution of the inter-token latency."""
    gaps_ms = measured_rows(events).itl_s.dropna() * 1e3
    figure, axes = new_figure(height=3.4)
    positive_ms = gaps_ms[gaps_ms > 0]
    note_pairs = ""
    sns.ecdfplot(x=gaps_ms.clip(lower=positive_ms.min() / 2 if len(positive_ms) else 1e-3), ax=axes, linewidth=2)
    for name, height in (("p50", 0.4), ("p99", 0.85)):  # below the curve
        if (value := summary.itl_s.at(name)) is not None and value > 0:
            axes.axvline(value * 1e3, color=GUIDE, linestyle=":")
            mark = "" if summary.itl_s.resolved.at(name) else "~"
            text, look = f"{name} {mark}{value * 1e3:.3g} ms", {"textcoords": "offset points", "fontsize": 9}
            axes.annotate(text, (value * 1e3, height), (4, 0), **look)
            pair = summary.itl_s.client_pair(name)
            if pair is not None and is_visible(pair):
                axes.axvspan(max(pair[0], 1e-6) * 1e3, pair[1] * 1e3, color=BAND, alpha=0.3)
                note_pairs = "; band: as far as the client's timestamps allow"
        elif value == 0:
            note_pairs = f"; {name} not resolved: one read brought both events of most gaps"
    axes.set(title="Inter-token latency: gaps between output-bearing events")
    axes.set(xlabel="milliseconds", ylabel="share of gaps")
    set_log_scale(axes, "x")
    if len(positive_ms):
        low_ms = max(float(positive_ms.quantile(0.01)), float(positive_ms.median()) / 20)
        set_log_scale(axes, "x", (low_ms / 1.5, float(positive_ms.max()) * 1.5))
    per_event = summary.tokens_per_event
    note = f"{per_event:.3g} tokens per event" if per_event else "tokens per event unknown"
    if len(gaps_ms):
        note += f"; {len(gaps_ms) - len(positive_ms):,} of {len(gaps_ms):,} gaps lie within one read"
    note += note_pairs
    return finish_figure(figure, manifest, note)


def requests_in_flight(requests: pd.DataFrame, manifest: Manifest) -> Figure:
    """Draw each request as a line from its send to its end, with a dot at its first token."""
    sent = requests[requests.sent_ns.notna() & requests.phase.isin(PHASES)]
    sent = sent.sort_values("sent_ns").reset_index(drop=True)
    start_s = (sent.sent_ns - sent.sent_ns.min()).astype(float) / 1e9
    end_s = start_s + sent.done_s.fillna(sent.e2e_s).fillna(0.0)
    figure, axes = new_figure(height=3.8)
    colours = dict(zip(PHASES, sns.color_palette(), strict=False))
    axes.hlines(np.arange(len(sent)), start_s, end_s, colors=[colours[phase] for phase in sent.phase], linewidth=1.2)
    axes.scatter(start_s + sent.ttft_s, np.arange(len(sent)), s=9, color="black", label="first token", zorder=3)
    for phase in pd.unique(sent.phase):
        axes.plot([], [], color=colours[phase], label=f"{PHASES[phase]} request")
    axes.set(title="Requests in flight", xlabel="seconds since the first was sent", ylabel="requests, by send time")
    legend_below(axes)
    return finish_figure(figure, manifest)


def decode_rates_by_source(rates: pd.DataFrame, published: tuple[float, float], manifest: Manifest) -> Figure:
    """Draw the decode rates by client and by server, with the published range as a band.

    `rates` is the table of stats.decode_rates; `published` is low and high, in tokens per second. A run with a label,
    such as TINY MODEL, is drawn without it: it cannot be compared with it.
    """
    figure, axes = new_figure(height=2.8)
    sources = list(rates["source"].unique())
    for at, source in enumerate(sources):
        values = rates.loc[rates["source"] == source, "tok_s"]
        # Points beside each other, in an order that is the same whenever the figure is drawn.
        beside = (np.arange(len(values)) * GOLDEN_SHARE) % 1 - 0.5
        axes.scatter(values, at + 0.3 * beside, s=64, alpha=0.8)
    axes.set_yticks(range(len(sources)), sources)
    axes.invert_yaxis()
    note = ""
    if manifest.labels:
        note = f"the published range is left out, {', '.join(manifest.labels)} cannot be compared with it"
    else:
        axes.axvspan(*published, color=BAND, alpha=0.5, label=f"published: {published[0]:g} to {published[1]:g}")
        axes.legend(loc="best", fontsize=9)
    axes.set(title="Decode rate, one stream", xlabel="tokens per second", ylabel="")
    set_log_scale(axes, "x")
    axes.margins(x=0.1, y=0.4)
    return finish_figure(figure, manifest, note)


def cold_and_warm(requests: pd.DataFrame, manifest: Manifest) -> Figure:
    """Draw the median load, prompt and decode times, and the rest, of a request on a cold server and on a warm one.

    The rest is the wait for a slot and what the server does beside.
    """
    parts = {"server_load_s": "load", "server_prompt_s": "prompt", "server_eval_s": "decode", "server_wait_s": "rest"}
    completed = requests[requests.outcome == "completed"]
    rows = completed.groupby(completed.phase.map({"cold": "cold", "measure": "warm"}))[list(parts)].median().fillna(0.0)
    figure, axes = new_figure(height=2.6)
    left = np.zeros(len(rows))
    for (column, name), hatch in zip(parts.items(), DURATION_HATCHES, strict=True):
        axes.barh(rows.index, rows[column], left=left, label=name, hatch=hatch, edgecolor=EDGE)
        left += rows[column].to_numpy()
    axes.invert_yaxis()
    axes.set(title="A cold and a warm request", xlabel="seconds, as the server reports them")
    legend_below(axes, len(parts))
    axes.grid(visible=False, axis="y")
    return finish_figure(figure, manifest)
