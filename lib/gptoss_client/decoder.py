"""Decode the bytes of a response body, split anywhere, to events.

A body is SSE, NDJSON, one JSON document, or unexpected text; its first line that is not blank decides. Decoding takes
time in proportion to the number of bytes and never raises: a message that cannot be parsed becomes an event of kind
"error" whose text starts with "malformed:". What a server writes about its failure is an error event too, also where
SSE has no place for it: in a field `error:`, or on a line of its own without `data:`.
"""

import json
import re
from collections.abc import Iterable

from gptoss_client.dialects import Event, error_text, parse_message

MALFORMED = "malformed:"  # prefix of the error of a message that cannot be parsed

# of SSE, in the WHATWG HTML standard; and the one in which llama-server reported errors until September 2025
_FIELDS = (b"data", b"event", b"id", b"retry", b"error")
_ERROR_LINE = re.compile(rb"\s*(?:\w+ ){0,3}(?:error|exception|traceback)\b:?\s*", re.IGNORECASE)  # text, no field
_ERROR_TYPE = re.compile(rb"(?:.*[._-])?(?:error|exception)|(?:response\.)?failed", re.IGNORECASE)  # of an SSE message
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"\x78\x01": "deflate", b"\x78\x9c": "deflate"}
_BOM = b"\xef\xbb\xbf"
_BEFORE_FIRST_LINE = re.compile(rb"\A(?:[\xef\xbb\xbf]*\s*\n)*[\xef\xbb\xbf]*")
# where the json module reports an error in truncated JSON: at the end, or at a partial word, number or \\u escape
_CUT = re.compile(r"\s*(t|tr|tru|f|fa|fal|fals|n|nu|nul|-|[.eE][-+]?|(?<=\\)u[0-9a-fA-F]{0,4})?\s*")
_COMMENTS = re.compile(rb"(?<=\n):[^\n]*\n")
_BLANK_LINES = re.compile(rb"\n{3,}")
_EXCERPT_BYTES = 120  # of unexpected text, quoted in an error
_TEXT_BYTES = 4096  # of unexpected text, kept to describe it


class Decoder:
    """Incremental decoder of one body: `feed` its pieces in order, then `close`.

    An event is returned as soon as its last byte has arrived. SSE follows section 9.2.6 of the WHATWG HTML standard,
    with two exceptions: invalid UTF-8 is an error event, not U+FFFD, and a complete last message is accepted although
    its blank line is missing (some servers omit it).
    """

    def __init__(self) -> None:
        self._piece = -1
        self._last_piece = 0  # the latest piece that was not empty
        self._tail = bytearray()  # a line whose end has not arrived
        self._after_cr = False
        self._format = ""  # "sse", "json" or "text", once known
        self._data: list[bytes] = []  # SSE: data lines of the open message
        self._type = b""
        self._document: list[bytes] = []  # JSON: lines of a document that spans several
        self._document_piece = 0
        self._text = bytearray()
        self._streamed = set[str]()  # kinds of text of a Responses stream that came in parts

    @property
    def format_at_boundary(self) -> str:
        """Return "sse" or "json" if the next byte starts a message, "" inside one or if the format is unknown."""
        open_ = self._tail or self._after_cr or self._data or self._type or self._document
        return "" if open_ or self._format == "text" else self._format

    def feed(self, data: bytes, piece: int | None = None) -> list[Event]:
        """Return the events that this piece completes. `piece` is its index if it is not the next one."""
        self._piece = self._piece + 1 if piece is None else piece
        if not data:
            return []
        self._last_piece = self._piece
        if self._after_cr:  # the line ended with CR; an LF that follows belongs to it
            data = data.removeprefix(b"\n")
            self._after_cr = False
        if b"\r" in data:
            self._after_cr = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if b"\n" not in data:
            self._tail += data
            return []
        if self._format != "text":
            data = self._without_fill(data)
        lines = data.split(b"\n")
        if self._tail:
            lines[0] = bytes(self._tail) + lines[0]
        self._tail = bytearray(lines.pop())
        events: list[Event] = []
        for line in lines:
            self._line(line, events)
        return events

    def _without_fill(self, data: bytes) -> bytes:
        """Return the data without comments of SSE and with at most two line breaks in a row: these may be millions."""
        comments = b"\n:" in data or (data.startswith(b":") and not self._tail)
        if not comments and b"\n\n\n" not in data:
            return data
        line = (bytes(self._tail[:_EXCERPT_BYTES]) + data).lstrip(_BOM + b"\n")[:_EXCERPT_BYTES].partition(b"\n")[0]
        found = self._format or _format_of(line)
        if comments and found == "sse":
            if not self._format:
                data = _BEFORE_FIRST_LINE.sub(b"", bytes(self._tail) + data)
                self._tail.clear()
            self._format = found  # the line that shows it may be a comment
            first = b"" if self._tail else b"\n"
            data = _COMMENTS.sub(b"", first + data)[len(first) :]
        return data if found == "text" else _BLANK_LINES.sub(b"\n\n", data)

    def close(self) -> list[Event]:
        """Return the events that the end of the body completes; drop a truncated message without an error."""
        self._piece = self._last_piece
        events: list[Event] = []
        if self._tail:
            self._line(bytes(self._tail), events)
            self._tail.clear()
        if self._data and _is_whole(b"\n".join(self._data)):
            self._sse_line(b"", events)
        self._data = []
        self._end_document(events, at_close=True)
        if self._text:
            events.append(_not_a_stream(self._piece, bytes(self._text)))
            self._text.clear()
        return events

    def _line(self, line: bytes, events: list[Event]) -> None:
        if not self._format:
            line = line.lstrip(_BOM)
            self._format = _format_of(line)
        if self._format == "sse":
            self._sse_line(line, events)
        elif self._format == "json":
            self._json_line(line, events)
        elif self._format == "text" and len(self._text) < _TEXT_BYTES:
            self._text += line[:_TEXT_BYTES] + b"\n"

    def _sse_line(self, line: bytes, events: list[Event]) -> None:
        if not line:
            if self._data:
                payload = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
                self._data = []
                events.append(_message(self._piece, payload, self._type, self._streamed))
            elif _ERROR_TYPE.fullmatch(self._type):
                events.append(Event(self._piece, "error", error=error_text("")))
            self._type = b""
            return
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
        elif name == b"event":
            self._type = value.strip()
        elif (event := _bare_error(self._piece, line)) is not None:
            events.append(event)

    def _json_line(self, line: bytes, events: list[Event]) -> None:
        """Parse a line as a message; a truncated one starts a document of several lines (pretty-printed JSON)."""
        if not line.strip():
            return
        if line.startswith(b"{"):  # a new message: a document that is still open will not be completed
            self._end_document(events)
        if not self._document:
            event = _text_error(self._piece, line) or _message(self._piece, line)
            if event.kind != "error" or not _is_truncated(line):
                events.append(event)
                return
        self._document.append(line)
        self._document_piece = self._piece
        if line.rstrip() == b"}":
            self._end_document(events)

    def _end_document(self, events: list[Event], at_close: bool = False) -> None:
        if not self._document:
            return
        payload = b"\n".join(self._document)
        self._document = []
        if not (at_close and _is_truncated(payload)):
            events.append(_message(self._document_piece, payload))


