"""Intervals: they hold the true value as often as they say, and where a run is too short they give the reason."""

import math
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptoss_bench.claims.gate import known_interval
from gptoss_bench.claims.model import RunRecord
from gptoss_bench.claims.schema import load_write_up
from gptoss_bench.runs.manifest import Manifest
from gptoss_bench.runs.request_table import derive_tables
from gptoss_bench.runs.summary import LoadSummary, TailIntervals
from gptoss_bench.stats import bootstrap
from gptoss_bench.stats.bootstrap import (
    SendOrder,
    closed_loop_order,
    interval_over_runs,
    open_loop_order,
    percentile_interval,
    ratio_interval,
)
from gptoss_bench.stats.students_t import t_quantile, t_tail
from gptoss_bench.stats.summary import summarise
from sampling_simulation import BETWEEN, LOADS, Load, coverage, false_alarms
from streams import chat

RATES = ("request_s", "output_tok_s_total", "output_tok_s", "wall_s")
FEWEST_GIVEN = 0.05  # a cell with fewer intervals is one that the rule refuses


def one_slot(lengths: list[int]) -> tuple[LoadSummary, pd.DataFrame]:
    """Requests of so many tokens, 10 ms each, one after the other."""
    sent = np.cumsum([0, *(20 + 10 * length for length in lengths)])
    traces = [chat(10, 10, length, n, sent_ms=float(sent[n])) for n, length in enumerate(lengths)]
    requests, events = derive_tables(traces)
    return summarise(requests, events, concurrency=1), requests


def in_order(count: int, concurrency: int) -> SendOrder:
    places = np.arange(count)
    return SendOrder(places, places, concurrency)


def shuffled(count: int) -> list[int]:
    return [int(one) for one in np.random.default_rng(1).integers(1, 13, count)]


@pytest.mark.parametrize("load", [load for load in LOADS if load.concurrency == 8 and load.icc == 0.9], ids=str)
def test_an_interval_holds_the_true_value_in_a_few_simulated_runs(load: Load) -> None:
    for found in coverage(load, 60):
        assert found.given <= FEWEST_GIVEN or found.covered >= 0.85, found


@pytest.mark.slow
@pytest.mark.parametrize("load", LOADS, ids=str)
def test_an_interval_holds_the_true_value_in_92_to_98_percent_of_the_runs(load: Load) -> None:
    for found in coverage(load, 1000):
        assert found.given <= FEWEST_GIVEN or 0.915 <= found.covered <= 0.985, found


@pytest.mark.parametrize(
    ("repetitions", "most"), [(200, 0.09), pytest.param(4000, 0.05, marks=pytest.mark.slow)], ids=["few", "many"]
)
@pytest.mark.parametrize("between", BETWEEN)
def test_two_sides_of_one_server_are_seldom_told_apart(between: float, repetitions: int, most: float) -> None:
    found = false_alarms(between, repetitions)
    assert found.repeated <= most
    assert between or found.single <= most  # where runs differ, two single runs do differ


def test_students_t_is_that_of_the_tables() -> None:
    assert [round(t_quantile(df), 3) for df in (1, 2, 4, 9, 30)] == [12.706, 4.303, 2.776, 2.262, 2.042]
    assert t_quantile(9, 0.99) == pytest.approx(3.250, abs=1e-3)
    assert t_tail(2.262157, 9) == pytest.approx(0.05, abs=1e-6)


@given(st.floats(1, 500), st.floats(0.5, 0.999))
def test_a_quantile_has_the_tail_of_its_level(df: float, level: float) -> None:
    assert t_tail(t_quantile(df, level), df) == pytest.approx(1 - level, rel=1e-6)


def test_a_short_run_has_no_interval_but_the_number_of_its_waves() -> None:
    summary, _ = one_slot(shuffled(40))
    assert summary.ttft_s.interval("p50").why == "39 waves: repeat the run (--repeats 3)"  # the first wave ramps up
    assert summary.ttft_s.p50_interval is None
    assert [getattr(summary.intervals, name) for name in RATES] == [None] * 4
    assert set(summary.intervals.why) == set(RATES)
    nothing = derive_tables([])
    assert summarise(*nothing, concurrency=1).intervals.why["request_s"] == "no values"


def test_an_interval_is_around_its_figure() -> None:
    summary, _ = one_slot(shuffled(400))
    for name in RATES:
        low, high = getattr(summary.intervals, name)
        assert low < summary.rate(name) < high
    assert summary.intervals.wall_s[0] * summary.intervals.request_s[1] == pytest.approx(400)
    low, high = summary.done_s.interval("p50").ends
    assert (low + high) / 2 == pytest.approx(summary.done_s.p50)
    assert summary.intervals.done_s == TailIntervals(p90=summary.done_s.interval("p90").ends, p99=None)


def test_a_p99_of_one_run_never_has_an_interval() -> None:
    values, places = np.random.default_rng(0).random(8000), np.arange(8000)
    found = percentile_interval(0.99, values, places, 99, in_order(8000, 1))
    assert (found.ends, found.why) == (None, "p99: repeat the run (--repeats 3)")


