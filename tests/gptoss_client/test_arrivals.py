"""The interval of an arrival holds what really happened, for any order of segments, polls and reads."""

from dataclasses import dataclass
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gptoss_client.arrivals import (
    ENDS_WITH_EVENT,
    FILLED,
    ONE_SEGMENT,
    READ_BYTES,
    REORDERED,
    ReadSpan,
    body_reads,
    bounded,
    exact_or_bounded,
)
from gptoss_client.http1 import Response
from scripted import HEAD, chunk

SENT_NS = 1_000


@dataclass
class Wire:
    """A response as it was read: `truth` has the arrival of each event, `owners` the piece that completed it."""

    response: Response
    truth: list[int]
    owners: list[int]
    arrivals: list[int]


@st.composite
def wires(draw: st.DrawFn) -> Wire:
    """Segments of whole or torn chunks arrive at any time; polls and reads happen when the client gets to them."""
    events = draw(st.lists(st.integers(1, 30), min_size=1, max_size=8))
    wire, ends = b"", []
    for size in events:
        wire += chunk(b"data: %s\n\n" % (b"x" * size))
        ends.append(len(wire))
    cuts = {cut % len(wire) for cut in draw(st.lists(st.integers(1, 500), max_size=4))}
    cuts -= {end - before for end in ends for before in (1, 2)}  # the CR LF behind a chunk comes with it
    whole = set(draw(st.lists(st.sampled_from(ends), max_size=8)))
    edges = sorted({0, len(wire)} | cuts | whole)
    segments = [wire[begin:end] for begin, end in pairwise(edges)]
    at, arrived = SENT_NS + 1, []
    for _ in segments:
        at += draw(st.integers(1, 50))
        arrived.append(at)
    response = Response()
    response.feed(b"", SENT_NS, HEAD, SENT_NS, len(HEAD))
    response.spans.append(ReadSpan(1, True))
    done, arrivals, firsts = 0, [], []
    while done < len(segments):
        last = draw(st.integers(done, len(segments) - 1))  # read with everything before it
        not_before_ns = draw(st.integers(arrived[done - 1] if done else 0, arrived[done]))
        had = len(response.parts)
        data = b"".join(segments[done : last + 1])
        response.feed(b"", arrived[last] + 1, data, not_before_ns, len(data))
        response.spans.append(ReadSpan(len(response.reads), last == done))
        if len(response.parts) > had:
            arrivals.append(arrived[last])
            firsts.append((done, last))
        done = last + 1
    truth = [arrived[next(at for at, edge in enumerate(edges[1:]) if edge >= end - 2)] for end in ends]
    owners = [next(at for at, (_, last) in enumerate(firsts) if edges[last + 1] >= end - 2) for end in ends]
    return Wire(response, truth, owners, arrivals)


@given(wires())
def test_each_event_arrived_within_its_interval_and_an_exact_one_at_its_time(wire: Wire) -> None:
    response = wire.response
    bounds = exact_or_bounded(response.reads, response.parts, response.spans, wire.arrivals, SENT_NS)
    assert len(bounds.not_before_ns) == len(bounds.marks) == len(wire.arrivals) == len(body_reads(response.reads))
    for at, (true_ns, piece) in enumerate(zip(wire.truth, wire.owners, strict=True)):
        not_before_ns, arrival_ns, mark = (
            bounds.not_before_ns[piece],
            wire.arrivals[piece],
            int(bounds.marks[piece], 16),
        )
        assert not_before_ns <= true_ns <= arrival_ns
        assert not mark & ONE_SEGMENT or not_before_ns == arrival_ns
        is_last = at + 1 == len(wire.owners) or wire.owners[at + 1] != piece
        if mark & ENDS_WITH_EVENT and is_last:
            assert true_ns == arrival_ns
        assert not mark & REORDERED


@given(wires())
def test_times_of_reads_are_never_exact(wire: Wire) -> None:
    bounds = bounded(wire.response.reads, SENT_NS)
    reads = [wire.response.reads[at] for at, _, _ in body_reads(wire.response.reads)]
    assert all(
        not_before_ns < read_ns for not_before_ns, (_, read_ns, *_) in zip(bounds.not_before_ns, reads, strict=True)
    )


def piece(*reads: tuple[bytes, int, int], spans: list[ReadSpan] | None = None) -> tuple[list[int], str]:
    """Return the bounds of pieces read as (bytes, known to be absent at, arrived at)."""
    response = Response()
    response.feed(None, 0, HEAD, 0, len(HEAD))
    for data, not_before_ns, _ in reads:
        response.feed(None, 10**9, data, not_before_ns, len(data))
    arrivals = [arrival_ns for _, _, arrival_ns in reads]
    return exact_or_bounded(response.reads, response.parts, spans or [], arrivals, SENT_NS)


def test_nothing_arrives_before_its_request_is_sent() -> None:
    assert piece((chunk(b"data: 1")[:-4], 5, 2000)) == ([SENT_NS], "0")


def test_a_timestamp_before_the_poll_that_found_nothing_is_counted_as_reordered() -> None:
    assert piece((chunk(b"data: 1")[:-4], 3000, 2000)) == ([2000], f"{REORDERED:x}")


def test_a_read_that_ends_with_an_event_is_marked_whatever_its_chunks() -> None:
    event = b"data: {}\n\n"
    for data in (chunk(event), chunk(event) * 3, chunk(event * 2), chunk(b": hm\n\n" + event)):
        assert piece((data, 1500, 2000)) == ([1500], f"{ENDS_WITH_EVENT:x}"), data
    after_the_event = (
        chunk(event) + b"5\r\n", chunk(event) + b"5\r\nda", chunk(event)[:-1], chunk(event) + chunk(b": hm\n\n"),
        chunk(event + b"data: "), chunk(event) + chunk(b"\n"), chunk(b"data: 1\n"),
    )  # fmt: skip
    for data in after_the_event:
        assert piece((data, 1500, 2000)) == ([1500], "0"), data


def test_a_line_of_json_is_an_event() -> None:
    assert piece((chunk(b'{"a":1}\n') * 2, 1500, 2000)) == ([1500], f"{ENDS_WITH_EVENT:x}")
    assert piece((chunk(b'{"a":1}\n{"b"'), 1500, 2000)) == ([1500], "0")


def test_a_read_that_filled_its_buffer_is_marked() -> None:
    response = Response()
    response.feed(None, 0, HEAD, 0, len(HEAD))
    response.feed(None, 1, b"%x\r\n" % (READ_BYTES + 9) + b"x" * (READ_BYTES - 7), 0, READ_BYTES)
    assert exact_or_bounded(response.reads, response.parts, [], [9000], SENT_NS).marks == f"{FILLED:x}"
