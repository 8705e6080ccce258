"""Draw several runs on the same axes, and one request event by event."""

from collections.abc import Mapping, Sequence

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from gptoss_bench.figures.style import EVENT_MARKS, LINES, STALL_COLOUR, finish_figure, labels_and_limits, new_figure
from gptoss_bench.runs import Manifest
from gptoss_bench.stats import measured_rows

PANELS = {"ttft_s": "TTFT", "tpot_s": "TPOT", "done_s": "Whole request"}


def runs_overlaid(requests: Mapping[str, pd.DataFrame], manifests: Mapping[str, Manifest]) -> Figure:
    """Draw the distributions of TTFT, TPOT and latency of several runs. Both mappings have the run's legend as key."""
    figure, panels = new_figure(width=11, height=3.8, columns=len(PANELS))
    for axes, (column, title) in zip(panels, PANELS.items(), strict=True):
        for at, (name, table) in enumerate(requests.items()):
            rows = measured_rows(table)
            values = rows.loc[rows["outcome"] == "completed", column].dropna()
            if len(values):
                sns.ecdfplot(x=values, ax=axes, label=name, linestyle=LINES[at % len(LINES)], linewidth=2)
        axes.set(title=title, xlabel="seconds", ylabel="share of requests" if column == "ttft_s" else "")
        axes.set_xlim(left=0)
    if panels[-1].get_legend_handles_labels()[0]:
        panels[-1].legend(fontsize=7, loc="lower right")
    return finish_figure(figure, shared_manifest(manifests))


def overlay_labels(run_ids: Sequence[str]) -> list[str]:
    """Return a legend entry for each run: a letter and its run id."""
    return [f"{chr(ord('A') + at % 26)}: {run_id}" for at, run_id in enumerate(run_ids)]


def request_timeline(
    events: pd.DataFrame, request_id: int, manifest: Manifest, stalls: pd.DataFrame | None = None
) -> Figure:
    """Draw when each event of a request arrived, and the gap before it, with a band where the client stood still.

    `events` is the table of `request_events`, `stalls` that of `request_stalls`.
    """
    figure, axes = new_figure(height=3.0)
    if stalls is not None:
        for at, (from_s, to_s) in enumerate(zip(stalls["from_s"], stalls["to_s"], strict=True)):
            axes.axvspan(from_s, to_s, color=STALL_COLOUR, zorder=0, label="client stood still" if at == 0 else None)
    colours = dict(zip(EVENT_MARKS, sns.color_palette(n_colors=len(EVENT_MARKS)), strict=True))
    for kind, rows in events.groupby("kind", sort=False):
        mark, colour = EVENT_MARKS.get(str(kind), "."), colours.get(str(kind), "black")
        axes.plot(rows["at_s"], rows["gap_s"] * 1e3, mark, label=kind, color=colour, markersize=5)
    axes.set(title=f"Request {request_id}, event by event", ylabel="gap to the previous event, ms")
    axes.set(xlabel="seconds since it was sent")
    axes.set_ylim(bottom=0)
    if len(events):
        axes.legend(fontsize=8)
    return finish_figure(figure, manifest)


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
