"""What a closed loop would have measured of the latencies of an open loop."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_bench.runs.request_table import derive_tables
from gptoss_bench.stats.closed_loop_view import closed_loop_rows, open_loop_text, open_loop_times
from streams import QUEUED_NS, chat


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 3)), min_size=1, max_size=60))
def test_each_stream_meets_a_request_at_most_once_and_never_while_it_waits(drawn) -> None:
    due_s = list(np.cumsum([gap for gap, _ in drawn]))
    latency_s = [latency for _, latency in drawn]
    met, streams = closed_loop_rows(due_s, latency_s)
    assert met == sorted(met) and len(met) <= streams * len(due_s) and set(met) <= set(range(len(due_s)))
    if streams == 1:
        assert all(due_s[at] + latency_s[at] <= due_s[then] for at, then in pairwise(met))


def test_equal_latencies_are_the_same_in_both_loops() -> None:
    due_s = [0.01 * n for n in range(1000)]
    met, streams = closed_loop_rows(due_s, [0.0995] * 1000)
    assert streams == 10 and len(met) == 1000


def test_a_pause_of_the_server_delays_every_arrival_of_it_and_one_request_of_each_stream() -> None:
    due_s = [0.01 * n for n in range(1000)]
    # all that arrive between 4 s and 6 s are answered at 6 s
    latency_s = [6.0 - at if 4 <= at < 6 else 0.01 for at in due_s]
    met, streams = closed_loop_rows(due_s, latency_s)
    assert sum(latency > 0.1 for latency in latency_s) == 190
    assert sum(latency_s[at] > 0.1 for at in met) == streams


def test_no_request_gives_no_stream() -> None:
    assert closed_loop_rows([], []) == ([], 0)


def test_times_are_from_due_and_from_sending_and_the_text_is_about_a_resolved_percentile() -> None:
    requests, _ = derive_tables([chat(40, 10, 6, n, sent_ms=100.0 * n) for n in range(60)])
    times = open_loop_times(requests, "ttft_s")
    assert times.due - times.sent == pytest.approx(QUEUED_NS / 1e9)
    assert open_loop_text(requests).startswith(f"p50 of TTFT: {times.due[0]:.3g} s from when a request was due")
    assert open_loop_text(requests[:12]) == ""