def test_waves_that_depend_on_the_last_one_take_more_of_them() -> None:
    draw = np.random.default_rng(2)
    independent, correlated = Load(8, 60, 0.0, 0.9, True), Load(8, 60, 0.9, 0.9, True)
    places, ones = np.arange(480), np.ones(480)
    values = independent.values(draw)
    assert ratio_interval(values.mean(), values, ones, places, in_order(480, 8)).ends is not None
    values = correlated.values(draw)
    found = ratio_interval(values.mean(), values, ones, places, in_order(480, 8))
    assert found.ends is None
    assert re.fullmatch(r"60 waves, correlated \(0\.\d\d\), 80 are needed: repeat .*", found.why or "")


def test_a_p90_takes_twice_the_waves() -> None:
    values = Load(8, 60, 0.0, 0.5, True).values(np.random.default_rng(4))
    found = [percentile_interval(1.0, values, np.arange(480), p, in_order(480, 8)) for p in (50, 90)]
    assert found[0].ends is not None
    assert found[1].why == "60 waves, 80 are needed: repeat the run (--repeats 3)"


@settings(max_examples=25)
@given(st.integers(1, 4), st.integers(40, 90), st.integers(0, 2**32 - 1))
def test_the_order_of_the_rows_does_not_matter(concurrency: int, waves: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    count = concurrency * waves
    values, mixed = draw.random(count), draw.permutation(count)
    order = in_order(count, concurrency)
    one = percentile_interval(0.5, values, np.arange(count), 50, order)
    assert one == percentile_interval(0.5, values[mixed], mixed, 50, order)


@settings(max_examples=25)
@given(st.floats(0.1, 1e4), st.integers(0, 2**32 - 1))
def test_an_interval_has_the_unit_of_its_values(scale: float, seed: int) -> None:
    values = np.random.default_rng(seed).random(400)
    one, other = (
        ratio_interval(of.mean(), of, np.ones(400), np.arange(400), in_order(400, 1)) for of in (values, values * scale)
    )
    assert (one.ends is None) == (other.ends is None)
    if one.ends and other.ends:
        assert other.ends == pytest.approx([end * scale for end in one.ends])


def test_equal_values_have_an_interval_of_no_width() -> None:
    found = percentile_interval(3.0, np.full(400, 3.0), np.arange(400), 50, in_order(400, 1))
    assert found.ends == (3.0, 3.0)


def test_many_values_of_a_request_are_one_unit() -> None:
    """Four hundred requests of a hundred equal gaps are as uncertain as four hundred gaps."""
    gaps, places = np.random.default_rng(7).normal(30, 5, 400), np.arange(400)
    order = in_order(400, 1)
    one = percentile_interval(30.0, gaps, places, 50, order)
    many = percentile_interval(30.0, np.repeat(gaps, 100), np.repeat(places, 100), 50, order)
    assert one.ends == many.ends


def test_more_values_than_ranks_have_the_same_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    values, places = np.random.default_rng(9).random(4000), np.arange(4000)
    every = percentile_interval(0.5, values, places, 50, in_order(4000, 1))
    monkeypatch.setattr(bootstrap, "MAX_RANKS", 1000)
    few = percentile_interval(0.5, values, places, 50, in_order(4000, 1))
    assert few.ends == pytest.approx(every.ends, abs=1e-3)


def test_only_completed_requests_after_the_ramp_are_in_the_order() -> None:
    completed = pd.DataFrame({"request_id": [4, 1, 3, 2], "sent_ns": [40, 10, 20, 30]}).astype("int64")
    order = closed_loop_order(completed, (15, 100), 1)
    assert order.places_of(np.array([1, 2, 3, 4, 9])).tolist() == [-1, 1, 0, 2, -1]
    assert order.why == "3 waves: repeat the run (--repeats 3)"
    assert closed_loop_order(completed, None, 1).why == "no steady window: repeat the run (--repeats 3)"


@pytest.mark.parametrize(("wait_s", "enough"), [(1.0, True), (3.0, False)])
def test_blocks_of_an_open_loop_outlast_its_queue(wait_s: float, enough: bool) -> None:
    completed = pd.DataFrame({"request_id": np.arange(1000), "sent_ns": np.arange(1000) * 10**8})
    order = open_loop_order(completed, wait_s)
    values = np.random.default_rng(3).random(1000)
    found = percentile_interval(0.5, values, np.arange(1000), 50, order)
    assert (found.ends is not None) is enough
    assert enough or "a tenth of the run lasts 9.9 s, the longest wait in the queue 3 s" in (found.why or "")


def test_an_interval_over_runs_is_that_of_students_t() -> None:
    found = interval_over_runs([9.0, 10.0, 11.0]).ends
    assert found == pytest.approx((10 - 4.3027 / math.sqrt(3), 10 + 4.3027 / math.sqrt(3)), abs=1e-4)
    assert interval_over_runs([9.0, 10.0]).why == "2 runs, 3 are needed: repeat the run (--repeats 3)"


def test_every_performance_figure_has_an_interval_of_its_own_quantity() -> None:
    summary, _ = one_slot(shuffled(1200))
    run = RunRecord("r", "vllm-h100", Manifest(), summary)
    decided = [claim for claim in load_write_up().claims if claim.kind == "performance"]
    assert len(decided) == 11
    for claim in decided:
        path = claim.arguments.path
        if not path.startswith("server") and "p99" not in path:  # this summary has no server; a p99 takes repeats
            span, _ = known_interval(run, path)
            assert span is not None and span[0] <= (run.number(path) or 0) * 1.001, claim.claim_id
