"""Draw what the published method prints as TTFT beside the true time to the first token."""

from collections.abc import Sequence

import seaborn as sns
from matplotlib.figure import Figure

from gptoss_bench.figures.style import CONNECTOR, finish_figure, new_figure, set_log_scale
from gptoss_bench.runs import Manifest, MethodTrialRow


def printed_and_true_ttft(rows: Sequence[MethodTrialRow], manifest: Manifest) -> Figure:
    """Draw for each case the TTFT that the published method prints, and when the first token really came."""
    printed_s, first_s = rows[0].printed_ttft_s.p50, rows[0].first_token_s
    title = f"The method prints {printed_s:.3f} s where the first token came after {first_s:.3f} s"
    figure, axes = new_figure(height=1.4 + 0.55 * len(rows))
    true, printed, kit = sns.color_palette()[2], sns.color_palette()[3], sns.color_palette()[0]
    places = range(len(rows))
    truths = [row.first_token_s for row in rows]
    said = [row.printed_ttft_s.p50 or float("nan") for row in rows]
    axes.hlines(places, truths, said, color=CONNECTOR, linewidth=2, zorder=1)
    axes.plot(said, places, "s", color=printed, markersize=9, label="printed by the published method, p50")
    axes.plot(truths, places, "o", color=true, markersize=9, label="first token, by the server's log")
    axes.plot([row.kit_ttft_s for row in rows], places, "|", color=kit, markersize=16, label="this kit's client, p50")
    for place, truth, value in zip(places, truths, said, strict=True):
        side = "left" if value >= truth else "right"
        axes.annotate(
            f"{value:.3f} s for {truth:.3f} s", (value, place), (9 if side == "left" else -9, 0),
            textcoords="offset points", va="center", ha=side, fontsize=9,
        )  # fmt: skip
    axes.set_yticks(places, [row.case for row in rows])
    axes.invert_yaxis()
    axes.set(title=title, xlabel="seconds")
    set_log_scale(axes, "x", (min([*truths, *said]) / 5, max([*truths, *said]) * 5))
    axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=3)
    axes.grid(visible=False, axis="y")
    return finish_figure(figure, manifest)
