"""Steady windows and delivered concurrency, against tables drawn by hand and a count at every tick."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptoss_bench.runs.request_table import derive_tables
from gptoss_bench.stats.steady_state import concurrency_delivered, steady_window
from gptoss_bench.stats.summary import summarise
from gptoss_client.errors import UsageError
from gptoss_client.trace import Trace
from streams import DONE, MS, SENT_NS, chat, trace, two_slots


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
    assert summarise(*derive_tables(traces), concurrency=concurrency).output_tok_s is None


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


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=8), st.integers(0, 40), st.integers(1, 60))
def test_concurrency_agrees_with_a_count_at_every_tick(spans: list[tuple[int, int]], start: int, length: int) -> None:
    requests, _ = derive_tables([trace([(took, DONE)], n, sent_ms=sent) for n, (sent, took) in enumerate(spans)])
    ticks = range(start, start + length)
    counted_by_tick = sum(sent <= tick < sent + took for tick in ticks for sent, took in spans) / length
    bounds = (SENT_NS + start * MS, SENT_NS + (start + length) * MS)
    assert concurrency_delivered(requests, *bounds) == pytest.approx(counted_by_tick)
