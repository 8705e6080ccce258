"""Decode response bodies into columns, one value per event: repeated events by their shape, others by the decoder.

The columns are those that `wire` alone would give, whatever the bytes: a shape reads only what `wire` would read in
the same way, and only where no message is open.
"""

import json
import re
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

from gptoss_bench.runs.event_shapes import Shape
from gptoss_bench.runs.event_tokens import UNKNOWN, count_so_far
from gptoss_client import Decoder, Event, Reply, assemble_reply, decode_body

KINDS = ("error", "output", "usage", "finish", "role", "done", "other")

_OUTPUT = KINDS.index("output")
_SILENCE = assemble_reply([])
_CONTROL = re.compile(rb"[\x00-\x1f]")
_EVENTS_PER_SHAPE = 2_000  # a shape costs about as much as so many events that it saves


class Columns:
    """Columns to which bodies are added one by one; a row is an event, in order of body and arrival.

    `end` is the offset behind the last byte of the event in its body; `kind` is an index into KINDS;
    `count` is the server's running count of tokens, `ids` how many token ids the event lists, both UNKNOWN where it
    does not say; `events` has the rows of each body, and `length` its bytes.
    """

    def __init__(self, most_shapes: int = 4) -> None:
        """Create empty columns; `most_shapes` shapes of each form are remembered."""
        self.end = array("q")
        self.kind = array("b")
        self.output = array("b")
        self.answer_chars = array("i")
        self.reasoning_chars = array("i")
        self.count = array("q")
        self.ids = array("q")
        self.events = array("q")
        self.length = array("q")
        self._shapes: dict[str, list[Shape]] = {"sse": [], "json": []}
        self._most_shapes = most_shapes
        self._may_learn = 2 * most_shapes * _EVENTS_PER_SHAPE

    def add(self, pieces: Sequence[bytes]) -> Reply:
        """Add the events of one body and return their reply."""
        body, ends = b"".join(pieces), list(accumulate(map(len, pieces)))
        rows = len(self.end)
        if not body:  # a stopped load may leave a million of these, requests that were never sent
            self.events.append(0)
            self.length.append(0)
            return _SILENCE
        try:
            said = self._by_shapes(body, ends)
        except ValueError:  # invalid text: the decoder reports it
            self._cut(rows)
            said = self._append(decode_body(pieces), ends)
        count = len(self.end) - rows
        outputs = self.output[rows:].count(1)
        self.events.append(count)
        self.length.append(len(body))
        return replace(assemble_reply(said), events=count, output_events=outputs)

    def _by_shapes(self, body: bytes, ends: list[int]) -> list[Event]:
        """Return events that make the same reply as all events of this body."""
        decoder, said, at = Decoder(), list[Event](), 0
        while at < len(body):
            form = decoder.format_at_boundary
            for shape in self._shapes.get(form, ()):
                if run := self._run(shape, body, at):
                    event, at = run
                    said.append(event)
                    break
            else:
                stop = _message_end(body, at, form)
                events = _feed(decoder, body, at, stop, ends)
                said += self._append(events, ends)
                if form and len(events) == 1 and decoder.format_at_boundary:
                    self._learn(body[at:stop], form)
                at = stop
        return said + self._append(decoder.close(), ends)

    def _run(self, shape: Shape, body: bytes, at: int) -> tuple[Event, int] | None:
        """Add the events from here on that have this shape; return one event with their content, and their end."""
        texts, ends, counts = shape.run(body, at)
        rows = len(ends)
        if not rows:
            return None
        words, chars = _decoded(texts)
        silent, speaking = self.answer_chars, self.reasoning_chars
        if not shape.reasoning:
            silent, speaking = speaking, silent
        self.end.extend(ends)
        self.kind.frombytes(bytes([_OUTPUT]) * rows)
        self.output.frombytes(b"\x01" * rows)
        speaking.extend(chars)
        silent.extend(array("i", [0]) * rows)
        ids = shape.example.token_ids
        self.count.extend(array("q", counts or [UNKNOWN] * rows))
        self.ids.extend(array("q", [UNKNOWN if ids is None else ids]) * rows)
        self._may_learn += rows
        # what the last of them states is what a reply takes from them
        last = shape.example if shape.alike else decode_body([body[ends[-2] if rows > 1 else at : ends[-1]]])[0]
        return shape.saying(words, last), ends[-1]

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

    def _cut(self, rows: int) -> None:
        for column in (self.end, self.kind, self.output, self.answer_chars, self.reasoning_chars, self.count, self.ids):
            del column[rows:]

    def _learn(self, message: bytes, form: str) -> None:
        """Remember the shape of this event, if it has one; the latest is tried first."""
        if self._may_learn < _EVENTS_PER_SHAPE:
            return
        self._may_learn -= _EVENTS_PER_SHAPE
        if shape := Shape.of(message, form):
            self._shapes[form] = [shape, *self._shapes[form]][: self._most_shapes]


def _message_end(body: bytes, at: int, form: str) -> int:
    """Return where the message that begins here may end; the decoder decides, this bounds what it gets at once."""
    mark = b"\n\n" if form == "sse" else b"\n"
    found = body.find(mark, at)
    return found + len(mark) if found >= 0 else len(body)


def _feed(decoder: Decoder, body: bytes, at: int, stop: int, ends: list[int]) -> list[Event]:
    """Return the events of these bytes, decoded in the pieces in which they came."""
    events: list[Event] = []
    while at < stop:
        piece = bisect_right(ends, at)  # the one that holds this byte
        end = min(ends[piece], stop)
        events += decoder.feed(body[at:end], piece)
        at = end
    return events


def _decoded(raw: list[bytes]) -> tuple[str, list[int]]:
    """Return the joined text of JSON strings without quotes, and the length of each. Raises ValueError if invalid."""
    together = b"".join(raw)
    if _CONTROL.search(together):
        raise ValueError("a control character in a JSON string")
    if together.isascii() and b"\\" not in together:
        return together.decode(), list(map(len, raw))
    texts = [json.loads(f'"{text.decode()}"') if b"\\" in text else text.decode() for text in raw]
    return "".join(texts), list(map(len, texts))
