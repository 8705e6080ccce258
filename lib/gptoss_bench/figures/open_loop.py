"""Draw how long users of an open loop waited, and how much of it a closed loop hides."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from gptoss_bench.figures.style import (
    BAND,
    PALETTE,
    draw_slo,
    finish_figure,
    label_line_ends,
    new_figure,
    set_log_scale,
)
from gptoss_bench.runs import Manifest
from gptoss_bench.stats import MIN_SAMPLES_BEYOND, OpenLoopTimes, open_loop_text, open_loop_times

PANELS = {"ttft_s": "TTFT", "e2e_s": "Whole request"}
TAILS = (50, 10, 1, 0.1, 0.01, 0.001)  # per cent of the requests that took longer
POINTS = 200  # of a curve


def waiting_from_due(requests: pd.DataFrame, manifest: Manifest) -> Figure:
    """Draw what a closed loop hides: times of an open loop from when a request was due, from its sending, and closed.

    One curve each, over the completed requests. The closed loop is computed from the same latencies. A line across
    shows a limit of the run's SLO.
    """
    figure, panels = new_figure(width=9.6, height=3.9, columns=len(PANELS))
    for axes, (name, title) in zip(panels, PANELS.items(), strict=True):
        _draw_times(axes, open_loop_times(requests, name), labelled=axes is panels[-1])
        draw_slo(axes, manifest, name)
        axes.set(title=title, ylabel="seconds")
    panels[0].set_title("What a closed loop hides: TTFT")
    text = open_loop_text(requests) or "no request completed"
    return finish_figure(figure, manifest, f"{text} Grey: fewer than {MIN_SAMPLES_BEYOND} requests took longer")


def _draw_times(axes: Axes, times: OpenLoopTimes, *, labelled: bool) -> None:
    """Draw one curve per series up to the slowest request; grey is where no percentile is resolved."""
    n = len(times.due)
    axes.set(xlabel="share of requests that took longer", xscale="log")
    if not n:
        return
    series = {
        "from due": times.due,
        "from sending": times.sent,
        "in a closed loop": times.closed_loop,
    }
    tails = np.geomspace(1, 1 / n, POINTS)
    resolved = tails >= MIN_SAMPLES_BEYOND / n
    ends = []
    for (label, values), line, colour in zip(
        series.items(), ("-", "--", ":"), sns.color_palette(PALETTE), strict=False
    ):
        seconds = np.quantile(values, 1 - tails)
        axes.plot(tails, seconds, line, color=colour, linewidth=2.2)
        ends.append((float(seconds[-1]), label, colour))
    if not resolved.all():
        axes.axvspan(MIN_SAMPLES_BEYOND / n, tails[-1], color=BAND, alpha=0.25, linewidth=0)
    shown = [tail / 100 for tail in TAILS if tail / 100 >= 1 / n]
    axes.set_xticks(shown, [f"{100 * tail:g} %" for tail in shown])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(1, 1 / n)
    set_log_scale(axes, "y")
    if labelled:
        label_line_ends(axes, ends)