def decode_body(pieces: Iterable[bytes]) -> list[Event]:
    """Return all events of a body that is complete."""
    decoder = Decoder()
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return events + decoder.close()


def _format_of(line: bytes) -> str:
    """Return the format of a body by its first line: "sse", "json" or "text"; "" if the line is blank."""
    head = line.strip()
    if not head:
        return ""
    if head.startswith(b"{"):
        return "json"
    field = head.partition(b":")[0].lower()
    # a body may be cut inside its first field name
    return "sse" if not field or field in _FIELDS or any(name.startswith(head) for name in _FIELDS) else "text"


def _bare_error(piece: int, line: bytes) -> Event | None:
    """Return the error that a server wrote on a line of an SSE stream without `data:`; None for any other line."""
    if not line.lstrip().startswith(b"{"):
        return _text_error(piece, line)
    event = _message(piece, line)
    return event if event.error is not None and not event.error.startswith(MALFORMED) else None


def _text_error(piece: int, line: bytes) -> Event | None:
    """Return the error of a line such as `error: {"message": "…"}` or `Internal Server Error`; None for any other."""
    found = _ERROR_LINE.match(line)
    if found is None:
        return None
    if line.startswith(b"{", found.end()):
        return _message(piece, line[found.end() :], b"error")
    is_field = found[0].strip().lower() in (b"error", b"error:")
    return Event(piece, "error", error=error_text(line[found.end() if is_field else 0 :].decode("utf-8", "replace")))


def _message(piece: int, payload: bytes, sse_type: bytes = b"", streamed: set[str] | None = None) -> Event:
    """Return the event of one message: JSON, [DONE], or blank (a keep-alive of some servers)."""
    is_error = sse_type != b"" and _ERROR_TYPE.fullmatch(sse_type) is not None
    try:
        text = payload.decode()
        if text[:1] != "{":
            if not text.strip():
                return Event(piece, "other")
            if text.strip() == "[DONE]":
                return Event(piece, "done", ended=True)
        found = json.loads(text)
        return parse_message(piece, found, is_error=is_error, within='"error' in text, streamed=streamed)
    except (ValueError, RecursionError) as problem:
        if is_error:  # plain text
            return Event(piece, "error", error=error_text(payload.decode("utf-8", "replace")))
        what = "not UTF-8" if isinstance(problem, UnicodeDecodeError) else "not JSON"
        return Event(piece, "error", error=f"{MALFORMED} {what} ({problem}): {_excerpt(payload)!r}")


def _is_whole(payload: bytes) -> bool:
    """Return whether the last message of a stream is complete although the blank line after it is missing."""
    if payload.strip() == b"[DONE]":
        return True
    try:
        return isinstance(json.loads(payload), dict)
    except (ValueError, RecursionError):
        return False


def _is_truncated(payload: bytes) -> bool:
    """Return whether this is the beginning of a JSON object, as opposed to text that is not JSON."""
    if not payload.lstrip().startswith(b"{"):
        return False
    try:
        json.loads(payload)
    except json.JSONDecodeError as problem:
        return problem.msg.startswith("Unterminated") or _CUT.fullmatch(problem.doc, problem.pos) is not None
    except UnicodeDecodeError as problem:
        return problem.reason == "unexpected end of data"
    except (ValueError, RecursionError):
        pass
    return False


def _not_a_stream(piece: int, text: bytes) -> Event:
    coding = next((name for magic, name in _MAGIC.items() if text.startswith(magic)), None)
    title = re.search(rb"<title>(.*?)</title>", text, re.DOTALL | re.IGNORECASE)
    if coding:
        what = f"the body is compressed with {coding}, but Content-Encoding identity was requested"
    elif b"\0" in text:
        what = "received binary data, not a reply"
    elif title or text.lstrip().startswith(b"<"):
        what = f"received an HTML page, not a reply: {_excerpt(title[1] if title else text)!r}"
    else:
        what = f"received text, not a reply: {_excerpt(text)!r}"
    return Event(piece, "error", error=f"{MALFORMED} {what}")


def _excerpt(text: bytes) -> str:
    return " ".join(text[:_EXCERPT_BYTES].decode("utf-8", "replace").split()) or "nothing"
