"""Percentiles against numpy and statistics, by both rules."""

import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_bench.stats.percentiles import percentile
from gptoss_client.errors import UsageError

samples = st.lists(st.floats(0, 1e3), min_size=2, max_size=60)


@given(samples, st.floats(0, 100))
def test_inclusive_percentiles_are_those_of_numpy(values: list[float], p: float) -> None:
    assert percentile(values, p).value == float(np.percentile(values, p))


@given(samples, st.integers(1, 99))
def test_exclusive_percentiles_are_those_of_the_write_up(values: list[float], p: int) -> None:
    published = statistics.quantiles(values, n=100)[p - 1]
    assert percentile(values, p, "exclusive").value == pytest.approx(published, rel=1e-9, abs=1e-9)


def test_the_exclusive_rule_extrapolates_and_the_inclusive_does_not() -> None:
    assert percentile([1.0, 2.0], 99, "exclusive").value == pytest.approx(2.97)
    assert percentile([1.0, 2.0], 99).value == pytest.approx(1.99)
    assert percentile(range(1, 2001), 99, "exclusive").value == pytest.approx(1980.99)
    assert percentile(range(1, 2001), 99).value == pytest.approx(1980.01)


@pytest.mark.parametrize("rule", ["inclusive", "exclusive"])
def test_percentiles_of_nothing_and_of_one(rule: str) -> None:
    assert percentile([], 50, rule).value is None
    assert percentile([None, float("nan")], 50, rule).n == 0
    assert percentile([3.0, None], 99, rule).value == 3.0


@pytest.mark.parametrize(
    ("n", "p", "resolved"), [(20, 50, True), (19, 50, False), (1000, 99, True), (999, 99, False), (100, 10, True)]
)
def test_a_percentile_is_resolved_by_ten_samples_beyond_it(n: int, p: float, resolved: bool) -> None:
    assert percentile(range(n), p).resolved == resolved


@pytest.mark.parametrize(("p", "rule"), [(101, "inclusive"), (-1, "inclusive"), (50, "nearest")])
def test_a_percentile_that_is_none_is_refused(p: float, rule: str) -> None:
    with pytest.raises(UsageError, match="inclusive, exclusive"):
        percentile([1.0], p, rule)
