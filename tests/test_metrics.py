"""Percentiles against numpy and statistics, intervals by what they promise, windows by tables drawn by hand."""

import json
import statistics
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from gptoss_bench.errors import UsageError
from gptoss_bench.metrics import (
    bootstrap_interval,
    concurrency_delivered,
    grouped_median_interval,
    percentile,
    steady_window,
    wilson_interval,
)
from gptoss_bench.summary import Slo, summarise
from gptoss_bench.tables import derive
from gptoss_bench.trace import Trace
from streams import DONE, SENT_NS, answer, chat, counted, finish, thought, trace, usage

MS = 1_000_000
fewer = settings(deadline=None, max_examples=25)
samples = st.lists(st.floats(0, 1e3), min_size=2, max_size=60)
distinct = st.lists(st.floats(0, 1e3), min_size=3, max_size=40, unique=True)


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
    low, high = bootstrap_interval(values, median) or (np.nan, np.nan)
    assert min(values) <= low <= median(np.array(values)) <= high <= max(values)


def test_a_bootstrap_interval_shrinks_with_the_samples_and_repeats_with_the_seed() -> None:
    drawn = np.random.default_rng(3).normal(10, 2, 2500)
    few, many = bootstrap_interval(drawn[:25], np.mean), bootstrap_interval(drawn, np.mean)
    assert few is not None
    assert many is not None
    assert many[1] - many[0] < (few[1] - few[0]) / 4
    assert bootstrap_interval(drawn, np.mean) == many != bootstrap_interval(drawn, np.mean, seed=1)
    assert bootstrap_interval([1.0], np.mean) is None


@fewer
@given(st.lists(st.lists(st.floats(0, 9), min_size=5, max_size=5), min_size=4, max_size=20))
def test_a_grouped_interval_holds_the_pooled_median(groups: list[list[float]]) -> None:
    pooled = np.ravel(groups)
    low, high = grouped_median_interval(pooled, np.repeat(np.arange(len(groups)), 5)) or (np.nan, np.nan)
    assert low <= median(pooled) <= high


def test_one_value_a_group_is_the_plain_bootstrap() -> None:
    drawn = np.random.default_rng(5).normal(10, 2, 200)
    plain = bootstrap_interval(drawn, median)
    assert grouped_median_interval(drawn, np.arange(200)) == pytest.approx(plain, abs=0.15)


def test_correlated_gaps_make_a_grouped_interval_wider() -> None:
    """Thirty requests of a hundred equal gaps tell no more than thirty gaps."""
    speeds = np.random.default_rng(7).normal(30, 5, 30)
    gaps, owner = np.repeat(speeds, 100), np.repeat(np.arange(30), 100)
    grouped, naive = grouped_median_interval(gaps, owner), bootstrap_interval(gaps, median, resamples=200)
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


def load(traces: list[Trace], concurrency: int, **more: Any) -> dict[str, Any]:
    return summarise(*derive(traces), concurrency=concurrency, **more)


def two_slots() -> list[Trace]:
    """Two slots, three requests each, of three tokens 20 ms apart, from 10 ms after the send; a reply takes 51 ms.

    Slot A sends at 0, 60, 120 ms and slot B at 30, 90, 150 ms: the steady window is 40 to 171 ms.
    """
    return [chat(10, 20, 3, request_id, sent_ms=30.0 * request_id) for request_id in range(6)]


def test_the_steady_window_of_two_slots() -> None:
    assert steady_window(*derive(two_slots()), concurrency=2) == (SENT_NS + 40 * MS, SENT_NS + 171 * MS)
    assert steady_window(*derive(two_slots())) == (SENT_NS + 40 * MS, SENT_NS + 171 * MS)


def test_the_steady_window_starts_with_the_first_slot_that_got_a_token() -> None:
    """The first request failed without a token: the slots are filled by the two after it."""
    traces = two_slots()
    traces[0] = trace([], 0, status=None, ending="timeout", done_ns=SENT_NS + 25 * MS)
    assert steady_window(*derive(traces), concurrency=2) == (SENT_NS + 70 * MS, SENT_NS + 171 * MS)


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
    assert steady_window(*derive(traces), concurrency=concurrency) is None
    assert load(traces, concurrency)["output_tok_s"] is None


def test_a_window_of_one_slot_leaves_out_its_first_wait_only() -> None:
    """One slot dries with its last request."""
    traces = [chat(10, 20, 3, n, sent_ms=60.0 * n) for n in range(3)]
    assert steady_window(*derive(traces), concurrency=1) == (SENT_NS + 10 * MS, SENT_NS + 171 * MS)


