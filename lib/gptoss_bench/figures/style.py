"""The look of figures and tables: where the numbers come from, and a word across what is no measurement."""

import textwrap
from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.figure import Figure

from gptoss_bench.runs import caption

PALETTE = "colorblind"
HATCHES = ("", "///", "...", "xxx", "---", "|||")  # of parts side by side, for print without colour
RED = "#b00020"
FOOTER_WIDTH = 150  # characters, of a figure 9 inches wide


def new_figure(width: float = 9.0, height: float = 4.0, columns: int = 1, rows: int = 1) -> tuple[Figure, Any]:
    """A figure and its axes (an array where there are several) in the kit's look: legible in print and in grey.

    Rows share their x axis.
    """
    sns.set_theme(style="whitegrid", palette=PALETTE, context="notebook", rc={"figure.dpi": 110})
    return plt.subplots(rows, columns, figsize=(width, height), layout="constrained", sharex=rows > 1)


def finished(figure: Figure, manifest: Mapping[str, Any], note: str = "") -> Figure:
    """Add the footer, in red whether the client was the limit, and the run's label across the figure; shown once."""
    client = manifest.get("client") or {"error_bar": "", "bound": []}
    wide = round(FOOTER_WIDTH * figure.get_figwidth() / 9.0)
    footer = [textwrap.fill(" · ".join(filter(None, (caption(manifest), note))), wide)]
    footer += [textwrap.fill(client["error_bar"], wide)] if client["error_bar"] else []
    figure.supxlabel("\n".join(footer), fontsize=7.5, color="0.35", x=0.01, ha="left")
    if client["bound"]:
        words = textwrap.fill(f"CLIENT-BOUND: {'; '.join(client['bound'])}", round(0.75 * wide))
        figure.suptitle(words, fontsize=9, color=RED, weight="bold", x=0.01, ha="left")
    if label := manifest.get("label"):
        look: dict[str, Any] = {"color": "0.5", "alpha": 0.16, "weight": "bold", "rotation": 18}
        look["fontsize"] = _label_size(len(label), *(72 * inches for inches in figure.get_size_inches()))
        figure.text(0.5, 0.5, label, ha="center", va="center", **look)
    plt.close(figure)
    return figure


def _label_size(characters: int, width: float, height: float) -> float:
    """Points of a label of so many bold characters, turned by 18 degrees, that stays in a figure of these points."""
    length = 0.7 * characters  # in its own size
    return min(44.0, 0.95 * width / (0.95 * length + 0.4), 0.95 * height / (0.31 * length + 1.15))
