"""Intervals of rates, wall time and high percentiles: they hold what they are of, and are None where none is known."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptoss_bench.claims.model import RunRecord
from gptoss_bench.claims.schema import load_claims
from gptoss_bench.runs.manifest import Manifest
from gptoss_bench.runs.request_table import derive_tables
from gptoss_bench.runs.summary import LoadSummary, TailIntervals
from gptoss_bench.stats import bootstrap
from gptoss_bench.stats.bootstrap import (
    bootstrap_interval,
    grouped_median_interval,
    row_means,
    row_medians,
    run_intervals,
)
from gptoss_bench.stats.summary import summarise
from streams import chat

NAMES = ("request_s", "output_tok_s_total", "wall_s")


def one_slot(lengths: list[int]) -> tuple[LoadSummary, pd.DataFrame]:
    """Requests of so many tokens, 10 ms each, one after the other."""
    sent = np.cumsum([0, *(20 + 10 * length for length in lengths)])
    traces = [chat(10, 10, length, n, sent_ms=float(sent[n])) for n, length in enumerate(lengths)]
    requests, events = derive_tables(traces)
    return summarise(requests, events, concurrency=1), requests


@settings(deadline=None, max_examples=10)
@given(st.lists(st.integers(1, 20), min_size=10, max_size=30))
def test_an_interval_holds_what_it_is_of(lengths: list[int]) -> None:
    summary, requests = one_slot(lengths)
    found = run_intervals(summary, requests)
    for name in NAMES:
        low, high = getattr(found, name)
        assert low <= summary.rate(name) * (1 + 1e-9) and summary.rate(name) <= high * (1 + 1e-9)
    assert found == run_intervals(summary, requests)
    assert found.wall_s[0] * found.request_s[1] == pytest.approx(len(lengths))
    assert found.done_s == TailIntervals(p90=None, p99=None), "its own tail does not tell it"


def test_a_percentile_has_an_interval_where_it_is_resolved() -> None:
    summary, requests = one_slot([1 + n % 12 for n in range(120)])
    found = run_intervals(summary, requests)
    low, high = found.done_s.p90
    assert low <= summary.done_s.p90 <= high
    assert found.done_s.p99 is None


def test_fewer_than_ten_requests_tell_no_interval() -> None:
    found = run_intervals(*one_slot([3] * 9))
    assert [getattr(found, name) for name in NAMES] == [None, None, None]
    nothing = derive_tables([])
    assert run_intervals(summarise(*nothing, concurrency=1), nothing[0]).request_s is None


def test_a_rate_is_as_sure_as_the_requests_are_many() -> None:
    few, many = (run_intervals(*one_slot([1 + n % 12 for n in range(count)])).request_s for count in (12, 120))
    assert (many[1] - many[0]) / many[0] < 0.6 * (few[1] - few[0]) / few[0]


def test_every_figure_is_decided_by_an_interval_of_the_same_quantity() -> None:
    summary, requests = one_slot([1 + n % 12 for n in range(1000)])
    summary.intervals = run_intervals(summary, requests)
    run = RunRecord("r", "vllm-h100", Manifest(), summary)
    decided = [claim for claim in load_claims() if claim.decider == "measured" and claim.arguments.interval]
    assert len(decided) == 11
    for claim in decided:
        path, interval = claim.arguments.path, claim.arguments.interval.removeprefix("intervals.")
        assert path.split(".")[0] == interval.split(".")[0]
        assert path.split(".")[-1].partition("_")[0] == interval.split(".")[-1].partition("_")[0] or "tok_s" in path
        if not path.startswith("server"):  # the summary of this test has no server's figures
            span = run.interval(claim.arguments.interval)
            assert span is not None and span[0] <= (run.number(path) or 0) * 1.001, claim.claim_id


def median(values: np.ndarray) -> float:
    return float(np.median(values))


@settings(deadline=None, max_examples=25)
@given(st.lists(st.floats(-1e6, 1e6), max_size=40), st.integers(1, 300))
def test_an_interval_is_the_same_however_many_resamples_are_made_at_once(values, at_once):
    draw = np.random.default_rng(0)
    one_by_one = [median(draw.choice(values, len(values))) for _ in range(50)] if len(values) > 1 else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bootstrap, "BLOCK_VALUES", at_once)
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


@settings(deadline=None, max_examples=25)
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


@given(st.lists(st.floats(0, 1e3), min_size=3, max_size=40, unique=True))
def test_a_bootstrap_interval_holds_its_statistic(values: list[float]) -> None:
    low, high = bootstrap_interval(values, row_medians) or (np.nan, np.nan)
    assert min(values) <= low <= median(np.array(values)) <= high <= max(values)
