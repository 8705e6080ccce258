"""Define the look of every figure: colours, marks, hatches, axes, and the footer that names the run."""

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from matplotlib.transforms import ScaledTranslation

from gptoss_bench.claims import BASES
from gptoss_bench.runs import (
    PHASE_AFTER,
    PHASE_BEFORE,
    PHASE_INFERENCE,
    ClientLimits,
    Manifest,
    PlannedLoad,
    run_caption,
)

PALETTE = "colorblind"
SEQUENTIAL = "Blues"  # colour map
RED = "#b00020"
EDGE = "0.2"  # outlines and separators; greys are strings from 0 (black) to 1 (white), as matplotlib takes them
GUIDE = "0.3"  # limits and reference lines
NOTE = "0.35"  # text of lesser weight
CONNECTOR = "0.7"  # what joins the marks of one result
BAND = "0.6"  # shaded ranges
RANGE_BAR = "0.75"

# Figures stay readable in print without colour: each series has a line, mark or hatch of its own.
LINES = ("-", "--", "-.", ":")
DASHED = (0, (4, 3))
SERIES_MARKS = ("o", "s", "^", "D")
# Lines only: in an SVG, each dot of a hatch is a path of its own.
HATCHES = ("", "///", "\\\\\\", "xxx", "---", "|||")
DURATION_HATCHES = ("//", "\\\\", "", "xx")
PERCENTILE_MARKS = {"p50": "o", "p90": "s", "p99": "^"}
PERCENTILE_LINES = {"p50": "-", "p99": "--"}
PHASE_SHADES = ("#d9d9d9", "#dbe9f6", "#e3f2dc")  # of a request: wait, reasoning, answer
EVENT_MARKS = {"output": "o", "role": "|", "finish": "x", "usage": "+", "done": "d", "error": "X", "other": "."}
STALL_COLOUR = "0.88"
AGREEMENT_MARKS = {True: ("o", "tab:green"), False: ("X", "tab:red"), None: ("D", "tab:gray")}
PHASE_COLOURS = {PHASE_BEFORE: "0.55", PHASE_AFTER: "tab:blue", PHASE_INFERENCE: "tab:orange"}
BASIS_LOOKS = {  # index in the palette, hatch
    basis: look
    for basis, look in zip(
        BASES,
        ((2, ""), (0, "++"), (8, "||"), (1, "//"), (9, "\\\\"), (4, "--"), (0, "/|"), (3, "xx"), (7, "")),
        strict=True,
    )
}
ON_WHITE = {"facecolor": "white", "edgecolor": "none", "pad": 1}  # the box behind a text that crosses lines
VISIBLE_SHARE = 0.01  # of a value: a smaller uncertainty of the client is not drawn
LABEL_POINTS = 12  # between the middles of texts at the ends of lines
FOOTER_WIDTH = 150  # characters, of a figure 9 inches wide


def new_figure(width: float = 9.0, height: float = 4.0, columns: int = 1, rows: int = 1) -> tuple[Figure, Any]:
    """Create a figure; return it and its axes, an array if there are several. Rows share their x axis.

    `width` and `height` are in inches.
    """
    sns.set_theme(style="whitegrid", palette=PALETTE, context="notebook", rc={"figure.dpi": 110})
    return plt.subplots(rows, columns, figsize=(width, height), layout="constrained", sharex=rows > 1)


def finish_figure(figure: Figure, manifest: Manifest, note: str = "") -> Figure:
    """Add the caption of the run below, its CLIENT-BOUND warning above and its labels across; return the figure closed.

    A closed figure is shown once, as the value of its cell.
    """
    client = manifest.client or ClientLimits()
    width = round(FOOTER_WIDTH * figure.get_figwidth() / 9.0)
    footer = [textwrap.fill(" · ".join(filter(None, (run_caption(manifest), note))), width)]
    footer += [textwrap.fill(client.error_bar, width)] if client.error_bar else []
    footer_lines = "\n".join(footer).count("\n") + 1
    warning = textwrap.fill(f"CLIENT-BOUND: {'; '.join(client.bound)}", round(0.75 * width)) if client.bound else ""
    # Long notes make the figure higher, not its axes lower.
    more_inches = 0.13 * max(footer_lines - 2, 0) + (0.17 * (warning.count("\n") + 1) if warning else 0.0)
    figure.set_figheight(figure.get_figheight() + more_inches)
    figure.supxlabel("\n".join(footer), fontsize=7.5, color=NOTE, x=0.01, ha="left")
    if warning:
        figure.suptitle(warning, fontsize=9, color=RED, weight="bold", x=0.01, ha="left")
    if label := ", ".join(manifest.labels):
        look: dict[str, Any] = {"color": "0.5", "alpha": 0.16, "weight": "bold", "rotation": 18}
        look["fontsize"] = _label_size(len(label), *(72 * inches for inches in figure.get_size_inches()))
        figure.text(0.5, 0.5, label, ha="center", va="center", **look)
    plt.close(figure)
    return figure


def _label_size(characters: int, width: float, height: float) -> float:
    """Return the font size (points) of a bold label, turned by 18 degrees, that stays inside a figure (points)."""
    length = 0.7 * characters  # in its own size
    return min(44.0, 0.95 * width / (0.95 * length + 0.4), 0.95 * height / (0.31 * length + 1.15))


