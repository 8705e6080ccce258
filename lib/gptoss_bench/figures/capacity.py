"""What fits where under which load: a map of headroom over all cards, and the parts of one need against one budget."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from gptoss_bench.figures.style import HATCHES, PALETTE, finished, new_figure
from gptoss_bench.memory import GIB, Fit, FitResult

ARITHMETIC = "arithmetic from config.json and stated assumptions, nothing was measured"
PARTS = ("weights", "kv_cache", "activations", "workspace", "cuda_context", "dequantisation")
FULL_GIB = 20.0  # headroom at which the colour of the map is at its end


def headroom_map(fits: Sequence[FitResult], manifest: Mapping[str, Any]) -> Figure:
    """What fits where? Rows are cards, columns models with dtype and load: GiB left, and the most sequences."""
    cells = pd.DataFrame(
        {
            "card": f"{space.fit.device.removeprefix('NVIDIA ').partition(' (')[0]}  {space.fit.have_bytes / GIB:.1f}",
            "model": f"{space.fit.model.removeprefix('gpt-oss-')} {space.fit.dtype.upper()}",
            "load": f"{space.fit.sequences} × {_thousands(space.fit.context)}",
            "gib": space.fit.headroom_bytes / GIB,
            "most": space.largest_sequences,
            "have": space.fit.have_bytes,
        }
        for space in fits
    )
    models = list(dict.fromkeys(cells.model))
    cells["column"] = cells.model + "\n" + cells.load
    columns = sorted(dict.fromkeys(cells.column), key=lambda each: models.index(each.partition("\n")[0]))
    cards = list(dict.fromkeys(cells.sort_values("have", kind="stable").card))
    left, most = (
        cells.pivot(index="card", columns="column", values=name).reindex(index=cards, columns=columns)
        for name in ("gib", "most")
    )
    words = left.map(lambda gib: f"{gib:+.0f}") + most.map(lambda n: f"\n≤ {n:,.0f}" if n else "")
    figure, axes = new_figure(width=0.62 * len(columns) + 2.2, height=0.42 * len(left) + 1.7)
    shades = np.sign(left) * np.minimum(left.abs() / FULL_GIB, 1) ** 0.5
    sns.heatmap(
        shades,
        annot=words,
        fmt="",
        cmap=sns.color_palette("PuOr_r", as_cmap=True),
        vmin=-2,
        vmax=2,
        cbar=False,
        linewidths=1,
        annot_kws={"fontsize": 8, "color": "black", "linespacing": 0.95},
        ax=axes,
    )
    shown = set[str]()
    for at, column in enumerate(columns):
        model, _, load = column.partition("\n")
        if at and model not in shown:
            axes.axvline(at, color="0.2", linewidth=1.5)
        columns[at] = f"\n{load}" if model in shown else column
        shown.add(model)
    axes.set_xticks(np.arange(len(columns)) + 0.5, columns)
    axes.set(xlabel="", ylabel="")
    axes.tick_params(length=0, labelsize=8.5, rotation=0)
    axes.xaxis.tick_top()
    axes.set_title("GiB left (below zero: missing), and the sequences that fit at most", loc="left", pad=10)
    return finished(figure, manifest, f"columns: sequences × tokens of each; cards with their GiB; {ARITHMETIC}")


def need_against_budget(fits: Sequence[Fit], manifest: Mapping[str, Any]) -> Figure:
    """What takes the room on this card? One bar a dtype, cut by part; `fits` are of one model, load and card."""
    first = fits[0]
    figure, axes = new_figure(height=0.75 * len(fits) + 1.7)
    parts = pd.DataFrame([[getattr(fit.parts, part) / GIB for part in PARTS] for fit in fits], columns=list(PARTS))
    names = [fit.dtype.upper() for fit in fits]
    ends = np.zeros(len(fits))
    for part, colour, hatch in zip(PARTS, sns.color_palette(PALETTE), HATCHES, strict=False):
        words = part.replace("_", " ").replace("dequantisation", "dequantisation, while loading")
        axes.barh(
            names,
            parts[part],
            left=ends,
            color=colour,
            hatch=hatch,
            edgecolor="white",
            label=words,
            height=0.6,
            linewidth=0,
        )
        ends += parts[part].to_numpy()
    axes.axvline(first.have_bytes / GIB, color="0.2", linestyle=(0, (4, 3)))
    above: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "fontsize": 9}
    axes.annotate(f"has {first.have_bytes / GIB:.2f} GiB", (first.have_bytes / GIB, 1), (2, 3), **above)
    behind = {"facecolor": "white", "edgecolor": "none", "pad": 1}
    for row, (fit, end) in enumerate(zip(fits, ends, strict=True)):
        words = f"{'fits' if fit.fits else 'does not fit'}, {fit.headroom_bytes / GIB:+.1f} GiB"
        axes.annotate(words, (end, row), (5, 0), textcoords="offset points", va="center", bbox=behind)
    axes.set(xlabel="GiB", xlim=(0, 1.4 * max(ends.max(), first.have_bytes / GIB)))
    axes.invert_yaxis()
    axes.legend(fontsize=8, loc="upper right")
    axes.grid(visible=False, axis="y")
    device = first.device.partition(" (")[0]
    axes.set_title(f"{first.model} on {device}: {first.sequences} × {first.context:,} tokens", loc="left", pad=16)
    return finished(figure, manifest, ARITHMETIC)


def _thousands(tokens: int) -> str:
    return f"{tokens // 1024}k" if tokens >= 1024 else str(tokens)
