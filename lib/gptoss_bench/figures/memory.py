"""Draw the parts of a model's weights, and where an attempt to load them ended."""

from collections.abc import Sequence

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from gptoss_bench.figures.style import (
    BAND,
    PALETTE,
    draw_guide,
    draw_stacked_bars,
    finish_figure,
    legend_below,
    new_figure,
)
from gptoss_bench.memory import (
    GIB,
    LIMIT_BY_DEVICE,
    LOADER_LIMIT_BY_DEVICE,
    Allocation,
    Architecture,
    Attempt,
    Budget,
    bytes_by_module,
    running_totals,
)
from gptoss_bench.runs import Manifest

PARTS = {  # of a bar, with their modules; the last three modules are too small to be drawn alone
    "expert weights": ("expert weights",),
    "attention": ("attention",),
    "embedding": ("embedding",),
    "head": ("head",),
    "router, expert biases, norms": ("router", "expert biases", "norms"),
}
ARITHMETIC = "arithmetic from config.json, nothing was measured"
SETTINGS = {  # by Attempt.how: what the figure states about the attempt
    LIMIT_BY_DEVICE["cpu"]: "simulated budget: CPU address-space limit, true shapes, no GPU",
    LIMIT_BY_DEVICE["cuda"]: "budget: memory fraction of the first CUDA GPU, true shapes",
    LOADER_LIMIT_BY_DEVICE["cpu"]: "transformers' loader under a CPU address-space limit, no GPU",
    LOADER_LIMIT_BY_DEVICE["cuda"]: "transformers' loader, memory fraction of the first CUDA GPU",
}


def weights_by_module(architectures: Sequence[Architecture], budgets: Sequence[Budget], manifest: Manifest) -> Figure:
    """Draw the weights of each model and data type (GiB), divided into parts, with each GPU or budget as a line."""
    sizes = {
        f"{model.name}  {dtype.upper()}": bytes_by_module(model, dtype)
        for model in architectures
        for dtype in ("mxfp4", "bf16")
    }
    parts = pd.DataFrame(
        {
            part: {bar: sum(by_module.get(name, 0) for name in modules) / GIB for bar, by_module in sizes.items()}
            for part, modules in PARTS.items()
        }
    )
    totals = parts.sum(axis=1)
    figure, axes = new_figure(height=3.8)
    draw_stacked_bars(axes, parts, [f"{total:.2f} GiB" for total in totals])
    for budget in budgets:
        draw_guide(axes, budget.bytes / GIB, budget.name.partition(" (")[0], vertical=True)
    axes.set(xlabel="weights, GiB", xlim=(0, 1.2 * totals.max()))
    legend_below(axes, 6)
    axes.set_title("Parts of the weights", loc="left", pad=18)
    return finish_figure(figure, manifest, ARITHMETIC)


def attempt_against_budget(attempt: Attempt, allocations: Sequence[Allocation], manifest: Manifest) -> Figure:
    """Draw the memory (GiB) after each allocation of a load, up to its end, against the budget.

    The grey line is the whole model by arithmetic.
    """
    budget_gib = attempt.budget_bytes / GIB
    totals = running_totals(allocations)
    taken = [0.0, *(total / GIB for total in totals)]
    fitted = sum(total <= attempt.allocated_bytes for total in totals)
    made = fitted if attempt.reached is None else allocations.index(attempt.reached)
    blue, orange, _, red, *_ = sns.color_palette(PALETTE)
    figure, axes = new_figure(height=4.6)
    axes.step(range(len(taken)), taken, where="post", color=BAND, linewidth=1.2, label="whole model, by arithmetic")
    axes.step(range(made + 1), taken[: made + 1], where="post", color=blue, linewidth=2.6, label="really allocated")
    draw_guide(axes, budget_gib, f"budget {budget_gib:.2f} GiB")
    if attempt.predicted is not None:
        at = allocations.index(attempt.predicted)
        axes.plot(at, taken[at], "o", ms=15, mfc="none", mec=orange, mew=2.2, label="predicted end")
    if attempt.reached is not None:
        axes.plot(made, taken[made], "X", ms=9, color=red, mew=0, label=f"real end: {attempt.outcome}")
        axes.annotate(attempt.reached.label, (made, taken[made]), (12, -16), textcoords="offset points")
    layers = [step for step in allocations if step.name.endswith("self_attn.sinks")][::2]  # the first of a layer
    axes.set_xticks([allocations.index(step) for step in layers], [str(step.stage) for step in layers])
    axes.set(xlabel="allocations in the order of loading, by layer", ylabel="GiB")
    axes.set_ylim(0, 1.12 * max(taken[-1], budget_gib))
    setting = SETTINGS[attempt.how]
    axes.text(0.985, 0.04, setting, transform=axes.transAxes, ha="right", fontsize=9, style="italic", color=red)
    axes.legend(loc="upper left", fontsize=9)
    title = f"{attempt.architecture} in {attempt.dtype.upper()} against {budget_gib:.2f} GiB: {attempt.outcome}"
    axes.set_title(title, loc="left")
    return finish_figure(figure, manifest, setting)