def test_concurrency_is_the_integral_of_what_is_in_flight() -> None:
    requests, _ = derive(two_slots())
    seconds = 6 * 51 / 201
    assert concurrency_delivered(requests, SENT_NS, SENT_NS + 201 * MS) == pytest.approx(seconds)
    assert concurrency_delivered(requests, SENT_NS + 35 * MS, SENT_NS + 45 * MS) == pytest.approx(2.0)
    assert concurrency_delivered(requests, SENT_NS + 55 * MS, SENT_NS + 59 * MS) == pytest.approx(1.0)
    with pytest.raises(UsageError, match="empty interval"):
        concurrency_delivered(requests, SENT_NS, SENT_NS)


@fewer
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=8), st.integers(0, 40), st.integers(1, 60))
def test_concurrency_agrees_with_a_count_at_every_tick(spans: list[tuple[int, int]], start: int, length: int) -> None:
    requests, _ = derive([trace([(took, DONE)], n, sent_ms=sent) for n, (sent, took) in enumerate(spans)])
    ticks = range(start, start + length)
    counted_by_tick = sum(sent <= tick < sent + took for tick in ticks for sent, took in spans) / length
    bounds = (SENT_NS + start * MS, SENT_NS + (start + length) * MS)
    assert concurrency_delivered(requests, *bounds) == pytest.approx(counted_by_tick)


def test_the_rates_of_two_slots() -> None:
    summary = load(two_slots(), 2)
    assert summary["wall_s"] == pytest.approx(0.201)
    assert summary["request_s"] == pytest.approx(6 / 0.201)
    assert summary["output_tok_s_total"] == pytest.approx(18 / 0.201)
    # After 40 ms and up to 171 ms: 2 of the first, 2 of the second, 3 each of three, 1 of the last (at 160 ms).
    assert summary["output_tok_s"] == pytest.approx(13 / 0.131)
    assert summary["steady_window_s"] == pytest.approx(0.131)
    assert summary["tokens_per_event"] == 1.0
    assert summary["itl_s"]["n"] == 12
    assert summary["completion_tokens"] == {"sum": 18, "mean": 3.0, "min": 3, "max": 3}


def test_the_planned_window_of_an_open_loop_is_taken_as_it_is() -> None:
    summary = load(two_slots(), 2, window_ns=(SENT_NS, SENT_NS + 100 * MS))
    assert (summary["steady_window_s"], summary["output_tok_s"]) == (pytest.approx(0.1), pytest.approx(9 / 0.1))


def test_where_tokens_of_an_event_are_unknown_only_the_total_is_given() -> None:
    doubled = [(10, answer()), (30, answer()), (40, finish()), (40, usage(4)), (40, DONE)]
    summary = load([trace(doubled, n, sent_ms=50.0 * n) for n in range(4)], 1)
    assert summary["output_tok_s_total"] == pytest.approx(16 / 0.190)
    assert summary["steady_window_s"] is not None
    assert (summary["output_tok_s"], summary["tpot_s"]["n"], summary["tokens_per_event"]) == (None, 0, 2.0)


def test_without_usage_no_rate_of_tokens_is_given() -> None:
    silent = trace([(10, answer()), (40, finish()), (40, DONE)], 9, sent_ms=180)
    summary = load([*two_slots(), silent], 2)
    assert (summary["output_tok_s_total"], summary["completion_tokens"]["sum"], summary["completed"]) == (None, None, 7)


def test_failures_and_warmup_bend_no_distribution() -> None:
    cut = trace([(900, answer())], 6, sent_ms=180, ending="cut")
    warm = chat(500, 90, 3, 7, phase="warmup")
    bent, plain = load([warm, *two_slots(), cut], 2), load(two_slots(), 2)
    for name in ("ttft_s", "itl_s", "done_s", "tpot_s"):
        assert bent[name] == plain[name]
    assert (bent["requests"], bent["failures"]) == (7, {"cut": 1})
    assert bent["wall_s"] == pytest.approx(1.080)  # the failed request took its time all the same


def test_a_missing_answer_is_counted() -> None:
    lost = trace([(10, thought()), (40, finish("length")), (40, usage(1)), (40, DONE)], 6, sent_ms=180)
    summary = load([*two_slots(), lost], 2)
    assert (summary["ttfa_missing"], summary["ttfa_s"]["n"], summary["ttft_s"]["n"]) == (1, 6, 7)


def test_what_the_server_says_stands_apart() -> None:
    timings = {"predicted_n": 30, "predicted_ms": 600.0, "prompt_ms": 20.0}
    said = [(10, answer()), (40, finish()), (40, answer("", timings=timings)), (40, DONE)]
    server = load([trace(said, n, sent_ms=50.0 * n) for n in range(3)], 1)["server"]
    assert server["source"] == "llama.cpp"
    assert server["tok_s"] == {"n": 3, "p50": 50.0, "interval": [50.0, 50.0]}
    assert (server["prompt_s"]["p50"], server["load_s"]["n"]) == (0.020, 0)
    assert load(two_slots(), 2)["server"] is None


