"""Draw several runs on the same axes, and one request event by event."""

from collections.abc import Mapping, Sequence

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from gptoss_bench.figures.style import (
    EVENT_MARKS,
    LINES,
    PHASE_SHADES,
    STALL_COLOUR,
    finish_figure,
    labels_and_limits,
    legend_below,
    new_figure,
    set_log_scale,
)
from gptoss_bench.runs import Manifest
from gptoss_bench.stats import measured_rows

# Column, title, unit on the axis, and what a second is in it.
PANELS = (
    ("ttft_s", "TTFT", "seconds", 1),
    ("tpot_s", "TPOT", "milliseconds", 1000),
    ("done_s", "Whole request", "seconds", 1),
)


def runs_overlaid(requests: Mapping[str, pd.DataFrame], manifests: Mapping[str, Manifest]) -> Figure:
    """Draw the distributions of TTFT, TPOT and latency of several runs. Both mappings have the run's legend as key."""
    figure, panels = new_figure(width=11, height=4.2, columns=len(PANELS))
    for axes, (column, title, unit, in_unit) in zip(panels, PANELS, strict=True):
        for at, (name, table) in enumerate(requests.items()):
            rows = measured_rows(table)
            values = rows.loc[rows["outcome"] == "completed", column].dropna() * in_unit
            if len(values):
                sns.ecdfplot(x=values, ax=axes, label=name, linestyle=LINES[at % len(LINES)], linewidth=2)
        axes.set(title=title, xlabel=unit, ylabel="share of requests" if column == "ttft_s" else "")
        axes.set_xlim(left=0)
    # Below the middle panel, unless a run has no curve there.
    first, middle, last = panels
    legend_below(max((middle, first, last), key=lambda axes: len(axes.get_legend_handles_labels()[0])), columns=1)
    return finish_figure(figure, shared_manifest(manifests))


def overlay_labels(run_ids: Sequence[str]) -> list[str]:
    """Return a legend entry for each run: a letter and its run id."""
    return [f"{chr(ord('A') + at % 26)}: {run_id}" for at, run_id in enumerate(run_ids)]


def request_timeline(
    events: pd.DataFrame, request_id: int, manifest: Manifest, stalls: pd.DataFrame | None = None
) -> Figure:
    """Draw when each event of a request arrived, with the gap before it, its phases, and where the client stood still.

    `events` is the table of `request_events`, `stalls` that of `request_stalls`.
    """
    figure, axes = new_figure(height=3.2)
    for name, from_s, to_s, shade in _phases(events):
        axes.axvspan(from_s, to_s, color=shade, alpha=0.35, linewidth=0, zorder=0)
        middle, place = (from_s + to_s) / 2, axes.get_xaxis_transform()
        axes.text(middle, 0.97, name, transform=place, ha="center", va="top", fontsize=8)
    if stalls is not None:
        for at, (from_s, to_s) in enumerate(zip(stalls["from_s"], stalls["to_s"], strict=True)):
            axes.axvspan(from_s, to_s, color=STALL_COLOUR, zorder=0, label="client stood still" if at == 0 else None)
    colours = dict(zip(EVENT_MARKS, sns.color_palette(n_colors=len(EVENT_MARKS)), strict=True))
    later = events.iloc[1:]  # the gap before the first event is the wait, which the band shows
    positive_ms = later.loc[later["gap_s"] > 0, "gap_s"] * 1e3
    floor_ms = float(positive_ms.min()) / 2 if len(positive_ms) else 1e-3
    for kind, rows in later.groupby("kind", sort=False):
        mark, colour = EVENT_MARKS.get(str(kind), "."), colours.get(str(kind), "black")
        axes.plot(
            rows["at_s"], (rows["gap_s"] * 1e3).clip(lower=floor_ms), mark, label=kind, color=colour, markersize=5
        )
    if len(positive_ms):
        worst_ms, worst_s = float(positive_ms.max()), float(later["at_s"].to_numpy()[later["gap_s"].argmax()])
        text = f"worst gap {worst_ms:.3g} ms"
        axes.annotate(text, (worst_s, worst_ms), (6, 4), textcoords="offset points", fontsize=8)
        set_log_scale(axes, "y", (floor_ms / 1.5, worst_ms * 6))  # leave space for the names
    axes.set(title=f"Request {request_id}, event by event", ylabel="gap before the event, ms")
    axes.set(xlabel="seconds since it was sent")
    axes.set_xlim(left=0)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, loc="lower right")
    note = "a gap of 0 (one read brought both events) is at the lower edge" if (later["gap_s"] <= 0).any() else ""
    return finish_figure(figure, manifest, note)


def _phases(events: pd.DataFrame) -> list[tuple[str, float, float, str]]:
    """Return name, begin, end and colour of the phases of a request: until its first token, reasoning, answer."""
    first = {str(part): float(rows["at_s"].min()) for part, rows in events.groupby("part", sort=False)}
    begins = [(part, first[part]) for part in ("reasoning", "answer") if part in first]
    if not begins:
        return []
    end = float(events["at_s"].max())
    bounds = [("wait and prefill", 0.0), *begins]
    ends = [begin for _, begin in bounds[1:]] + [end]
    return [
        (name, begin, to, shade)
        for (name, begin), to, shade in zip(bounds, ends, PHASE_SHADES, strict=False)
        if to > begin
    ]


def shared_manifest(manifests: Mapping[str, Manifest]) -> Manifest:
    """Return a manifest for a figure of several runs: every label, run id and CLIENT-BOUND reason of them."""
    every = list(manifests.values())
    servers = {(one.server.engine, one.server.version, one.server.model, one.server.quantisation) for one in every}
    shared = labels_and_limits(every)
    shared.run_id = ", ".join(one.run_id for one in every)
    if every:
        shared.machine, shared.gpus = every[0].machine, every[0].gpus
        shared.endpoint = every[0].endpoint if len(servers) == 1 else None
    return shared
