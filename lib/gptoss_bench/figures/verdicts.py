"""Draw the verdicts of all claims, and the published TTFT as a share of the published latency."""

import textwrap
from collections.abc import Mapping, Sequence

import seaborn as sns
from matplotlib.figure import Figure

from gptoss_bench.claims import BASES, Verdict, headline
from gptoss_bench.figures.style import BASIS_LOOKS, EDGE, GUIDE, PALETTE, finish_figure, new_figure
from gptoss_bench.runs import Manifest


def verdict_overview(verdicts: Sequence[Verdict], manifest: Manifest) -> Figure:
    """Draw how many claims rest on each basis, with their verdicts and numbers."""
    rows = {basis: [v for v in verdicts if v.basis == basis] for basis in BASES}
    texts = {
        basis: textwrap.fill(" · ".join(f"{word}: {numbers}" for word, numbers in _by_verdict(found)), 78)
        for basis, found in rows.items()
    }
    names = {basis: textwrap.fill(basis, 30) for basis in BASES}
    heights = [1.4 + max(texts[basis].count("\n"), names[basis].count("\n")) for basis in BASES]
    figure, axes = new_figure(height=1.6 + 0.24 * sum(heights))
    colours = sns.color_palette(PALETTE)
    longest = max(len(found) for found in rows.values())
    places = [sum(heights[:row]) + heights[row] / 2 for row in range(len(BASES))]
    for place, (basis, found) in zip(places, rows.items(), strict=True):
        colour, hatch = BASIS_LOOKS[basis]
        axes.barh(place, len(found), color=colours[colour], hatch=hatch, edgecolor=EDGE, height=0.7)
        text = f"{len(found)}: {texts[basis]}" if found else "0"
        axes.text(len(found) + longest * 0.03, place, text, fontsize=8.5, va="center")
    axes.set(title=headline(verdicts), xlabel="claims", ylabel="", xlim=(0, longest * 5))
    axes.set_yticks(places, list(names.values()), fontsize=9.5)
    axes.set_xticks(range(0, longest + 1, 10))
    axes.invert_yaxis()
    axes.grid(visible=False)
    return finish_figure(figure, manifest)


def _by_verdict(verdicts: Sequence[Verdict]) -> list[tuple[str, str]]:
    words = dict.fromkeys(verdict.verdict for verdict in verdicts)
    return [(word, " ".join(v.number for v in verdicts if v.verdict == word)) for word in words]


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
