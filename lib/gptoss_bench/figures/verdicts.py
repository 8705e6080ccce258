"""Draw the verdicts of all claims, and the published TTFT as a share of the published latency."""

import textwrap
from collections.abc import Mapping, Sequence

import seaborn as sns
from matplotlib.figure import Figure

from gptoss_bench.claims import Verdict, verdict_counts
from gptoss_bench.figures.style import EDGE, GUIDE, PALETTE, VERDICT_LOOKS, finish_figure, new_figure
from gptoss_bench.runs import Manifest


def verdict_overview(verdicts: Sequence[Verdict], manifest: Manifest) -> Figure:
    """Draw how many claims got each verdict, with the numbers of the claims.

    A + marks evidence from a labelled run.
    """
    figure, axes = new_figure(height=4.6)
    colours = sns.color_palette(PALETTE)
    counts = verdict_counts(verdicts)
    longest = max(counts.values())
    for row, (word, count) in enumerate(counts.items()):
        colour, hatch = VERDICT_LOOKS[word]
        axes.barh(row, count, color=colours[colour], hatch=hatch, edgecolor=EDGE, height=0.66)
        ids = [v.number + ("+" if v.label else "") for v in verdicts if v.verdict == word]
        text = f"{count}   " + " ".join(ids)
        axes.text(count + longest * 0.02, row, textwrap.fill(text, 52), fontsize=9, va="center")
    axes.set(title="Verdicts on the published claims", xlabel="claims", ylabel="", xlim=(0, longest * 2.6))
    axes.set_yticks(range(len(counts)), list(counts))
    axes.set_xticks(range(0, longest + 1, 5))
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    labels = sorted({verdict.label for verdict in verdicts if verdict.label})
    return finish_figure(figure, manifest, f"+ evidence from a run labelled {', '.join(labels)}" if labels else "")


def ttft_over_latency(
    published: Mapping[str, tuple[float, float]], share: float, formula: str, manifest: Manifest
) -> Figure:
    """Draw the published TTFT over the published latency, with the line of a constant share.

    `published` has (latency, TTFT) in seconds by percentile.
    """
    figure, axes = new_figure(width=6.5, height=3.8)
    end = 1.15 * max(latency for latency, _ in published.values())
    axes.plot([0, end], [0, share * end], color=GUIDE, linestyle="--", label=formula)
    for name, (latency, ttft) in published.items():
        axes.plot(latency, ttft, "o", color=sns.color_palette(PALETTE)[0], markersize=9, markeredgecolor=EDGE)
        axes.annotate(name, (latency, ttft), (-8, 8), textcoords="offset points", ha="right")
    axes.set(title="The published TTFT is a share of the latency", xlabel="latency, s", ylabel="TTFT, s")
    axes.set(xlim=(0, end), ylim=(0, None))
    axes.legend(loc="upper left", fontsize=9)
    return finish_figure(figure, manifest, "published figures, nothing measured here")
