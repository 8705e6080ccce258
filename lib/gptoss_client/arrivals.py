"""Derive when each piece of a response body arrived: an interval, or one exact time. Pure; uses no socket.

A read has one kernel timestamp, that of the last TCP segment that it took. Earlier segments of the same read arrived at
an unknown time after `not_before`, the latest time at which the client knows that they were not there.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

READ_BYTES = 256 * 1024  # of one read at most; a read of so many bytes may have left some behind

ONE_SEGMENT, FILLED, ENDS_WITH_EVENT, REORDERED = 1, 2, 4, 8  # bits of a mark, see Trace.read_marks
_DIGITS = "0123456789abcdef"
_ALL_ONE_SEGMENT = _DIGITS[ONE_SEGMENT]


# One read: kernel timestamp as read (None without one), time of the read, number of body parts after it, last time at
# which its data was known to be absent, bytes with all framing. Times in ns.
Read = tuple[bytes | None, int, int, int, int]


class ArrivalBounds(NamedTuple):
    """`not_before_ns` and a mark, one hex digit, for each piece (see `Trace`)."""

    not_before_ns: list[int]
    marks: str


class ReadSpan(NamedTuple):
    """The reads up to number `reads` that are in no earlier span, and whether each of them took one TCP segment."""

    reads: int
    one_segment: bool


def body_reads(reads: Sequence[Read]) -> list[tuple[int, int, int]]:
    """Return (index of the read, first part, part behind the last) of each read that brought body parts."""
    ends = [parts for _, _, parts, _, _ in reads]
    return [(at, begin, end) for at, (begin, end) in enumerate(pairwise([0, *ends])) if end > begin]


def exact_or_bounded(
    reads: Sequence[Read], parts: Sequence[bytes], spans: Sequence[ReadSpan], arrivals_ns: Sequence[int], sent_ns: int
) -> ArrivalBounds:
    """Return the bounds of the pieces of a response whose arrivals are kernel timestamps.

    Args:
        reads: All reads of the response.
        parts: The parts of its body.
        spans: What the segment counts say about the reads; reads behind the last span are of unknown size.
        arrivals_ns: Arrival of each piece.
        sent_ns: When the request was sent.
    """
    if spans and spans[-1].reads == len(reads) and all(span.one_segment for span in spans):
        return ArrivalBounds(list(arrivals_ns), _ALL_ONE_SEGMENT * len(arrivals_ns))
    single: list[bool] = []
    for span in spans:
        single += [span.one_segment] * (span.reads - len(single))
    single += [False] * (len(reads) - len(single))
    bounds, marks = list[int](), list[str]()
    for (at, begin, end), arrival_ns in zip(body_reads(reads), arrivals_ns, strict=True):
        if single[at]:
            bounds.append(arrival_ns)
            marks.append(_ALL_ONE_SEGMENT)
            continue
        _, _, _, not_before_ns, size = reads[at]
        part = parts[begin]
        length = len(part)
        # first the usual case, because it must be fast: one chunk of one event (length in hex, two times CR LF)
        if (
            size - length == (length.bit_length() + 3 >> 2) + 4
            and part.find(b"\n\n") == length - 2
            and part[:5] == b"data:"
        ):
            mark = ENDS_WITH_EVENT
        elif size == READ_BYTES:
            mark = FILLED
        else:
            mark = ENDS_WITH_EVENT if at and _ends_with_event(size, parts[begin:end], parts[0]) else 0
        not_before_ns = max(not_before_ns, sent_ns)
        if arrival_ns < not_before_ns:
            not_before_ns, mark = arrival_ns, mark | REORDERED
        bounds.append(not_before_ns)
        marks.append(_DIGITS[mark])
    return ArrivalBounds(bounds, "".join(marks))


def bounded(reads: Sequence[Read], sent_ns: int) -> ArrivalBounds:
    """Return the bounds of the pieces of a response whose arrivals are times of reads: never exact."""
    some = [reads[at] for at, _, _ in body_reads(reads)]
    marks = "".join([f"{FILLED if size == READ_BYTES else 0:x}" for *_, size in some])
    return ArrivalBounds([max(sent_ns, not_before_ns) for *_, not_before_ns, _ in some], marks)


def _ends_with_event(size: int, parts: Sequence[bytes], first: bytes) -> bool:
    """Return whether a read of `size` bytes, not the first, ends where an event ends, apart from the chunk's CR LF.

    True only if the read is a number of whole chunks or no chunks at all, and its last event began in it. A server
    sends the CR LF behind a chunk together with it. `first` is the first part of the body.
    """
    framing = size - sum(map(len, parts))
    if framing and framing != sum([len(f"{len(part):x}") + 4 for part in parts]):
        return False
    last = parts[-1]
    if first.startswith(b"{"):
        return last.endswith(b"\n")
    event = last[last.rfind(b"\n\n", 0, -2) + 2 :] if last.count(b"\n\n") > 1 else last
    return event.endswith(b"\n\n") and event.startswith(b"data:")
