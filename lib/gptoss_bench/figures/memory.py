"""The memory scenario in two pictures: what the weights are made of, and where loading them ended.

Each function takes what memory.py and attempt.py return, and the run's manifest for the footer.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gptoss_bench.figures.style import HATCHES, PALETTE, finished, new_figure
from gptoss_bench.memory import (
    GIB,
    HOW,
    LOADER_HOW,
    Allocation,
    Architecture,
    Attempt,
    Gpu,
    bytes_by_module,
    running_totals,
)

PARTS = {  # a bar's pieces in order; the last three modules are too small to be seen alone
    "expert weights": ("expert weights",),
    "attention": ("attention",),
    "embedding": ("embedding",),
    "head": ("head",),
    "router, expert biases, norms": ("router", "expert biases", "norms"),
}
ARITHMETIC = "arithmetic from config.json, nothing was measured"
# What the picture of an attempt has to say of itself.
SETTING = {
    HOW["cpu"]: "simulated budget: CPU address-space limit, true shapes, no GPU",
    HOW["cuda"]: "budget: memory fraction of the first CUDA GPU, true shapes",
    LOADER_HOW["cpu"]: "transformers' loader under a CPU address-space limit, no GPU",
    LOADER_HOW["cuda"]: "transformers' loader, memory fraction of the first CUDA GPU",
}


def weights_by_module(
    architectures: Sequence[Architecture], gpus: Sequence[Gpu], manifest: Mapping[str, Any]
) -> Figure:
    """What are the weights made of? One bar a model and dtype, in GiB, and a line for the memory of each of `gpus`."""
    figure, axes = new_figure(height=3.8)
    bars = {
        f"{model.name}  {dtype.upper()}": bytes_by_module(model, dtype)
        for model in architectures
        for dtype in ("mxfp4", "bf16")
    }
    ends = pd.Series(0.0, index=list(bars))
    for (part, modules), colour, hatch in zip(PARTS.items(), sns.color_palette(PALETTE), HATCHES, strict=False):
        widths = pd.Series({bar: sum(sizes.get(name, 0) for name in modules) for bar, sizes in bars.items()}) / GIB
        axes.barh(
            widths.index,
            widths,
            left=ends,
            color=colour,
            hatch=hatch,
            edgecolor="white",
            label=part,
            height=0.62,
            linewidth=0,
        )
        ends = ends + widths
    for gpu in gpus:
        _guide(axes, gpu.memory_bytes / GIB, gpu.name.partition(" (")[0], upright=True)
    behind = {"facecolor": "white", "edgecolor": "none", "pad": 1}
    for row, end in enumerate(ends):
        axes.annotate(f"{end:.2f} GiB", (end, row), (5, 0), textcoords="offset points", va="center", bbox=behind)
    axes.set(xlabel="weights, GiB", xlim=(0, 1.2 * ends.max()))
    axes.invert_yaxis()
    axes.legend(loc="upper right", fontsize=8)
    axes.grid(visible=False, axis="y")
    axes.set_title("What the weights are made of", loc="left", pad=18)
    return finished(figure, manifest, ARITHMETIC)


def attempt_against_budget(attempt: Attempt, allocations: Sequence[Allocation], manifest: Mapping[str, Any]) -> Figure:
    """Where does loading end? GiB after each allocation in order: what was made, and what would have followed."""
    figure, axes = new_figure(height=4.6)
    totals = running_totals(allocations)
    taken = [0.0, *(total / GIB for total in totals)]
    fitted = sum(total <= attempt.allocated_bytes for total in totals)
    made = fitted if attempt.reached is None else allocations.index(attempt.reached)
    blue, orange, _, red, *_ = sns.color_palette(PALETTE)
    axes.step(range(len(taken)), taken, where="post", color="0.6", linewidth=1.2, label="whole model, by arithmetic")
    axes.step(range(made + 1), taken[: made + 1], where="post", color=blue, linewidth=2.6, label="really allocated")
    _guide(axes, attempt.budget_bytes / GIB, f"budget {attempt.budget_bytes / GIB:.2f} GiB")
    if attempt.predicted is not None:
        at = allocations.index(attempt.predicted)
        axes.plot(at, taken[at], "o", ms=15, mfc="none", mec=orange, mew=2.2, label="predicted end")
    if attempt.reached is not None:
        axes.plot(made, taken[made], "X", ms=9, color=red, mew=0, label=f"real end: {attempt.outcome}")
        axes.annotate(attempt.reached.words, (made, taken[made]), (12, -16), textcoords="offset points")
    layers = [step for step in allocations if step.name.endswith("self_attn.sinks")][::2]  # the first of a layer
    axes.set_xticks([allocations.index(step) for step in layers], [str(step.stage) for step in layers])
    axes.set(xlabel="allocations in the order of loading, by layer", ylabel="GiB")
    axes.set_ylim(0, 1.12 * max(taken[-1], attempt.budget_bytes / GIB))
    setting = SETTING[attempt.how]
    axes.text(0.985, 0.04, setting, transform=axes.transAxes, ha="right", fontsize=9, style="italic", color=red)
    axes.legend(loc="upper left", fontsize=9)
    title = f"{attempt.architecture} in {attempt.dtype.upper()} against {attempt.budget_bytes / GIB:.2f} GiB"
    axes.set_title(f"{title}: {attempt.outcome}", loc="left")
    return finished(figure, manifest, setting)


def _guide(axes: Axes, value: float, words: str, *, upright: bool = False) -> None:
    """A dashed line at a value, named at its far end."""
    draw, place, coords, offset = (
        (axes.axvline, (value, 1), ("data", "axes fraction"), (2, 3))
        if upright
        else (axes.axhline, (1, value), ("axes fraction", "data"), (-4, 4))
    )
    draw(value, color="0.25", linewidth=1, linestyle=(0, (4, 3)))
    side = "left" if upright else "right"
    axes.annotate(words, place, offset, xycoords=coords, textcoords="offset points", fontsize=8.5, ha=side)
