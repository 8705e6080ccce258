"""Tables to figures, each of which answers one question. No number is computed here that a reader would quote."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from gptoss_bench.figures.style import finished, new_figure
from gptoss_bench.stats import measured_rows

PERCENTILES = ("p50", "p90", "p99")
PHASES = {
    "measure": "measured",
    "warmup": "warm-up",
    "cold": "cold",
}  # of the load; the levels of a sweep are not of it
DISTRIBUTIONS = {
    "ttft_s": ("TTFT, measured", "-"),
    "ttfa_s": ("TTFA: first answer token", "--"),
    "ttft_formula_s": ("TTFT by the write-up's formula", "-."),
    "done_s": ("whole request", ":"),
}


def published_beside_ours(
    published: Mapping[str, Mapping[str, float]], summary: Mapping[str, Any], manifest: Mapping[str, Any]
) -> Figure:
    """Do the published latency and TTFT come out again? `published` is by "done_s" and "ttft_formula_s"."""
    sources = {
        "done_s": {"published": published["done_s"], "ours": summary["done_s"]["exclusive"]},
        "ttft_formula_s": {
            "published (formula)": published["ttft_formula_s"],
            "ours, same formula": summary["ttft_formula_s"]["exclusive"],
            "ours, measured": summary["ttft_s"]["exclusive"],
        },
    }
    figure, panels = new_figure(columns=2)
    intervals = {
        "done_s": [summary["done_s"]["p50_interval"]],
        "ttft_formula_s": [summary[name]["p50_interval"] for name in ("ttft_formula_s", "ttft_s")],
    }
    for axes, (name, by_source), title in zip(panels, sources.items(), ("Latency of a request", "TTFT"), strict=True):
        rows: list[dict[str, Any]] = [
            {"percentile": p, "source": source, "seconds": values[p]}
            for source, values in by_source.items()
            for p in PERCENTILES
        ]
        sns.barplot(pd.DataFrame(rows).dropna(), x="percentile", y="seconds", hue="source", ax=axes, edgecolor="0.2")
        for hatch, bars in zip(("//", "", ".."), axes.containers, strict=False):
            for bar in bars:
                bar.set_hatch(hatch)
            axes.bar_label(bars, fmt="%.3g", fontsize=8 if len(by_source) < 3 else 7, padding=4)
        drawn = [row["seconds"] for row in rows if row["seconds"]]
        plain_log_scale(axes, "y", (min(drawn) / 2, max(drawn) * 12) if drawn else None)  # room for the legend
        for bars, interval in zip(axes.containers, [None, *intervals[name]], strict=False):
            if interval and len(bars):
                axes.vlines(bars[0].get_x() + bars[0].get_width() / 2, *interval, color="black", linewidth=2.2)
        axes.set(title=title, xlabel="", ylabel="seconds")
        axes.legend(title=None, fontsize=8, loc="upper left")
    words = "percentiles by the exclusive rule, as published; bar: 95 % interval of our p50"
    return finished(figure, manifest, words)


def latency_distributions(requests: pd.DataFrame, manifest: Mapping[str, Any]) -> Figure:
    """How far is the formula from the first token, and the first token from the answer?"""
    rows = measured_rows(requests)
    rows = rows[rows.outcome == "completed"]
    figure, axes = new_figure()
    for column, (name, line) in DISTRIBUTIONS.items():
        if rows[column].notna().any():
            sns.ecdfplot(rows, x=column, ax=axes, label=name, linestyle=line, linewidth=2)
    axes.legend(loc="best", fontsize=9)
    axes.set(title="When a request gets its first token, its first answer token, and its end")
    axes.set(xlabel="seconds since it was sent", ylabel="share of requests")
    plain_log_scale(axes, "x")
    return finished(figure, manifest)


def gap_distribution(events: pd.DataFrame, summary: Mapping[str, Any], manifest: Mapping[str, Any]) -> Figure:
    """How evenly do the tokens come?"""
    gaps_ms = measured_rows(events).itl_s.dropna() * 1e3
    figure, axes = new_figure(height=3.4)
    seen = gaps_ms[gaps_ms > 0]
    sns.ecdfplot(x=gaps_ms.clip(lower=seen.min() / 2 if len(seen) else 1e-3), ax=axes, linewidth=2)
    for name in ("p50", "p99"):
        if (value := summary["itl_s"][name]) is not None:
            axes.axvline(value * 1e3, color="0.3", linestyle=":")
            axes.text(value * 1e3, 0.06, f" {name} {value * 1e3:.3g} ms", fontsize=9)
    axes.set(title="Inter-token latency: gaps between output-bearing events")
    axes.set(xlabel="milliseconds", ylabel="share of gaps")
    plain_log_scale(axes, "x")
    if len(seen):
        low_ms = max(float(seen.quantile(0.001)), float(gaps_ms.median()) / 1000)
        plain_log_scale(axes, "x", (low_ms / 1.5, float(seen.max()) * 1.5))
    per_event = summary["tokens_per_event"]
    words = f"{per_event:.3g} tokens per event" if per_event else "tokens per event unknown"
    within = f"; {len(gaps_ms) - len(seen):,} of {len(gaps_ms):,} gaps lay within one read" if len(gaps_ms) else ""
    return finished(figure, manifest, words + within)


def timeline(requests: pd.DataFrame, manifest: Mapping[str, Any]) -> Figure:
    """What was in flight when? One line a request from its sending to its end, a dot at its first token."""
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
    axes.set(title="Requests in flight", xlabel="seconds since the first was sent", ylabel="request, by sending")
    axes.legend(fontsize=8, loc="lower right")
    return finished(figure, manifest)


def decode_rates_by_source(rates: pd.DataFrame, published: tuple[float, float], manifest: Mapping[str, Any]) -> Figure:
    """Does the decode rate (witness.decode_rates) lie in the published band, and do server and client agree?"""
    figure, axes = new_figure(height=2.8)
    sns.stripplot(rates, x="tok_s", y="source", hue="source", ax=axes, size=8, jitter=0.15, alpha=0.8)
    axes.axvspan(*published, color="0.6", alpha=0.5, label=f"published: {published[0]:g} to {published[1]:g}")
    axes.legend(loc="best", fontsize=9)
    axes.set(title="Decode rate, one stream", xlabel="tokens per second", ylabel="")
    plain_log_scale(axes, "x")
    axes.margins(x=0.1, y=0.4)
    return finished(figure, manifest)


def cold_and_warm(requests: pd.DataFrame, manifest: Mapping[str, Any]) -> Figure:
    """Where does the time of a request go, on a cold server and on a warm one (the median of each part)?"""
    parts = {"server_load_s": "load", "server_prompt_s": "prompt", "server_eval_s": "decode"}
    completed = requests[requests.outcome == "completed"]
    rows = completed.groupby(completed.phase.map({"cold": "cold", "measure": "warm"}))[list(parts)].median().fillna(0.0)
    figure, axes = new_figure(height=2.6)
    left = np.zeros(len(rows))
    for (column, name), hatch in zip(parts.items(), ("//", "..", ""), strict=True):
        axes.barh(rows.index, rows[column], left=left, label=name, hatch=hatch, edgecolor="0.2")
        left += rows[column].to_numpy()
    axes.invert_yaxis()
    axes.legend(fontsize=9, loc="lower right", ncols=len(parts))
    axes.set(title="A cold request and a warm one", xlabel="seconds, by the server's own durations")
    axes.grid(visible=False, axis="y")
    return finished(figure, manifest)


def plain_log_scale(axes: Axes, name: str, limits: tuple[float, float] | None = None) -> None:
    """Make the x or y axis logarithmic, with ticks in plain numbers: 1, 2 and 5 of each decade where these have room.

    Call it once all is drawn; `limits` are those of the axis, else as drawn.
    """
    axes.set(**{f"{name}scale": "log"})
    if limits is not None:
        axes.set(**{f"{name}lim": limits})
    axis = axes.xaxis if name == "x" else axes.yaxis
    low, high = axes.get_xlim() if name == "x" else axes.get_ylim()
    decades = np.log10(high / low) if 0 < low < high else 1.0
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < (2.0 if name == "x" else 3.0) else (1,), numticks=12))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())
