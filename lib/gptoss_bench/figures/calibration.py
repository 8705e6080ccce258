"""Draw the levels of a calibration: the errors of each client and the CPU time it needs, by event rate."""

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from gptoss_bench.figures.style import (
    BAND,
    GUIDE,
    PERCENTILE_LINES,
    SERIES_MARKS,
    finish_figure,
    new_figure,
    set_log_scale,
)
from gptoss_bench.runs import Manifest
from gptoss_bench.stats import CLIENT_BOUND_CPU_SHARE

LEAST_MS = 1e-3  # an error of 0 is drawn here, because a logarithmic axis has no 0
CALIBRATION_COLUMNS = [
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


def error_by_load(levels: pd.DataFrame, manifest: Manifest) -> Figure:
    """Draw the TTFT and ITL errors of each client by events per second, with the lateness of the server as a band.

    `levels` is the table of calibration.levels_table.
    """
    figure, panels = new_figure(width=10.0, height=4.2, columns=2)
    late = levels.groupby("offered_events_s")[["server_late_p50_ms", "server_late_p99_ms"]].max()
    late = late.clip(lower=LEAST_MS)
    for axes, name, title in zip(panels, ("ttft", "itl"), ("Error of TTFT", "Error of ITL"), strict=True):
        axes.fill_between(
            late.index, late["server_late_p50_ms"], late["server_late_p99_ms"],
            color=BAND, alpha=0.3, linewidth=0, label="server late, p50 to p99",
        )  # fmt: skip
        for colour, mark, (client, rows) in zip(
            sns.color_palette(), SERIES_MARKS, levels.groupby("client"), strict=False
        ):
            for percentile, line in PERCENTILE_LINES.items():
                errors_ms = rows[f"{name}_error_{percentile}_ms"].clip(lower=LEAST_MS)
                look = {"color": colour, "marker": mark, "label": f"{client}, {percentile}"}
                axes.plot(rows["offered_events_s"], errors_ms, line, **look)
        axes.set(title=title, xlabel="events per second, as offered", ylabel="milliseconds")
        set_log_scale(axes, "x")
        set_log_scale(axes, "y")
        axes.legend(fontsize=8, loc="best")
    return finish_figure(figure, manifest)


def cpu_by_load(levels: pd.DataFrame, manifest: Manifest) -> Figure:
    """Draw the share of a core that each client needs, by events per second."""
    figure, axes = new_figure(height=3.4)
    shares = levels.assign(percent=levels["cpu_share"] * 100)
    look = {"x": "offered_events_s", "y": "percent", "hue": "client", "style": "client"}
    sns.lineplot(shares, **look, markers=True, ax=axes, linewidth=2)
    axes.axhline(CLIENT_BOUND_CPU_SHARE * 100, color=GUIDE, linestyle=":")
    axes.legend(title=None, fontsize=9)
    axes.set(title="CPU cost of the measurement", xlabel="events per second, as offered", ylabel="% of one core")
    set_log_scale(axes, "x")
    axes.set_ylim(bottom=0)
    return finish_figure(figure, manifest)
