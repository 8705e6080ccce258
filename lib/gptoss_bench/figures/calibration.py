"""The table of levels to figures: how wrong each client was, and what it cost, by the load."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from gptoss_bench.figures.load import plain_log_scale
from gptoss_bench.figures.style import finished, new_figure
from gptoss_bench.stats import CPU_SHARE

LEAST_MS = 1e-3  # what a logarithmic axis can still show of an error of nothing
ERROR_COLUMNS = [
    *(
        "client",
        "streams",
        "tokens_s",
        "offered_events_s",
        "events_s",
        "ttft_error_p50_ms",
        "ttft_error_p99_ms",
        "ttft_error_max_ms",
    ),
    *("itl_error_p50_ms", "itl_error_p99_ms", "itl_error_max_ms", "lag_p50_ms", "lag_p99_ms"),
    *("server_late_p99_ms", "cpu_share", "trusted", "client_bound"),
]


def error_by_load(levels: pd.DataFrame, manifest: Mapping[str, Any]) -> Figure:
    """How wrong is each client, by events/s? `levels` is calibrate.levels_table; lateness of the server as a band."""
    figure, panels = new_figure(width=10.0, height=4.2, columns=2)
    late = levels.groupby("offered_events_s")[["server_late_p50_ms", "server_late_p99_ms"]].max()
    late = late.clip(lower=LEAST_MS)
    for axes, name, title in zip(panels, ("ttft", "itl"), ("Error of TTFT", "Error of ITL"), strict=True):
        axes.fill_between(
            late.index, late["server_late_p50_ms"], late["server_late_p99_ms"],
            color="0.5", alpha=0.25, linewidth=0, label="server late, p50 to p99",
        )  # fmt: skip
        looks = zip(sns.color_palette(), "os^D", levels.groupby("client"), strict=False)
        for colour, mark, (client, rows) in looks:
            for at, line in (("p50", "-"), ("p99", "--")):
                errors_ms = rows[f"{name}_error_{at}_ms"].clip(lower=LEAST_MS)
                axes.plot(rows["offered_events_s"], errors_ms, line, color=colour, marker=mark, label=f"{client}, {at}")
        axes.set(title=title, xlabel="events per second, as offered", ylabel="milliseconds")
        plain_log_scale(axes, "x")
        plain_log_scale(axes, "y")
        axes.legend(fontsize=8, loc="best")
    return finished(figure, manifest)


def cpu_by_load(levels: pd.DataFrame, manifest: Mapping[str, Any]) -> Figure:
    """How much of a core does each client need, by events/s?"""
    figure, axes = new_figure(height=3.4)
    shares = levels.assign(percent=levels["cpu_share"] * 100)
    look = {"x": "offered_events_s", "y": "percent", "hue": "client", "style": "client"}
    sns.lineplot(shares, **look, markers=True, ax=axes, linewidth=2)
    axes.axhline(CPU_SHARE * 100, color="0.3", linestyle=":")
    axes.legend(title=None, fontsize=9)
    axes.set(title="What the measuring costs", xlabel="events per second, as offered", ylabel="% of one core")
    plain_log_scale(axes, "x")
    axes.set_ylim(bottom=0)
    return finished(figure, manifest)
