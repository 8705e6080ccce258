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
    legend_below,
    new_figure,
    set_log_scale,
)
from gptoss_bench.runs import Manifest
from gptoss_bench.stats import CLIENT_BOUND_CPU_SHARE

AT_LEAST = "errors below 0.001 ms are drawn at 0.001 ms"
LEAST_MS = 1e-3  # an error of 0 is drawn here, because a logarithmic axis has no 0
CALIBRATION_COLUMNS = [
    *("client", "condition", "kind", "streams", "tokens_s", "repeats", "events_s"),
    *("ttft_error_n", "ttft_error_p50_ms", "ttft_error_p99_ms", "ttft_error_max_ms"),
    *("itl_error_p50_ms", "itl_error_p99_ms", "itl_error_max_ms", "lag_p50_ms", "lag_p99_ms"),
    *("exact_share", "outside_share", "server_late_p99_ms", "cpu_share", "trusted", "client_bound"),
]
_ERRORS = (("ttft", "Error of TTFT"), ("itl", "Error of ITL"))


def error_by_load(levels: pd.DataFrame, manifest: Manifest) -> Figure:
    """Draw the TTFT and ITL errors of each client by events per second, with the lateness of the server as a band.

    `levels` is the table of calibration.levels_table; its plain loads are drawn.
    """
    figure, panels = new_figure(width=10.0, height=4.2, columns=2)
    plain = levels[levels["kind"] == "plain"]
    idle = plain[plain["condition"] == "idle"]
    late = idle.groupby("offered_events_s")[["server_late_p50_ms", "server_late_p99_ms"]].max().astype("float64")
    late = late.clip(lower=LEAST_MS)
    for axes, (name, title) in zip(panels, _ERRORS, strict=True):
        axes.fill_between(
            late.index, late["server_late_p50_ms"], late["server_late_p99_ms"],
            color=BAND, alpha=0.3, linewidth=0, label="server late, p50 to p99",
        )  # fmt: skip
        for colour, mark, ((client, condition), rows) in zip(
            sns.color_palette(), SERIES_MARKS, plain.groupby(["client", "condition"]), strict=False
        ):
            for percentile, line in PERCENTILE_LINES.items():
                errors_ms = rows[f"{name}_error_{percentile}_ms"].astype("float64").clip(lower=LEAST_MS)
                look = {"color": colour, "marker": mark, "label": f"{client}, {condition}, {percentile}"}
                if errors_ms.notna().any():
                    axes.plot(rows["offered_events_s"], errors_ms, line, **look)
        axes.set(title=title, xlabel="events per second, as offered", ylabel="milliseconds")
        set_log_scale(axes, "x")
        set_log_scale(axes, "y")
        legend_below(axes, 2)
    return finish_figure(figure, manifest, AT_LEAST)


def error_by_kind(levels: pd.DataFrame, manifest: Manifest) -> Figure:
    """Draw the TTFT and ITL errors of the kit's client for each kind of load at one level, with idle and busy CPUs.

    `levels` is the table of calibration.levels_table; the level is that of the special kinds, else the first one.
    """
    figure, panels = new_figure(width=10.0, height=3.8, columns=2)
    special = levels[levels["kind"] != "plain"]
    level = (special if len(special) else levels).iloc[0]
    rows = levels[(levels["client"] == level["client"]) & (levels["offered_events_s"] == level["offered_events_s"])]
    kinds = list(dict.fromkeys(["plain", *rows["kind"]]))
    for axes, (name, title) in zip(panels, _ERRORS, strict=True):
        for colour, mark, (condition, rows_of) in zip(
            sns.color_palette(), SERIES_MARKS, rows.groupby("condition"), strict=False
        ):
            for percentile in PERCENTILE_LINES:
                some = rows_of[rows_of[f"{name}_error_{percentile}_ms"].notna()]
                errors_ms = some[f"{name}_error_{percentile}_ms"].astype("float64").clip(lower=LEAST_MS)
                if len(some):
                    axes.scatter(
                    errors_ms, some["kind"].map(kinds.index), marker=mark, edgecolors=[colour],
                    facecolors="none" if percentile == "p50" else [colour], label=f"{condition}, {percentile}",
                )  # fmt: skip
        axes.set(title=title, xlabel="milliseconds", yticks=range(len(kinds)), yticklabels=kinds)
        set_log_scale(axes, "x")
        legend_below(axes)
    return finish_figure(figure, manifest, AT_LEAST)


def cpu_by_load(levels: pd.DataFrame, manifest: Manifest) -> Figure:
    """Draw the share of a core that each client needs, by events per second with idle CPUs."""
    figure, axes = new_figure(height=3.4)
    shares = levels[(levels["kind"] == "plain") & (levels["condition"] == "idle")]
    shares = shares.assign(percent=shares["cpu_share"] * 100)
    look = {"x": "offered_events_s", "y": "percent", "hue": "client", "style": "client"}
    sns.lineplot(shares, **look, markers=True, ax=axes, linewidth=2)
    axes.axhline(CLIENT_BOUND_CPU_SHARE * 100, color=GUIDE, linestyle=":")
    axes.set(title="CPU cost of the measurement", xlabel="events per second, as offered", ylabel="% of one core")
    set_log_scale(axes, "x")
    axes.set_ylim(bottom=0)
    legend_below(axes)
    return finish_figure(figure, manifest)
