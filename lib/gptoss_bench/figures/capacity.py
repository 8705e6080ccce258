"""Draw computed memory needs: the headroom of every GPU, model and load, and the parts of one need."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from gptoss_bench.figures.style import EDGE, HEATMAP, draw_guide, draw_stacked_bars, finish_figure, new_figure
from gptoss_bench.memory import GIB, Fit, FitResult
from gptoss_bench.runs import Manifest

ASSUMED = "arithmetic from config.json and stated assumptions, nothing was measured"
PARTS = {  # field of Fit.parts: name in the legend
    "weights": "weights",
    "kv_cache": "KV cache",
    "activations": "activations",
    "workspace": "workspace",
    "cuda_context": "CUDA context",
    "dequantisation": "dequantisation, while loading",
}
FULL_GIB = 20.0  # headroom at which the colour of the map is at its end


def headroom_map(fits: Sequence[FitResult], manifest: Manifest) -> Figure:
    """Draw the memory left (GiB) and the most sequences that fit, for every GPU, model, data type and load."""
    cells = pd.DataFrame(
        {
            "gpu": f"{each.fit.device.removeprefix('NVIDIA ').partition(' (')[0]}  {each.fit.have_bytes / GIB:.1f}",
            "model": f"{each.fit.model.removeprefix('gpt-oss-')} {each.fit.dtype.upper()}",
            "load": f"{each.fit.sequences} × {_thousands(each.fit.context)}",
            "left_gib": each.fit.headroom_bytes / GIB,
            "most": each.largest_sequences,
            "have_bytes": each.fit.have_bytes,
        }
        for each in fits
    )
    models = list(dict.fromkeys(cells.model))
    cells["column"] = cells.model + "\n" + cells.load
    columns = sorted(dict.fromkeys(cells.column), key=lambda each: models.index(each.partition("\n")[0]))
    gpus = list(dict.fromkeys(cells.sort_values("have_bytes", kind="stable").gpu))
    left, most = (
        cells.pivot(index="gpu", columns="column", values=name).reindex(index=gpus, columns=columns)
        for name in ("left_gib", "most")
    )
    texts = left.map(lambda gib: f"{gib:+.0f}") + most.map(lambda n: f"\n≤ {n:,.0f}" if n else "")
    shades = np.sign(left) * np.minimum(left.abs() / FULL_GIB, 1) ** 0.5
    figure, axes = new_figure(width=0.62 * len(columns) + 2.2, height=0.42 * len(left) + 1.7)
    text_look = {"fontsize": 8, "color": "black", "linespacing": 0.95}
    sns.heatmap(shades, annot=texts, annot_kws=text_look, linewidths=1, ax=axes, **HEATMAP)
    shown = set[str]()
    for at, column in enumerate(columns):
        model, _, load = column.partition("\n")
        if at and model not in shown:
            axes.axvline(at, color=EDGE, linewidth=1.5)
        columns[at] = f"\n{load}" if model in shown else column
        shown.add(model)
    axes.set_xticks(np.arange(len(columns)) + 0.5, columns)
    axes.set(xlabel="", ylabel="")
    axes.tick_params(length=0, labelsize=8.5, rotation=0)
    axes.xaxis.tick_top()
    axes.set_title("GiB left (negative: missing), and the most sequences that fit", loc="left", pad=10)
    return finish_figure(figure, manifest, f"columns: sequences × tokens of each; GPUs with their GiB; {ASSUMED}")


def need_against_budget(fits: Sequence[Fit], manifest: Manifest) -> Figure:
    """Draw the memory that each data type needs on one GPU, divided into parts.

    All `fits` are of the same model, load and GPU.
    """
    first = fits[0]
    have_gib = first.have_bytes / GIB
    parts = pd.DataFrame(
        [[getattr(fit.parts, part) / GIB for part in PARTS] for fit in fits],
        index=[fit.dtype.upper() for fit in fits],
        columns=list(PARTS.values()),
    )
    texts = [f"{'fits' if fit.fits else 'does not fit'}, {fit.headroom_bytes / GIB:+.1f} GiB" for fit in fits]
    figure, axes = new_figure(height=0.75 * len(fits) + 1.7)
    draw_stacked_bars(axes, parts, texts)
    draw_guide(axes, have_gib, f"has {have_gib:.2f} GiB", vertical=True)
    axes.set(xlabel="GiB", xlim=(0, 1.4 * max(parts.sum(axis=1).max(), have_gib)))
    device = first.device.partition(" (")[0]
    axes.set_title(f"{first.model} on {device}: {first.sequences} × {first.context:,} tokens", loc="left", pad=16)
    return finish_figure(figure, manifest, ASSUMED)


def _thousands(tokens: int) -> str:
    return f"{tokens // 1024}k" if tokens >= 1024 else str(tokens)
