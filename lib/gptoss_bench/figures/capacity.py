"""Show computed memory needs: the headroom of every GPU, model and load as a table, and the parts of one need."""

import math
from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from gptoss_bench.figures.heat_table import HeatCell, HeatTable
from gptoss_bench.figures.style import draw_guide, draw_stacked_bars, finish_figure, legend_below, new_figure
from gptoss_bench.memory import GIB, Fit, FitResult, gpu_catalogue
from gptoss_bench.runs import Manifest, run_caption

ASSUMED = "arithmetic from config.json and stated assumptions, nothing was measured"
PARTS = {  # field of Fit.parts: name in the legend
    "weights": "weights",
    "kv_cache": "KV cache",
    "activations": "activations",
    "workspace": "workspace",
    "cuda_context": "CUDA context",
    "dequantisation": "dequantisation, while loading",
}
FULL_GIB = 20.0  # headroom at which the colour of a cell is at its end


def headroom_map(fits: Sequence[FitResult], manifest: Manifest) -> HeatTable:
    """Return a table of the memory left (GiB) and the sequences that fit, for every GPU, model, data type and load."""
    loads = dict.fromkeys((each.fit.sequences, each.fit.context) for each in fits)
    columns = [f"{sequences} × {_thousands(context)}" for sequences, context in loads]
    models = dict.fromkeys(_model(each.fit) for each in fits)
    cells = {(_gpu(each.fit), _model(each.fit), each.fit.sequences, each.fit.context): _headroom(each) for each in fits}
    gpus = dict.fromkeys(_gpu(each.fit) for each in sorted(fits, key=lambda each: each.fit.have_bytes))
    return HeatTable(
        "Memory left on each GPU, and how many sequences fit",
        "First line: GiB left, negative: missing. Second line: how many sequences of that length fit at most. Columns: "
        "sequences × tokens of each. (nominal): the GB of the name as 10⁹ bytes, a little less than the GPU has. "
        f" {ASSUMED[:1].upper()}{ASSUMED[1:]}. {run_caption(manifest)}.",
        "GPU, GiB",
        {model: columns for model in models},
        {gpu: [cells[gpu, model, *load] for model in models for load in loads] for gpu in gpus},
    )


def _headroom(result: FitResult) -> HeatCell:
    left_gib, most = result.fit.headroom_bytes / GIB, result.largest_sequences
    count = f"{most:,} fit{'s' * (most == 1)}" if most else "none fits"
    only = "only " if most and not result.fit.fits else ""
    return HeatCell(f"{left_gib:+.1f}".replace("-", "\N{MINUS SIGN}"), only + count, _shade(left_gib))


def _shade(left_gib: float) -> float:
    return math.copysign(min(abs(left_gib) / FULL_GIB, 1) ** 0.5, left_gib)


def _model(fit: Fit) -> str:
    return f"{fit.model.removeprefix('gpt-oss-')} {fit.dtype.upper()}"


def _gpu(fit: Fit) -> str:
    known = gpu_catalogue().get(fit.device)
    nominal = " (nominal)" if known is not None and known.total_mib is None and known.cuda_mib is None else ""
    return f"{fit.device.removeprefix('NVIDIA ').partition(' (')[0]}, {fit.have_bytes / GIB:.1f}{nominal}"


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
    legend_below(axes, 6)
    device = first.device.partition(" (")[0]
    axes.set_title(f"{first.model} on {device}: {first.sequences} × {first.context:,} tokens", loc="left", pad=16)
    return finish_figure(figure, manifest, f"{ASSUMED}; OpenAI publishes MXFP4, the others are conversions")


def _thousands(tokens: int) -> str:
    return f"{tokens // 1024}k" if tokens >= 1024 else str(tokens)
