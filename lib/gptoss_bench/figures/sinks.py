"""Show the attention that goes to the sinks of the tiny model, and which backends support sinks on which GPU."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from gptoss_bench.figures.heat_table import HeatCell, HeatTable
from gptoss_bench.figures.style import GUIDE, LINES, PALETTE, SEQUENTIAL, finish_figure, legend_below, new_figure
from gptoss_bench.memory import SinkBackend, parse_compute_capability
from gptoss_bench.runs import TINY_LABEL, Manifest, SinkEffectRecord, run_caption

COMPUTED = f"a real computation of the {TINY_LABEL} in FP32 on the CPU"
ABSENT = "–"
SUPPORT_SHADES = {"yes": 1.0, "with TRTLLM": 0.5, "on request": 0.5, "dropped": -1.0, "no": -0.5, ABSENT: 0.0}


def sink_shares(effect: SinkEffectRecord, manifest: Manifest) -> Figure:
    """Draw the share of attention that each head gives to its sink, and what is left for the tokens."""
    figure, (heads, rows) = new_figure(height=3.9, columns=2)
    share, left = np.array(effect.share), 1 - np.array(effect.share_by_token)
    table = pd.DataFrame(
        share,
        index=[f"layer {layer + 1}" for layer in range(share.shape[0])],
        columns=[f"head {head + 1}" for head in range(share.shape[1])],
    )
    sns.heatmap(table, annot=True, fmt=".1%", cmap=SEQUENTIAL, vmin=0, cbar=False, linewidths=1.5, ax=heads)
    heads.set(title="Share of attention that goes to the sink")
    heads.tick_params(length=0, rotation=0)
    tokens = left.shape[1]
    for layer, (colour, style) in enumerate(zip(sns.color_palette(PALETTE), LINES, strict=False)):
        rows.plot(np.arange(tokens), left[layer], color=colour, linestyle=style, label=f"layer {layer + 1}")
    rows.axhline(1, color=GUIDE, linewidth=1)
    rows.annotate(
        "without sinks: always 1", (tokens - 1, 1), (0, 4), textcoords="offset points", ha="right", fontsize=8.5
    )
    rows.set(title="Sum of a row of attention weights", xlabel="query token", ylabel="sum, mean of the heads")
    rows.set_ylim(0, 1.12)
    legend_below(rows)
    losses = f"loss of the reply {effect.loss:.3f} nats a token, {effect.loss_without:.3f} without sinks"
    return finish_figure(figure, manifest.model_copy(update={"labels": [TINY_LABEL]}), f"{COMPUTED}; {losses}")


def sink_support_map(backends: Sequence[SinkBackend], capabilities: Mapping[str, str], manifest: Manifest) -> HeatTable:
    """Return a table of which backend supports attention sinks on which GPU.

    `capabilities` has the compute capability of each GPU name, such as "8.6".
    """
    rows: dict[str, dict[str, str]] = {}
    for each in backends:
        row = rows.setdefault(f"{each.stack} {each.version}, {each.backend}", {})
        row |= {name: each.sinks for name, text in capabilities.items() if each.runs_on(parse_compute_capability(text))}
    cells = {answer: HeatCell(answer, shade=shade) for answer, shade in SUPPORT_SHADES.items()}
    return HeatTable(
        "Which backend supports attention sinks on which GPU",
        f"GPUs with their compute capability. {ABSENT}: the backend is not for that GPU; dropped: it runs without the "
        f"sinks and does not say so. Read in the sources named in attention_sinks.csv. {run_caption(manifest)}.",
        "backend",
        {"": [f"{name} ({text})" for name, text in capabilities.items()]},
        {row: [cells[answers.get(name, ABSENT)] for name in capabilities] for row, answers in rows.items()},
    )
