"""The sinks in two pictures: how much of a head's attention they take, and who takes them on which card."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from gptoss_bench.figures.style import PALETTE, finished, new_figure
from gptoss_bench.memory import Backend, Reading, capability
from gptoss_bench.runs import TINY_LABEL

ON_THE_CPU = f"a real computation of the {TINY_LABEL} in FP32 on the CPU"
SHADES = {"yes": 1.0, "with TRTLLM": 0.5, "dropped": -1.0, "no": -0.5, "": 0.0}


def sink_shares(reading: Reading, manifest: Mapping[str, Any]) -> Figure:
    """What does each head give to its sink, and what is left for the tokens? Row sums with sinks and without."""
    figure, (heads, rows) = new_figure(height=3.9, columns=2)
    layers, count, tokens = reading.share.shape
    table = pd.DataFrame(
        reading.share.mean(axis=2),
        index=[f"layer {layer + 1}" for layer in range(layers)],
        columns=[f"head {head + 1}" for head in range(count)],
    )
    sns.heatmap(table, annot=True, fmt=".1%", cmap="Blues", vmin=0, cbar=False, linewidths=1.5, ax=heads)
    heads.set(title="Share of attention that goes to the sink")
    heads.tick_params(length=0, rotation=0)
    left = 1 - reading.share.mean(axis=1)
    for layer, (colour, style) in enumerate(zip(sns.color_palette(PALETTE), ("-", "--", "-.", ":"), strict=False)):
        rows.plot(np.arange(tokens), left[layer], color=colour, linestyle=style, label=f"layer {layer + 1}")
    rows.axhline(1, color="0.25", linewidth=1)
    rows.annotate(
        "without sinks: always 1", (tokens - 1, 1), (0, 4), textcoords="offset points", ha="right", fontsize=8.5
    )
    rows.set(title="Sum of a row of attention weights", xlabel="token that asks", ylabel="sum, mean of the heads")
    rows.set_ylim(0, 1.12)
    rows.legend(fontsize=8, loc="lower right")
    words = f"loss of the reply {reading.loss:.3f} nats a token, {reading.loss_without:.3f} without sinks"
    return finished(figure, {**manifest, "label": TINY_LABEL}, f"{ON_THE_CPU}; {words}")


def support_map(backends: Sequence[Backend], cards: Mapping[str, str], manifest: Mapping[str, Any]) -> Figure:
    """Which backend takes sinks on which card? `cards` are names with their compute capabilities, such as "8.6"."""
    answers = pd.DataFrame("", index=[], columns=[f"{name}\n{text}" for name, text in cards.items()])
    for each in backends:
        row = f"{each.stack} {each.version}  {each.backend}"
        if row not in answers.index:
            answers.loc[row] = ""
        for column, text in zip(answers.columns, cards.values(), strict=True):
            if each.runs_on(capability(text)):
                answers.loc[row, column] = each.sinks
    figure, axes = new_figure(width=10.0, height=0.3 * len(answers) + 1.2)
    look = {
        "cmap": sns.color_palette("PuOr_r", as_cmap=True),
        "vmin": -2.0,
        "vmax": 2.0,
        "cbar": False,
        "linewidths": 1.5,
    }
    sns.heatmap(
        answers.map(SHADES.__getitem__),
        annot=answers,
        fmt="",
        ax=axes,
        annot_kws={"color": "black", "fontsize": 9},
        **look,
    )
    axes.set(xlabel="", ylabel="")
    axes.tick_params(length=0, labelsize=8.5)
    axes.xaxis.tick_top()
    axes.set_title("Who takes sinks, by compute capability", loc="left", pad=12)
    return finished(figure, manifest, "empty: not for that card; read in the sources that attention_sinks.csv names")
