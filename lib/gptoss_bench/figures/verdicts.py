"""The verdicts in two pictures: how many claims got which, and what the published TTFT is made of.

A verdict is told by word and hatch as well as by colour. No number is computed here.
"""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import seaborn as sns
from matplotlib.figure import Figure

from gptoss_bench.claims import (
    FASTER,
    NOT_COMPARABLE,
    NOT_TESTABLE,
    OPINION,
    OUTDATED,
    REFUTED,
    REPRODUCED,
    SLOWER,
    Verdict,
    verdict_counts,
)
from gptoss_bench.figures.style import PALETTE, finished, new_figure

# Verdict: place in the colour-blind palette, hatch.
LOOKS = {
    REPRODUCED: (2, ""),
    REFUTED: (3, "xx"),
    FASTER: (0, "++"),
    SLOWER: (4, "--"),
    OUTDATED: (1, "//"),
    NOT_COMPARABLE: (8, "oo"),
    NOT_TESTABLE: (7, ".."),
    OPINION: (9, "\\\\"),
}


def verdict_overview(verdicts: Sequence[Verdict], manifest: Mapping[str, Any]) -> Figure:
    """What became of the claims? One bar a verdict, and the numbers of its claims; + is evidence of a labelled run."""
    figure, axes = new_figure(height=4.6)
    colours = sns.color_palette(PALETTE)
    counts = verdict_counts(verdicts)
    longest = max(counts.values())
    for row, (word, count) in enumerate(counts.items()):
        place, hatch = LOOKS[word]
        axes.barh(row, count, color=colours[place], hatch=hatch, edgecolor="0.2", height=0.66)
        ids = [v.claim_id.partition("-")[0] + ("+" if v.label else "") for v in verdicts if v.verdict == word]
        text = f"{count}   " + " ".join(ids)
        axes.text(count + longest * 0.02, row, textwrap.fill(text, 52), fontsize=9, va="center")
    axes.set(title="What became of the published claims", xlabel="claims", ylabel="", xlim=(0, longest * 2.6))
    axes.set_yticks(range(len(counts)), list(counts))
    axes.set_xticks(range(0, longest + 1, 5))
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    labels = sorted({verdict.label for verdict in verdicts if verdict.label})
    return finished(figure, manifest, f"+ evidence from a run labelled {', '.join(labels)}" if labels else "")


def ttft_over_latency(
    published: Mapping[str, tuple[float, float]], share: float, formula: str, manifest: Mapping[str, Any]
) -> Figure:
    """Is the published TTFT a share of the latency? (latency, TTFT) in s by percentile, and the line of that share."""
    figure, axes = new_figure(width=6.5, height=3.8)
    end = 1.15 * max(latency for latency, _ in published.values())
    axes.plot([0, end], [0, share * end], color="0.3", linestyle="--", label=formula)
    for name, (latency, ttft) in published.items():
        axes.plot(latency, ttft, "o", color=sns.color_palette(PALETTE)[0], markersize=9, markeredgecolor="0.2")
        axes.annotate(name, (latency, ttft), (-8, 8), textcoords="offset points", ha="right")
    axes.set(title="The published TTFT is a share of the latency", xlabel="latency, s", ylabel="TTFT, s")
    axes.set(xlim=(0, end), ylim=(0, None))
    axes.legend(loc="upper left", fontsize=9)
    return finished(figure, manifest, "published figures, nothing measured here")
