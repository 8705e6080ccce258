"""The figure of a search for the capacity shows every level, the result in its form, and what is no evidence."""

import math
import re

import pytest
from matplotlib.figure import Figure

from gptoss_bench import figures
from gptoss_bench.figures.picture import figure_svg
from gptoss_bench.runs import CapacityGoal, LoadSummary, Manifest, Slo
from gptoss_bench.runs.capacity import CapacityLevel
from gptoss_bench.stats.capacity import capacity_phase, capacity_text, evaluate_capacity, level_interval

GOAL = CapacityGoal()
SLO = Slo(ttft_s=0.5)


def level(at: float, number: int, share: float | None = None, **values) -> CapacityLevel:
    """A level of a server that carries 20 requests/s, or one with this share."""
    met = round(400 * (share if share is not None else 1 / (1 + math.exp(math.log(1 / 19) + 12 * math.log(at / 20)))))
    counts = {"requests": 400, "met": met, "met_low": met, "met_high": met}
    return CapacityLevel(phase=capacity_phase(at, number), level=at, **counts | values)


def summary_of(*levels: CapacityLevel) -> LoadSummary:
    return LoadSummary(capacity=evaluate_capacity(levels, GOAL), slo=SLO)


def numbered(*loads: float) -> list[CapacityLevel]:
    return [level(at, number) for number, at in enumerate(loads, start=1)]


def legend_of(figure: Figure) -> list[str]:
    legend = figure.axes[0].get_legend()
    return [text.get_text() for text in legend.get_texts()] if legend else []


def caption_of(figure: Figure) -> str:
    return " ".join(figure.get_supxlabel().split())


SEARCHED = summary_of(*numbered(1, 2, 4, 8, 16, 32, 22.6, 19, 21, 19.5, 22))


def test_the_curve_crosses_the_share_asked_for_at_the_capacity_within_its_band() -> None:
    found = SEARCHED.capacity
    assert found is not None and found.word == "carries"
    figure = figures.share_within_slo(SEARCHED, Manifest(run_id="one", labels=["TINY MODEL"]))
    [axes] = figure.axes
    assert legend_of(figure) == ["capacity, 95 % interval", "fitted curve", "level"]
    [band] = [patch for patch in axes.patches if patch.get_label() == "capacity, 95 % interval"]
    assert (band.get_x(), band.get_x() + band.get_width()) == pytest.approx((found.low, found.high))
    lines = {line.get_label(): line for line in axes.get_lines()}
    curve, dots = lines["fitted curve"], lines["level"]
    below = [at for at, share in zip(*curve.get_data(), strict=True) if share < GOAL.share]
    assert min(below) == pytest.approx(found.value, rel=0.03)
    assert sorted(dots.get_xdata()) == sorted(one.level for one in found.levels)
    bars = [tuple(y for _, y in path.vertices) for lines in axes.collections for path in lines.get_paths()]
    assert all(pytest.approx(level_interval(one, found)) in bars for one in found.levels)
    texts = [text.get_text() for text in axes.texts]
    assert "asked for: 95 %" in texts and f"{found.value:.3g} requests/s" in texts
    caption = caption_of(figure)
    assert "TINY MODEL" in caption and capacity_text(found, SLO) in caption
    assert "TINY MODEL" in [text.get_text() for text in figure.texts]


def test_a_level_that_the_client_limited_is_a_cross_with_a_name() -> None:
    limited = [level(16, number, 0.5, limited=["late"]) for number in (5, 6, 7)]
    figure = figures.share_within_slo(summary_of(*numbered(1, 2, 4, 8), *limited), Manifest())
    assert legend_of(figure) == ["carries at least this", "level", "level limited by the client"]
    lines = {line.get_label(): line for line in figure.axes[0].get_lines()}
    assert list(lines["level limited by the client"].get_xdata()) == [16, 16, 16]
    assert lines["level limited by the client"].get_marker() != lines["level"].get_marker()
    assert list(lines["level"].get_xdata()) == [1, 2, 4, 8]
    assert list(lines["carries at least this"].get_xdata()) == [8, 8]
    assert "as if requests were independent, too narrow" in caption_of(figure)


@pytest.mark.parametrize(
    ("levels", "name"),
    [
        ([level(8, 1, 1.0), level(16, 2, 0.2)], "from a level that met the SLO to one that missed it"),
        ([level(8, 1, 0.1), level(16, 2, 0.0)], "carries less than this"),
    ],
)
def test_without_an_interval_the_figure_shows_what_is_known(levels, name) -> None:
    figure = figures.share_within_slo(summary_of(*levels), Manifest())
    assert legend_of(figure) == [name, "level"]


def test_without_a_search_or_a_level_the_figure_says_so() -> None:
    without = figures.share_within_slo(LoadSummary(), Manifest())
    assert "no capacity was searched for" in [text.get_text() for text in without.axes[0].texts]
    empty = summary_of(CapacityLevel(phase=capacity_phase(1, 1), level=1.0))
    figure = figures.share_within_slo(empty, Manifest())
    assert "no level has a request that counts" in [text.get_text() for text in figure.axes[0].texts]
    assert not legend_of(figure)


def test_it_is_the_same_picture_each_time_and_has_colours_for_a_dark_page() -> None:
    first, second = (figure_svg(figures.share_within_slo(SEARCHED, Manifest()), dark=True) for _ in range(2))
    assert first == second
    assert re.search(rb"prefers-color-scheme: dark", first)
