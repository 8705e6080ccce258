"""Percentiles against numpy and statistics, intervals by what they promise, windows by tables drawn by hand."""

import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptoss_bench.runs.request_table import derive_tables
from gptoss_bench.stats import percentiles as metrics
from gptoss_bench.stats.bootstrap import grouped_median_interval
from gptoss_bench.stats.percentiles import (
    bootstrap_interval,
    concurrency_delivered,
    percentile,
    row_medians,
    steady_window,
    wilson_interval,
)
from gptoss_bench.stats.summary import summarise
from gptoss_client.errors import UsageError
from gptoss_client.trace import Trace
from streams import DONE, MS, SENT_NS, chat, trace, two_slots

fewer = settings(deadline=None, max_examples=25)
samples = st.lists(st.floats(0, 1e3), min_size=2, max_size=60)
distinct = st.lists(st.floats(0, 1e3), min_size=3, max_size=40, unique=True)


def row_means(rows: np.ndarray) -> np.ndarray:
    return rows.mean(axis=1)


def median(values: np.ndarray) -> float:
    return float(np.median(values))


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


@fewer
@given(distinct)
def test_a_bootstrap_interval_holds_its_statistic(values: list[float]) -> None:
    low, high = bootstrap_interval(values, row_medians) or (np.nan, np.nan)
    assert min(values) <= low <= median(np.array(values)) <= high <= max(values)


@fewer
@given(st.lists(st.floats(-1e6, 1e6), max_size=40), st.integers(1, 300))
def test_an_interval_is_the_same_however_many_resamples_are_made_at_once(values, at_once):
    draw = np.random.default_rng(0)
    one_by_one = [median(draw.choice(values, len(values))) for _ in range(50)] if len(values) > 1 else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "AT_ONCE", at_once)
        found = bootstrap_interval(values, row_medians, resamples=50)
    assert found == (one_by_one and tuple(np.quantile(one_by_one, [(1 - 0.95) / 2, (1 + 0.95) / 2])))


def test_a_bootstrap_interval_shrinks_with_the_samples_and_repeats_with_the_seed() -> None:
    drawn = np.random.default_rng(3).normal(10, 2, 2500)
    few, many = bootstrap_interval(drawn[:25], row_means), bootstrap_interval(drawn, row_means)
    assert few is not None
    assert many is not None
    assert many[1] - many[0] < (few[1] - few[0]) / 4
    assert bootstrap_interval(drawn, row_means) == many != bootstrap_interval(drawn, row_means, seed=1)
    assert bootstrap_interval([1.0], row_means) is None


@fewer
@given(st.lists(st.lists(st.floats(0, 9), min_size=5, max_size=5), min_size=4, max_size=20))
def test_a_grouped_interval_holds_the_pooled_median(groups: list[list[float]]) -> None:
    pooled = np.ravel(groups)
    low, high = grouped_median_interval(pooled, np.repeat(np.arange(len(groups)), 5)) or (np.nan, np.nan)
    assert low <= median(pooled) <= high


def test_one_value_a_group_is_the_plain_bootstrap() -> None:
    drawn = np.random.default_rng(5).normal(10, 2, 200)
    plain = bootstrap_interval(drawn, row_medians)
    assert grouped_median_interval(drawn, np.arange(200)) == pytest.approx(plain, abs=0.15)


def test_correlated_gaps_make_a_grouped_interval_wider() -> None:
    """Thirty requests of a hundred equal gaps tell no more than thirty gaps."""
    speeds = np.random.default_rng(7).normal(30, 5, 30)
    gaps, owner = np.repeat(speeds, 100), np.repeat(np.arange(30), 100)
    grouped, naive = grouped_median_interval(gaps, owner), bootstrap_interval(gaps, row_medians, resamples=200)
    assert grouped is not None
    assert naive is not None
    assert grouped[1] - grouped[0] > 3 * (naive[1] - naive[0])
    assert grouped_median_interval(gaps[:100], owner[:100]) is None


def test_many_gaps_take_fewer_resamples_and_the_same_median() -> None:
    gaps = np.random.default_rng(9).normal(30, 1, 120_000)
    low, high = grouped_median_interval(gaps, np.repeat(np.arange(600), 200)) or (np.nan, np.nan)
    assert 29.9 < low < median(gaps) < high < 30.1


def test_wilson_intervals_of_the_textbook() -> None:
    assert wilson_interval(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson_interval(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson_interval(10, 10)[1] == 1.0
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_the_steady_window_of_two_slots() -> None:
    assert steady_window(*derive_tables(two_slots()), concurrency=2) == (SENT_NS + 40 * MS, SENT_NS + 171 * MS)
    assert steady_window(*derive_tables(two_slots())) == (SENT_NS + 40 * MS, SENT_NS + 171 * MS)


def test_the_steady_window_starts_with_the_first_slot_that_got_a_token() -> None:
    """The first request failed without a token: the slots are filled by the two after it."""
    traces = two_slots()
    traces[0] = trace([], 0, status=None, ending="timeout", done_ns=SENT_NS + 25 * MS)
    assert steady_window(*derive_tables(traces), concurrency=2) == (SENT_NS + 70 * MS, SENT_NS + 171 * MS)


@pytest.mark.parametrize(
    ("traces", "concurrency"),
    [
        pytest.param([], 2, id="nothing sent"),
        pytest.param(two_slots()[:3], 2, id="fewer requests than two waves"),
        pytest.param(two_slots(), 4, id="fewer waves than planned slots"),
        pytest.param([trace([], n, status=None, ending="timeout", done_ns=None) for n in range(6)], 2, id="no token"),
    ],
)
def test_no_steady_window(traces: list[Trace], concurrency: int) -> None:
    assert steady_window(*derive_tables(traces), concurrency=concurrency) is None
    assert summarise(*derive_tables(traces), concurrency=concurrency)["output_tok_s"] is None


def test_a_window_of_one_slot_leaves_out_its_first_wait_only() -> None:
    """One slot dries with its last request."""
    traces = [chat(10, 20, 3, n, sent_ms=60.0 * n) for n in range(3)]
    assert steady_window(*derive_tables(traces), concurrency=1) == (SENT_NS + 10 * MS, SENT_NS + 171 * MS)


def test_concurrency_is_the_integral_of_what_is_in_flight() -> None:
    requests, _ = derive_tables(two_slots())
    seconds = 6 * 51 / 201
    assert concurrency_delivered(requests, SENT_NS, SENT_NS + 201 * MS) == pytest.approx(seconds)
    assert concurrency_delivered(requests, SENT_NS + 35 * MS, SENT_NS + 45 * MS) == pytest.approx(2.0)
    assert concurrency_delivered(requests, SENT_NS + 55 * MS, SENT_NS + 59 * MS) == pytest.approx(1.0)
    with pytest.raises(UsageError, match="empty interval"):
        concurrency_delivered(requests, SENT_NS, SENT_NS)


@fewer
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=8), st.integers(0, 40), st.integers(1, 60))
def test_concurrency_agrees_with_a_count_at_every_tick(spans: list[tuple[int, int]], start: int, length: int) -> None:
    requests, _ = derive_tables([trace([(took, DONE)], n, sent_ms=sent) for n, (sent, took) in enumerate(spans)])
    ticks = range(start, start + length)
    counted_by_tick = sum(sent <= tick < sent + took for tick in ticks for sent, took in spans) / length
    bounds = (SENT_NS + start * MS, SENT_NS + (start + length) * MS)
    assert concurrency_delivered(requests, *bounds) == pytest.approx(counted_by_tick)
