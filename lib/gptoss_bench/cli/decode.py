"""`gptoss-bench decode FILE`: print the events of a recorded response as JSON lines, then their totals."""

import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from gptoss_client import MALFORMED, Event, UsageError, assemble_reply, decode_body, unfinished_reply

EXAMPLE = """example:
  curl -sN http://127.0.0.1:8000/v1/chat/completions -H 'Content-Type: application/json' -d @request.json > body.txt
  gptoss-bench decode body.txt
or through a pipe: curl -sN … | gptoss-bench decode -
"""
_LEFT_OUT = {"piece", "ended"}  # a file has no arrivals; `kind` implies `ended`


def decode(file: Annotated[str, typer.Argument(metavar="FILE", help="recorded bytes; - for standard input")]) -> int:
    """Decode a response body (SSE, NDJSON or one JSON document) or a whole HTTP/1 response.

    The exit code is 0 even if the stream reports an error, and 2 if FILE is no response at all.
    """
    events = decode_body([_body(_read(file))])
    for line in _lines(events):
        # A lone surrogate is printed as the JSON escape that the server sent.
        sys.stdout.buffer.write(line.encode("utf-8", "backslashreplace") + b"\n")
    if len(events) == 1 and (error := events[0].error or "").startswith(MALFORMED):
        sys.stdout.flush()
        raise UsageError(f"{file} is no response of a server: {error.removeprefix(MALFORMED).strip()}")
    return 0


def _read(file: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except (OSError, ValueError) as problem:  # ValueError: NUL in the path
        reason = problem.strerror if isinstance(problem, OSError) else problem
        raise UsageError(
            f"cannot read {file}: {reason}; give a file with a response, or - for standard input"
        ) from None


def _lines(events: Sequence[Event]) -> Iterator[str]:
    for index, event in enumerate(events):
        yield _json({"event": index, "kind": event.kind, **_fields(event)})
    whole = assemble_reply(events)
    problem = unfinished_reply(whole)
    error = f"{problem[0]}: {problem[1]}" if whole.error is None and problem else whole.error
    yield _json(
        {
            "answer_text": whole.answer_text,
            "reasoning_text": whole.reasoning_text,
            "completion_tokens": whole.completion_tokens,
            "events": whole.events,
            "output_events": whole.output_events,
            "finish_reason": whole.finish_reason,
            "error": error,
        }
    )


def _fields(event: Event) -> dict[str, Any]:
    """Return the fields of an event that hold a value, in the order of their declaration."""
    fields = {name: value for name, value in asdict(event).items() if name not in _LEFT_OUT and value not in (None, "")}
    if event.timings is not None:
        fields["timings"] = {name: value for name, value in fields["timings"].items() if value is not None}
    return fields


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _body(data: bytes) -> bytes:
    """Return the body of the final HTTP/1 response in `data`, its chunks joined; other bytes are a body already."""
    head = b""
    while match := re.match(rb"HTTP/1\.\d (\d).*?(?:\r?\n\r?\n|\Z)", data, re.DOTALL):
        head, data = match[0], data[match.end() :]
        if match[1] != b"1":
            break
    chunked = re.search(rb"^transfer-encoding:.*chunked", head, re.IGNORECASE | re.MULTILINE)
    return b"".join(_chunks(data)) if chunked else data


def _chunks(data: bytes) -> Iterator[bytes]:
    """Yield the chunks up to the end, a cut or an invalid size."""
    size_line = re.compile(rb"([0-9a-fA-F]+)[^\r\n]*\r?\n")
    at = 0
    while (match := size_line.match(data, at)) and (size := int(match[1], 16)):
        yield data[match.end() : match.end() + size]
        at = match.end() + size
        at += 2 if data.startswith(b"\r\n", at) else 1
