"""Idle slots, packed events, stalls and late heartbeats, from tables that are written by hand."""

import pandas as pd
import pytest

from gptoss_bench.runs.pauses import Pauses
from gptoss_bench.runs.request_table import derive_tables
from gptoss_bench.runs.summary import Percentiles, Stalls
from gptoss_bench.stats.client_pauses import heartbeat_lateness, measured_stalls, packed_share, slot_idle_share
from streams import MS, SENT_NS, answer, chat, trace


def at(ms: float) -> int:
    return SENT_NS + round(ms * MS)


def known(request_id: int, sent_ms: float, due_ms: float, done_ms: float, **fields: object):
    """A request of a run that records arrival intervals."""
    times = {"scheduled_ns": at(due_ms), "done_ns": at(done_ms), "not_before_ns": (at(sent_ms),), "read_marks": "0"}
    return trace([(1, answer())], request_id, sent_ms, **times | fields)


def test_idle_slots_count_within_the_window_and_without_the_connect() -> None:
    traces = [
        known(0, 0, -5, 40),  # idle before the window
        known(1, 60, 40, 90),  # 20 ms
        known(2, 100, 90, 120, connect_s=0.004),  # 6 ms
        known(3, 200, 90, 220),  # 10 ms until the window ends
        known(4, 0, 30, 30, sent_ns=None, connect_s=None),  # never sent
    ]
    requests, _ = derive_tables(traces)
    assert slot_idle_share(requests, (at(0), at(100)), 2) == pytest.approx(36 / 200)
    assert requests["client_queue_s"].tolist()[:4] == pytest.approx([0.005, 0.020, 0.006, 0.110])
    assert slot_idle_share(requests, None, 2) is None


def test_an_older_run_does_not_know_when_its_slots_were_free() -> None:
    requests, _ = derive_tables([chat(10, 5, 3)])
    assert slot_idle_share(requests, (SENT_NS, at(20)), 1) is None
    assert packed_share(requests) is None


def test_packed_events_are_those_of_one_segment() -> None:
    both, one = answer() + answer(" so"), answer(" it")
    source = {"timestamp_source": "kernel"}
    packed = trace([(10, one), (20, both)], not_before_ns=(at(10), at(20)), read_marks="11", **source)
    late = trace([(10, one), (20, both)], 1, not_before_ns=(at(10), at(9)), read_marks="14", **source)
    requests, events = derive_tables([packed, late])
    assert requests["packed"].tolist() == [1, 0]
    assert packed_share(requests) == 1 / 4
    exact = events["not_before_ns"] == events["arrival_ns"]
    assert exact.tolist() == [True, True, True, True, False, True]  # the last event of a late read is exact


def test_stalls_and_heartbeats_of_the_measured_phase() -> None:
    requests, _ = derive_tables([known(0, 0, 0, 300, phase="warmup"), known(1, 400, 300, 900)])
    stalls = pd.DataFrame(
        {"from_ns": [at(100), at(350), at(500)], "to_ns": [at(200), at(450), at(530)], "in_flight": 1}
    )
    beats = pd.DataFrame({"due_ns": [at(100), at(405), at(500)], "late_ns": [100 * MS, 1 * MS, 30 * MS]})
    pauses = Pauses(stalls, beats)
    found = measured_stalls(pauses, requests)
    assert (found.count, found.total_s, found.longest_s) == (2, pytest.approx(0.08), pytest.approx(0.05))
    assert heartbeat_lateness(pauses, requests).p50 == pytest.approx(0.0155)
    assert measured_stalls(pauses, requests, "sweep-2") == Stalls(count=0, total_s=0.0, longest_s=0.0)
    assert heartbeat_lateness(pauses, requests, "sweep-2") is None
    assert isinstance(heartbeat_lateness(pauses, requests), Percentiles)
