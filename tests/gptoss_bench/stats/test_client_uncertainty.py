"""How uncertain percentiles are because of the client, when it was the limit, and which gaps are resolved."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_bench.runs.request_table import derive_tables
from gptoss_bench.runs.summary import ClientLoad, Distribution, LoadSummary, Percentiles, Resolved, Stalls
from gptoss_bench.stats.client_bound import client_bound
from gptoss_bench.stats.client_uncertainty import NO_INTERVALS, client_pairs, client_text, resolve_by_moments
from gptoss_bench.stats.percentiles import MOMENT_NS, enough_moments
from gptoss_bench.stats.summary import summarise
from streams import DONE, MS, answer, chat, finish, trace, usage


def ttft(low: float) -> Distribution:
    return Distribution(n=9, p50=0.5, p99=1.0, low=Percentiles(p50=0.5, p99=low), high=Percentiles(p50=0.5, p99=1.0))


def kernel(**fields) -> LoadSummary:
    client = ClientLoad(timestamp_source="kernel", **fields.pop("client", {}))
    return LoadSummary(client=client, itl_s=Distribution(n=9, p50=0.02), **{"ttft_s": ttft(1.0)} | fields)


@pytest.mark.parametrize(
    ("summary", "word"),
    [
        (kernel(ttft_s=ttft(0.94)), "TTFT p99 0.94 to 1 s"),
        (kernel(slot_idle_share=0.021), "2.1%"),
        (kernel(client={"cpu_share": 0.81}), "81%"),
    ],
)
def test_each_reason_to_be_client_bound_is_reported_by_its_number(summary, word):
    [reason] = client_bound(summary).reasons
    assert word in reason


def test_a_client_within_every_limit_is_not_bound():
    quiet = kernel(ttft_s=ttft(0.96), slot_idle_share=0.019, client={"cpu_share": 0.79})
    quiet.client.lag_s = Percentiles(p99=0.5)  # late reads count only by what they make uncertain
    assert client_bound(quiet) == ([], None)


def test_without_intervals_it_is_unknown_whether_the_client_was_the_limit():
    assert client_bound(kernel(ttft_s=Distribution(n=9, p99=1.0))) == ([], NO_INTERVALS)
    assert client_bound(LoadSummary()) == ([], None)  # of another tool


def test_without_kernel_timestamps_the_lateness_of_the_heartbeat_counts():
    late = kernel(client={"heartbeat_late_s": Percentiles(p99=0.0011)})
    late.client.timestamp_source = "read"
    assert "1.1 ms" in client_bound(late).reasons[0]
    late.client.heartbeat_late_s = Percentiles(p99=0.0009)
    assert client_bound(late) == ([], None)
    late.client.heartbeat_late_s = None
    assert "heartbeat" in client_bound(late).unknown


def test_a_pair_is_printed_if_it_differs_by_more_than_one_percent():
    assert client_text(kernel(ttft_s=ttft(0.98), stalls=Stalls(count=2, longest_s=0.03))) == (
        "client's uncertainty: TTFT p99 0.98 to 1 s; the client stalled 2 times, at most 30 ms"
    )
    assert client_text(kernel(ttft_s=ttft(0.995), stalls=Stalls())) == (
        "client's uncertainty at most 1% of every percentile; no stall of the client"
    )
    assert NO_INTERVALS in client_text(kernel(ttft_s=Distribution(n=9, p99=1.0)))
    assert client_text(LoadSummary()) == ""


def test_a_summary_has_the_percentiles_of_lows_and_of_highs():
    traces = []
    for n in range(10):
        one = chat(40, 10, 5, n, sent_ms=100.0 * n, timestamp_source="kernel")
        early_ns = 5 * MS if n == 9 else 0
        not_before = tuple(max(at - early_ns, one.sent_ns) for at, _ in one.pieces)
        traces.append(chat(40, 10, 5, n, sent_ms=100.0 * n, timestamp_source="kernel", not_before_ns=not_before))
    summary = summarise(*derive_tables(traces), concurrency=1)
    assert summary.ttft_s.client_pair("p50") == pytest.approx((0.040, 0.040))
    assert summary.ttft_s.client_pair("p99") == pytest.approx((0.040, 0.040))  # the tenth is the shortest low
    assert summary.itl_s.client_pair("p99") == pytest.approx((0.010, 0.015))
    assert "ITL p99 10 to 15 ms" in [pair.text for pair in client_pairs(summary, 0.05)]


def test_where_the_tokens_of_the_first_event_are_unknown_both_bounds_of_tpot_are_known():
    timed = [(10, answer()), (30, answer()), (40, finish()), (40, usage(4)), (40, DONE)]
    summary = summarise(*derive_tables([trace(timed, n, sent_ms=50.0 * n) for n in range(4)]), concurrency=1)
    assert (summary.tpot_s.n, summary.tpot_missing) == (0, {"the tokens of the first event are unknown": 4})
    assert summary.tpot_s.client_pair("p50") == pytest.approx((0.020 / 3, 0.030))
    assert client_pairs(summary, 0.05) == []  # it is no uncertainty of the client


@given(st.lists(st.integers(0, 50 * MOMENT_NS), max_size=60))
def test_moments_are_counted_by_the_first_event_of_each(times):
    moments, start = 0, None
    for at in sorted(times):
        if start is None or at - start > MOMENT_NS:
            moments, start = moments + 1, at
    assert enough_moments(np.array(times, dtype="int64")) == (moments >= 10)


def test_gaps_that_end_together_are_one_moment():
    gaps_s = np.r_[np.full(960, 0.02), np.full(40, 0.5)]
    found = Distribution(n=1000, p50=0.02, p99=0.5, resolved=Resolved(p50=True, p99=True))
    apart = pd.DataFrame({"itl_s": gaps_s, "arrival_ns": np.arange(1000) * 20 * MS})
    resolve_by_moments(found, apart)
    assert (found.resolved.p50, found.resolved.p99) == (True, True)
    together = apart.assign(arrival_ns=np.where(gaps_s > 0.1, 0, apart["arrival_ns"]))
    resolve_by_moments(found, together)
    assert (found.resolved.p50, found.resolved.p99) == (True, False)


def test_a_median_gap_of_0_is_not_resolved():
    found = Distribution(n=100, p50=0.0, p90=0.1, p50_interval=(0.0, 0.0), resolved=Resolved(p50=True))
    resolve_by_moments(found, pd.DataFrame({"itl_s": np.zeros(100), "arrival_ns": np.arange(100) * MS * 5}))
    assert (found.resolved.p50, found.p50_interval) == (False, None)
