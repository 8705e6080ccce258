"""Figures that contradict each other are found; figures of any possible load, rounded anywhere, are not."""

from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptoss_bench.stats.consistency import PrintedFigure
from gptoss_bench.stats.impossible import as_printed, find_contradictions

LOAD = {
    "requests": 2000.0,
    "completed": 2000.0,
    "failed": 0.0,
    "wall_s": 66.89,
    "request_s": 29.9,
    "output_tok_s_total": 7645.2,
    "max_tokens": 256.0,
    "concurrency_planned": 256.0,
    "done_s.p50": 8.835,
    "done_s.p90": 11.235,
    "done_s.p99": 14.755,
    "ttft_s.p50": 2.271,
}
COUNTS = ("requests", "completed", "failed", "max_tokens", "concurrency_planned")


def relations(**changed: float) -> list[str]:
    figures = {**LOAD, **{name.replace("__", "."): value for name, value in changed.items()}}
    return [
        one.relation
        for one in find_contradictions(
            {name: PrintedFigure(of) if name in COUNTS else as_printed(of) for name, of in figures.items()},
            n=2000,
            equal_lengths=figures.get("completion_tokens.mean") == figures["max_tokens"],
        )
    ]


def test_the_published_figures_agree_with_each_other() -> None:
    assert relations() == []


@pytest.mark.parametrize(
    ("changed", "relation"),
    [
        ({"output_tok_s_total": 9000.0}, "tokens above the limit"),
        ({"wall_s": 30.0}, "two values of the wall time"),
        ({"request_s": 59.8}, "two values of the wall time"),
        ({"done_s__p90": 7.0}, "order of percentiles"),
        ({"ttft_s__p50": 9.9}, "a part is longer than the whole"),
        ({"done_s__p99": 147.55}, "a request is longer than the run"),
        ({"ttft_s__p50": 0.0}, "zero or negative"),
        ({"done_s__p50": -8.835}, "zero or negative"),
        ({"itl_s__mean": 0.0}, "zero or negative"),
        ({"completed": 1640.0}, "missing requests"),
        ({"failed": 3.0}, "missing requests"),
        ({"completion_tokens__sum": 1_022_000.0}, "two values of the wall time"),
        ({"completion_tokens__mean": 100.0}, "two values of the output of a request"),
        ({"total_tok_s": 7000.0}, "a part is larger than the sum"),
        ({"total_tok_s": 9000.0, "prompt_tokens": 400_000.0, "completion_tokens__sum": 511_388.0}, "two values of the"),
        ({"concurrency_planned": 128.0}, "Little's law"),
        ({"done_s__mean": 9.2}, "Little's law"),
        (
            {"completion_tokens__mean": 256.0, "ttft_s__mean": 0.1, "tpot_s__mean": 0.05, "done_s__mean": 8.0},
            "parts of the latency",
        ),
        ({"completion_tokens__mean": 256.0, "tpot_s__mean": 0.1}, "Little's law"),
    ],
)
def test_a_figure_that_cannot_be_is_found(changed: dict[str, float], relation: str) -> None:
    assert any(found.startswith(relation) for found in relations(**changed))


@pytest.mark.parametrize(
    "changed",
    [
        {"request_s": 30.0},  # the rate of a span that is a little shorter
        {"itl_s__p50": 0.0},  # most chunks were read together
        {"done_s__mean": 8.4},
        {"requests": 2001.0, "failed": 1.0},
        {"completion_tokens__sum": 511_388.0},
        {"wall_s": 67.2},  # the tool ends the run a little later
    ],
)
def test_a_figure_that_can_be_is_not_found(changed: dict[str, float]) -> None:
    assert relations(**changed) == []


def test_a_number_that_does_not_say_how_many_requests_failed_misses_none() -> None:
    assert not find_contradictions({"requests": PrintedFigure(9.0), "completed": PrintedFigure(8.0)})


@settings(max_examples=200, deadline=None)
@given(
    slots=st.integers(1, 16),
    seed=st.integers(0, 10_000),
    count=st.integers(2, 60),
    digits=st.integers(0, 4),
    cap=st.integers(2, 300),
)
def test_no_load_that_is_possible_contradicts_itself(slots: int, seed: int, count: int, digits: int, cap: int) -> None:
    """Print the figures of a simulated closed loop with so many decimals."""
    draw = np.random.default_rng(seed)
    tokens = draw.integers(2, cap + 1, count) if seed % 2 else np.full(count, cap)
    first, gap = draw.lognormal(-2, 1, count), draw.lognormal(-4, 0.5, count)
    latency = first + gap * (tokens - 1)
    ends = np.array([max(accumulate(latency[slot::slots]), default=0.0) for slot in range(slots)])
    wall = float(ends.max())
    raw = {
        "wall_s": wall,
        "request_s": count / wall,
        "output_tok_s_total": tokens.sum() / wall,
        "total_tok_s": (tokens.sum() + 88 * count) / wall,
        "completion_tokens.mean": tokens.mean(),
    }
    for name, values in {"ttft_s": first, "tpot_s": gap, "done_s": latency}.items():
        raw[f"{name}.mean"] = values.mean()
        raw |= {f"{name}.p{p}": np.percentile(values, p) for p in (50, 90, 99)}
    figures = {name: PrintedFigure(round(float(of), digits), 10.0**-digits) for name, of in raw.items()}
    figures |= {"requests": PrintedFigure(count), "completed": PrintedFigure(count), "failed": PrintedFigure(0)}
    figures |= {"max_tokens": PrintedFigure(cap), "concurrency_planned": PrintedFigure(slots)}
    figures |= {"completion_tokens.sum": PrintedFigure(int(tokens.sum())), "prompt_tokens": PrintedFigure(88 * count)}
    equal = len(set(tokens.tolist())) == 1
    assert find_contradictions(figures, equal_lengths=equal, n=count) == []


@pytest.mark.parametrize(("value", "step"), [(8.835, 0.001), (29.9, 0.1), (0.04445, 1e-5), (2000.0, 1.0), (0.0, 0.0)])
def test_the_last_digit_is_the_rounding(value: float, step: float) -> None:
    assert as_printed(value).step == pytest.approx(step)


def test_factors_of_a_scale_do_not_count_as_digits() -> None:
    assert as_printed(44.45 * 1e-3).step == pytest.approx(1e-5)
