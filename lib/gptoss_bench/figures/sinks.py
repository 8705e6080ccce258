"""Draw the attention that goes to the sinks of the tiny model, and which backends support sinks on which GPU."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from gptoss_bench.figures.style import GUIDE, HEATMAP, LINES, PALETTE, SEQUENTIAL, finish_figure, new_figure
from gptoss_bench.memory import SinkBackend, SinkEffect, parse_compute_capability
from gptoss_bench.runs import TINY_LABEL, Manifest

COMPUTED = f"a real computation of the {TINY_LABEL} in FP32 on the CPU"
SUPPORT_SHADES = {"yes": 1.0, "with TRTLLM": 0.5, "on request": 0.5, "dropped": -1.0, "no": -0.5, "": 0.0}


def sink_shares(reading: SinkEffect, manifest: Manifest) -> Figure:
    """Draw the share of attention that each head gives to its sink, and what is left for the tokens."""
    figure, (heads, rows) = new_figure(height=3.9, columns=2)
    layers, count, tokens = reading.share.shape
    table = pd.DataFrame(
        reading.share.mean(axis=2),
        index=[f"layer {layer + 1}" for layer in range(layers)],
        columns=[f"head {head + 1}" for head in range(count)],
    )
    sns.heatmap(table, annot=True, fmt=".1%", cmap=SEQUENTIAL, vmin=0, cbar=False, linewidths=1.5, ax=heads)
    heads.set(title="Share of attention that goes to the sink")
    heads.tick_params(length=0, rotation=0)
    left = 1 - reading.share.mean(axis=1)
    for layer, (colour, style) in enumerate(zip(sns.color_palette(PALETTE), LINES, strict=False)):
        rows.plot(np.arange(tokens), left[layer], color=colour, linestyle=style, label=f"layer {layer + 1}")
    rows.axhline(1, color=GUIDE, linewidth=1)
    rows.annotate(
        "without sinks: always 1", (tokens - 1, 1), (0, 4), textcoords="offset points", ha="right", fontsize=8.5
    )
    rows.set(title="Sum of a row of attention weights", xlabel="query token", ylabel="sum, mean of the heads")
    rows.set_ylim(0, 1.12)
    rows.legend(fontsize=8, loc="lower right")
    losses = f"loss of the reply {reading.loss:.3f} nats a token, {reading.loss_without:.3f} without sinks"
    return finish_figure(figure, manifest.model_copy(update={"labels": [TINY_LABEL]}), f"{COMPUTED}; {losses}")


def sink_support_map(backends: Sequence[SinkBackend], capabilities: Mapping[str, str], manifest: Manifest) -> Figure:
    """Draw which backend supports attention sinks on which GPU.

    `capabilities` has the compute capability of each GPU name, such as "8.6".
    """
    answers = pd.DataFrame("", index=[], columns=[f"{name}\n{text}" for name, text in capabilities.items()])
    for each in backends:
        row = f"{each.stack} {each.version}  {each.backend}"
        if row not in answers.index:
            answers.loc[row] = ""
        for column, text in zip(answers.columns, capabilities.values(), strict=True):
            if each.runs_on(parse_compute_capability(text)):
                answers.loc[row, column] = each.sinks
    figure, axes = new_figure(width=10.0, height=0.3 * len(answers) + 1.2)
    shades = answers.map(SUPPORT_SHADES.__getitem__)
    sns.heatmap(shades, annot=answers, annot_kws={"color": "black", "fontsize": 9}, linewidths=1.5, ax=axes, **HEATMAP)
    axes.set(xlabel="", ylabel="")
    axes.tick_params(length=0, labelsize=8.5)
    axes.xaxis.tick_top()
    axes.set_title("Support of attention sinks, by compute capability", loc="left", pad=12)
    return finish_figure(figure, manifest, "empty: not for that GPU; read in the sources named in attention_sinks.csv")
