"""Runs overlaid, and one request drawn token by token."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from gptoss_bench.figures.style import finished, new_figure
from gptoss_bench.runs import merged_labels
from gptoss_bench.stats import measured_rows

PANELS = {"ttft_s": "TTFT", "tpot_s": "TPOT", "done_s": "Whole request"}
SERVED = ("engine", "version", "model", "quantisation")
LINES = ("-", "--", "-.", ":")
KINDS = {"output": "o", "role": "|", "finish": "x", "usage": "+", "done": "d", "error": "X", "other": "."}


def runs_overlaid(requests: Mapping[str, pd.DataFrame], manifests: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Which run was faster, at which share of its requests? Both tables are by the name for the legend."""
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
    return finished(figure, shared_manifest(manifests))


def overlay_labels(run_ids: Sequence[str]) -> list[str]:
    """A letter for each run, for the legend of a figure."""
    return [f"{chr(ord('A') + at % 26)}: {run_id}" for at, run_id in enumerate(run_ids)]


def request_timeline(events: pd.DataFrame, request_id: int, manifest: Mapping[str, Any]) -> Figure:
    """When did each event of this request come, and after which gap? `events` is of `request_events`."""
    figure, axes = new_figure(height=3.0)
    colours = dict(zip(KINDS, sns.color_palette(n_colors=len(KINDS)), strict=True))
    for kind, rows in events.groupby("kind", sort=False):
        mark, colour = KINDS.get(str(kind), "."), colours.get(str(kind), "black")
        axes.plot(rows["at_s"], rows["gap_s"] * 1e3, mark, label=kind, color=colour, markersize=5)
    axes.set(title=f"Request {request_id}, event by event", ylabel="gap to the one before, ms")
    axes.set(xlabel="seconds since it was sent")
    axes.set_ylim(bottom=0)
    if len(events):
        axes.legend(fontsize=8)
    return finished(figure, manifest)


def shared_manifest(manifests: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """A manifest for a figure of several runs: every label and every reason for doubt of any of them."""
    every = list(manifests.values())
    bound = [f"{each['run_id']}: {words}" for each in every for words in (each.get("client") or {}).get("bound") or []]
    first = dict(every[0]) if every else {}
    same = len({tuple((each.get("endpoint") or {}).get(name) for name in SERVED) for each in every}) == 1
    return first | {
        "label": merged_labels(each.get("label") for each in every),
        "endpoint": first.get("endpoint") if same else None,
        "run_id": ", ".join(str(each["run_id"]) for each in every),
        "client": {"error_bar": "", "bound": bound},
    }