def answered(request_id: int, first_ms: float, gap_ms: float) -> Trace:
    """A reply that ended by itself after four tokens, 60 ms after the request before it was sent."""
    texts = [(first_ms + at * gap_ms, answer(usage=counted(at + 1))) for at in range(4)]
    return trace([*texts, (texts[-1][0], finish()), (texts[-1][0], DONE)], request_id, sent_ms=60.0 * request_id)


def test_goodput_counts_what_met_every_limit() -> None:
    good, slow_first, slow_gaps = answered(0, 10, 5), answered(1, 30, 5), answered(2, 10, 15)
    failed, truncated = trace([(10, answer())], 3, sent_ms=180, ending="cut"), chat(10, 5, 4, 4, sent_ms=240)
    stopped = trace([], 5, sent_ns=None, status=None, ending="cancelled")
    traces = [good, slow_first, slow_gaps, failed, truncated, stopped, answered(6, 10, 5)]
    summary = load(traces, 1, slo=Slo(ttft_s=0.020, tpot_s=0.010))
    assert summary["goodput_share"] == pytest.approx(2 / 6)
    assert summary["goodput_share_interval"] == pytest.approx(wilson_interval(2, 6))
    window_s = summary["steady_window_s"]
    assert window_s == pytest.approx(0.360 + 0.025 - 0.010)
    assert summary["goodput_request_s"] == pytest.approx(2 / window_s)
    assert load(traces, 1)["goodput_share"] is None


def test_goodput_is_unknown_where_its_limit_cannot_be_checked() -> None:
    untold = [trace([(10, answer()), (40, answer()), (50, DONE)], n, sent_ms=60.0 * n) for n in range(3)]
    assert load(untold, 1, slo=Slo(tpot_s=0.1))["goodput_share"] is None
    assert load(untold, 1, slo=Slo(e2e_s=0.1))["goodput_share"] == 1.0


def test_a_run_in_which_everything_failed_has_no_numbers() -> None:
    summary = load([trace([], n, sent_ns=None, status=None, ending="connect", error="refused") for n in range(5)], 2)
    assert (summary["failed"], summary["failures"], summary["completed"]) == (5, {"connect": 5}, 0)
    rates = ("wall_s", "request_s", "output_tok_s_total", "output_tok_s", "concurrency_delivered")
    assert [summary[name] for name in rates] == [None] * 5
    assert summary["ttft_s"]["p50"] is None


@st.composite
def runs(draw: st.DrawFn) -> list[Trace]:
    """Replies of up to five tokens, some cut, some cancelled, some refused, sent in any order."""
    traces = []
    for request_id in range(draw(st.integers(0, 12))):
        numbers = draw(st.tuples(st.integers(0, 50), st.integers(1, 20), st.integers(1, 5), st.integers(0, 200)))
        first, gap, tokens, sent = numbers
        ending = draw(st.sampled_from(["complete", "complete", "cut", "cancelled", "connect"]))
        traces.append(chat(first, gap, tokens, request_id, sent_ms=sent, ending=ending))
    return traces


@settings(deadline=None, max_examples=12)
@given(runs(), st.integers(1, 4), st.randoms(use_true_random=False))
def test_a_summary_adds_up_in_any_order_of_its_requests(traces: list[Trace], concurrency: int, random: Any) -> None:
    summary = load(traces, concurrency)
    assert summary["completed"] + summary["failed"] + summary["cancelled"] == summary["requests"] == len(traces)
    assert sum(summary["failures"].values()) == summary["failed"]
    json.dumps(summary, allow_nan=False)
    random.shuffle(traces)
    assert_frame_equal(flat(load(traces, concurrency)), flat(summary), rtol=1e-9)


def flat(summary: dict[str, Any]) -> pd.DataFrame:
    """One row, without the intervals: a bootstrap draws by position."""
    return pd.json_normalize(summary).filter(regex="^(?!.*interval)")


def test_tables_read_back_from_disk_give_the_same_summary(tmp_path: Any) -> None:
    tables = derive(two_slots())
    for table, name in zip(tables, ("requests", "chunks"), strict=True):
        table.to_parquet(tmp_path / name)
    again = (pd.read_parquet(tmp_path / "requests"), pd.read_parquet(tmp_path / "chunks"))
    assert summarise(*again, concurrency=2) == summarise(*tables, concurrency=2)
