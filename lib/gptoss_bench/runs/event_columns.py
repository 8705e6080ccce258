"""Decode response bodies into columns, one value per event: messages with text by msgspec, others by the decoder.

The columns are the same as those of gptoss_client's decoder alone, for any bytes (`event_messages`).
"""

from array import array
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import NamedTuple, TypeVar

from gptoss_bench.runs.event_messages import OutputText, read_chunk, read_ollama_line
from gptoss_bench.runs.event_tokens import UNKNOWN, count_so_far
from gptoss_client import Decoder, Event, Reply, assemble_reply, decode_body

T = TypeVar("T")

KINDS = ("error", "output", "usage", "finish", "role", "done", "other")

_OUTPUT = KINDS.index("output")
_NO_REPLY = assemble_reply([])


class _Framing(NamedTuple):
    """The bytes before and after each message of a body, and the function that reads one."""

    start: bytes
    end: bytes
    read: Callable[[bytes], OutputText | None]


_SSE = _Framing(b"data:", b"\n\n", read_chunk)
_NDJSON = _Framing(b"", b"\n", read_ollama_line)


class Columns:
    """Columns to which bodies are added one by one; a row is an event, in order of body and arrival.

    `end` is the offset behind the last byte of the event in its body; `kind` is an index into KINDS;
    `count` is the server's running count of tokens, `ids` how many token ids the event lists, both UNKNOWN if not
    reported; `events` has the rows of each body, and `length` its bytes.
    """

    def __init__(self) -> None:
        """Create empty columns."""
        self.end = array("q")
        self.kind = array("b")
        self.output = array("b")
        self.answer_chars = array("i")
        self.reasoning_chars = array("i")
        self.count = array("q")
        self.ids = array("q")
        self.events = array("q")
        self.length = array("q")

    def add(self, pieces: Sequence[bytes]) -> Reply:
        """Add the events of one body and return their reply."""
        body, ends = b"".join(pieces), list(accumulate(map(len, pieces)))
        rows = len(self.end)
        self.length.append(len(body))
        if not body:  # a stopped load may leave a million of these, requests that were never sent
            self.events.append(0)
            return _NO_REPLY
        if framing := _framing(body):
            events = self._add_messages(body, ends, framing)
        else:
            events = self._append(decode_body(pieces), ends)
        count = len(self.end) - rows
        self.events.append(count)
        return replace(assemble_reply(events), events=count, output_events=self.output[rows:].count(1))

    def _add_messages(self, body: bytes, ends: list[int], framing: _Framing) -> list[Event]:
        """Add the events of a body and return fewer events that make the same reply."""
        separator = framing.end + framing.start
        messages = body.removeprefix(framing.start).split(separator)
        stops = list(accumulate([len(message) + len(separator) for message in messages]))
        stops[-1] = len(body)
        texts = [framing.read(message) for message in messages]
        texts[0] = texts[-1] = None  # the decoder needs the first for the format; the last may be incomplete
        decoder, events, first, at = Decoder(), list[Event](), 0, 0
        for index in [index for index, text in enumerate(texts) if text is None]:
            if first < index and decoder.format_at_boundary:
                events.append(self._append_texts([text for text in texts[first:index] if text], stops[first:index]))
                at = stops[index - 1]
            events += self._append(_feed(decoder, body, at, stops[index], ends), ends)
            first, at = index + 1, stops[index]
        return events + self._append(decoder.close(), ends)

    def _append_texts(self, texts: Sequence[OutputText], stops: list[int]) -> Event:
        """Add one row per text, which ends at this offset, and return one event with what they all contain."""
        self.end.fromlist(stops)
        self.kind.frombytes(bytes([_OUTPUT]) * len(texts))
        self.output.frombytes(b"\x01" * len(texts))
        self.answer_chars.fromlist([len(text.answer) for text in texts])
        self.reasoning_chars.fromlist([len(text.reasoning) for text in texts])
        self.count.fromlist([text.count for text in texts])
        self.ids.fromlist([text.ids for text in texts])
        usages = [text.usage for text in texts if text.usage]
        with_timings = _last([text.with_timings for text in texts])
        return Event(
            piece=0,
            kind="output",
            answer="".join([text.answer for text in texts]),
            reasoning="".join([text.reasoning for text in texts]),
            finish_reason=_last([text.finish_reason for text in texts]),
            prompt_tokens=_last([usage.prompt_tokens for usage in usages]),
            completion_tokens=_last([usage.completion_tokens for usage in usages]),
            reasoning_tokens=_last([usage.reasoning_tokens for usage in usages]),
            cached_tokens=_last([usage.cached_tokens for usage in usages]),
            timings=decode_body([with_timings])[0].timings if with_timings else None,
        )

    def _append(self, events: list[Event], ends: list[int]) -> list[Event]:
        for event in events:
            count = count_so_far(event)
            self.end.append(ends[event.piece])
            self.kind.append(KINDS.index(event.kind))
            self.output.append(event.is_output)
            self.answer_chars.append(len(event.answer))
            self.reasoning_chars.append(len(event.reasoning))
            self.count.append(UNKNOWN if count is None else count)
            self.ids.append(UNKNOWN if event.token_ids is None else event.token_ids)
        return events


def _feed(decoder: Decoder, body: bytes, at: int, stop: int, ends: list[int]) -> list[Event]:
    """Return the events of these bytes, decoded in the pieces in which they came."""
    events: list[Event] = []
    while at < stop:
        piece = bisect_right(ends, at)  # the one that holds this byte
        end = min(ends[piece], stop)
        events += decoder.feed(body[at:end], piece)
        at = end
    return events


def _framing(body: bytes) -> _Framing | None:
    """Return how the messages of a body are framed; None if only the decoder knows."""
    if b"\r" in body:
        return None
    try:
        body.decode()  # msgspec does not check the strings that it skips
    except UnicodeDecodeError:
        return None
    return _SSE if body.startswith(b"data:") else _NDJSON if body.startswith(b"{") else None


def _last(values: Sequence[T | None]) -> T | None:
    return next((value for value in reversed(values) if value is not None), None)