def labels_and_limits(manifests: Iterable[Manifest]) -> Manifest:
    """Return what a figure of several runs must show: each label once, and why which run was client-bound."""
    manifests = list(manifests)
    reasons = [
        f"{manifest.run_id}: {reason}"
        for manifest in manifests
        for reason in (manifest.client.bound if manifest.client else [])
    ]
    labels = dict.fromkeys(label for manifest in manifests for label in manifest.labels)
    return Manifest(labels=list(labels), client=ClientLimits(bound=reasons))


def set_log_scale(axes: Axes, name: str, limits: tuple[float, float] | None = None) -> None:
    """Make the "x" or "y" axis logarithmic with ticks in plain numbers: 1, 2 and 5 of each decade where they fit.

    Call it after all data are drawn. Without `limits` the axis keeps its own.
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


def draw_stacked_bars(axes: Axes, parts: pd.DataFrame, texts: Sequence[str]) -> None:
    """Draw one horizontal bar per row of `parts`, one piece per column, with its text at its end."""
    ends = pd.Series(0.0, index=parts.index)
    for (part, widths), colour, hatch in zip(parts.items(), sns.color_palette(PALETTE), HATCHES, strict=False):
        look: dict[str, Any] = {"color": colour, "hatch": hatch, "edgecolor": "white", "linewidth": 0, "height": 0.6}
        axes.barh(parts.index, widths, left=ends, label=str(part), **look)
        ends = ends + widths
    for row, (end, text) in enumerate(zip(ends, texts, strict=True)):
        axes.annotate(text, (end, row), (5, 0), textcoords="offset points", va="center", bbox=ON_WHITE)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")


def legend_below(axes: Axes, columns: int = 4) -> None:
    """Write the legend below the axes, off the data; none if nothing has a label."""
    handles, names = axes.get_legend_handles_labels()
    if handles:
        points = 40 if axes.get_xlabel() else 22  # the height of the numbers and of the label of the x axis
        place = axes.transAxes + ScaledTranslation(0, -points / 72, _figure_of(axes).dpi_scale_trans)
        look: dict[str, Any] = {"fontsize": 8, "ncols": columns, "frameon": False, "bbox_transform": place}
        axes.legend(handles, names, loc="upper center", bbox_to_anchor=(0.5, 0), **look)


def _figure_of(axes: Axes) -> Figure:
    figure = axes.get_figure(root=True)
    assert figure is not None
    return figure


def is_visible(pair: tuple[float, float] | None) -> bool:
    """Return whether the lowest and the highest value that the client's timestamps allow differ by more than 1 %."""
    return pair is not None and pair[1] - pair[0] > VISIBLE_SHARE * pair[1]


def draw_client_pair(axes: Axes, x: float, pair: tuple[float, float] | None, colour: Any) -> None:
    """Draw a wide pale bar from the lowest to the highest value that the client's timestamps allow.

    A pair that differs by at most 1 % is not drawn: it would lie within the mark of its value.
    """
    if pair is not None and is_visible(pair):
        axes.vlines(x, max(pair[0], pair[1] / 1e3), pair[1], color=colour, linewidth=7, alpha=0.3)


def draw_guide(axes: Axes, value: float, text: str, *, vertical: bool = False, at_begin: bool = False) -> None:
    """Draw a dashed line across the axes at `value`, with a text at its end or at its begin."""
    end = 0 if at_begin else 1
    draw, place, coords, offset, side = (
        (axes.axvline, (value, end), ("data", "axes fraction"), (3, 3), "left")
        if vertical
        else (axes.axhline, (end, value), ("axes fraction", "data"), (4 if at_begin else -4, 4), "right")
    )
    side = "left" if at_begin else side
    draw(value, color=GUIDE, linewidth=1, linestyle=DASHED)
    axes.annotate(text, place, offset, xycoords=coords, textcoords="offset points", fontsize=8.5, ha=side)


def draw_slo(axes: Axes, manifest: Manifest, name: str, *, vertical: bool = False, scale: float = 1.0) -> None:
    """Draw the limit that the run has for a time, such as "ttft_s", as a line across; nothing where it has none.

    `scale` is the number of the axis' units in a second.
    """
    load = PlannedLoad.of(manifest.parameters)
    limit_s = getattr(load.slo, name, None) if load is not None and load.slo is not None else None
    if limit_s is not None:
        draw_guide(
            axes,
            limit_s * scale,
            f"SLO {name.removesuffix('_s').upper()} {limit_s:g} s",
            vertical=vertical,
            at_begin=True,
        )


def label_line_ends(axes: Axes, ends: Sequence[tuple[float, str, Any]]) -> None:
    """Write a text right of the axes for each (y, text, colour), one below the other where they would overlap.

    Call it after the limits of the axes are set.
    """
    step = LABEL_POINTS / (
        72 * _figure_of(axes).get_figheight() * axes.get_position().height
    )  # share of the height of the axes
    place = axes.transData + axes.transAxes.inverted()
    wanted = sorted((float(place.transform((axes.get_xlim()[1], y))[1]), text, colour) for y, text, colour in ends)
    lowest, room = -np.inf, step * len(wanted)  # the highest is at the top of the axes at most
    for at, text, colour in wanted:
        room -= step
        lowest = max(min(at, 1 - room), lowest + step)
        look = {"color": colour, "fontsize": 8.5, "va": "center", "weight": "bold"}
        axes.annotate(text, (1, lowest), (4, 0), xycoords="axes fraction", textcoords="offset points", **look)
