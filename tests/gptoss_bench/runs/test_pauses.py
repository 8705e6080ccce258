"""Stalls follow from late heartbeats and late reads, whatever their order, and are drawn with the request."""

from dataclasses import replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gptoss_bench.figures.comparison import request_timeline
from gptoss_bench.runs.derived_tables import write_tables
from gptoss_bench.runs.manifest import Manifest
from gptoss_bench.runs.pauses import STALL_NS, PauseFinder, read_pauses
from gptoss_bench.runs.request_detail import request_events, request_stalls
from streams import MS, SENT_NS, answer, chat, trace

intervals = st.tuples(st.integers(0, 10**9), st.integers(0, 10**8))


@given(st.lists(intervals), st.lists(intervals), st.lists(intervals))
def test_stalls_are_the_union_of_what_was_late(beats, reads, flights):
    finder = PauseFinder()
    finder.add([chat(1, 1, 1, beats=tuple(beats))])
    for arrival_ns, lag_ns in reads:
        read = {"pieces": ((arrival_ns, b"x"),), "lags_ns": (lag_ns,), "not_before_ns": (0,)}
        finder.add([replace(trace([]), **read)])
    sent, done = [begin for begin, _ in flights], [begin + length for begin, length in flights]
    found = finder.pauses(sent, done)
    late = [(begin, begin + length) for begin, length in [*beats, *reads] if length > STALL_NS]
    rows = list(found.stalls.itertuples(index=False))
    assert all(earlier.to_ns < later.from_ns for earlier, later in pairwise(rows))
    for begin, end in late:
        assert any(row.from_ns <= begin and end <= row.to_ns for row in rows)
    edges = {edge for interval in late for edge in interval}
    for row in rows:
        assert {row.from_ns, row.to_ns} <= edges
        assert row.in_flight == sum(
            begin < row.to_ns and end >= row.from_ns for begin, end in zip(sent, done, strict=True)
        )
    assert found.heartbeats["due_ns"].is_monotonic_increasing
    assert len(found.heartbeats) == len(beats)


def test_a_run_without_heartbeats_and_bounds_does_not_know_its_stalls(tmp_path):
    write_tables([chat(1, 1, 1, lags_ns=(5,) * 5)], tmp_path)
    assert read_pauses(tmp_path) is None


def test_the_timeline_of_a_request_shows_the_stalls_within_it(folder):
    due_ns = SENT_NS - 10 * MS
    folder.add(trace([(20, answer()), (120, answer())], beats=((due_ns, 60 * MS), (SENT_NS + 900 * MS, 50 * MS))))
    run = folder.finish()
    stalls = request_stalls(run, 0)
    assert stalls.to_numpy().tolist() == [[0.0, 0.05]]
    [axes] = request_timeline(request_events(run, 0), 0, Manifest(run_id="r"), stalls).axes
    assert "client stood still" in axes.get_legend_handles_labels()[1]
