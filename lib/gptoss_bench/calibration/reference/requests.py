"""Parse the requests to a reference server, and determine when they arrived."""

import contextlib
import ctypes
import json
import sys
import time
from dataclasses import dataclass

from gptoss_bench.calibration.reference.stream import MODEL, StreamRequest
from gptoss_client import kernel_timestamp_ns

_DIALECTS = {"/v1/chat/completions": "openai", "/api/chat": "ollama"}
_LARGEST_HEAD = 65536
_NAMED = {"name": MODEL, "model": MODEL}
DOCUMENTS: dict[str, dict[str, object]] = {
    "/v1/models": {"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": "gptoss-bench"}]},
    "/api/version": {"version": "0.0.0-reference"},
    "/api/tags": {"models": [_NAMED]},
    "/api/ps": {"models": [_NAMED]},
    "/api/show": {"details": {}, "model_info": {}},
}


@dataclass(frozen=True, slots=True)
class Request:
    """One request; `wanted` is the stream that it requests, None if it requests a document."""

    path: str
    close: bool
    wanted: StreamRequest | None


def first_request(data: bytes) -> tuple[Request | None, bytes]:
    """Return the first request in the bytes, or None if incomplete, and the rest. Raises ValueError if malformed."""
    head, blank, rest = data.partition(b"\r\n\r\n")
    if not blank:
        if len(head) > _LARGEST_HEAD:
            raise ValueError("the request head is too long")
        return None, data
    opening, *lines = head.decode("latin-1").split("\r\n")
    method, path, version = opening.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    length = int(headers.get("content-length", "0"))
    if len(rest) < length:
        return None, data
    close = version == "HTTP/1.0" or headers.get("connection", "").lower() == "close"
    dialect = _DIALECTS.get(path) if method == "POST" else None
    wanted = None if dialect is None else _wanted(dialect, rest[:length], close)
    return Request(path, close, wanted), rest[length:]


def _wanted(dialect: str, body: bytes, close: bool) -> StreamRequest:
    """Return what a request body asks for. Without `stream`, OpenAI's API does not stream, Ollama's does."""
    asked = json.loads(body)
    try:
        if dialect == "ollama":
            limit = asked.get("options", {}).get("num_predict")
        else:
            limit = asked.get("max_completion_tokens") or asked.get("max_tokens")
        limit = None if limit is None else max(1, int(limit))
        return StreamRequest(dialect, limit, close, bool(asked.get("stream", dialect == "ollama")))
    except (AttributeError, TypeError) as error:
        raise ValueError("the body is not a request") from error


def arrival_ns(ancillary: list[tuple[int, int, bytes]]) -> int:
    """Return the arrival (monotonic ns) of the bytes just read: their kernel timestamp, or now if there is none."""
    now_ns = time.perf_counter_ns()
    arrived_ns = kernel_timestamp_ns(ancillary)
    return now_ns if arrived_ns is None else now_ns - max(0, time.time_ns() - arrived_ns)


def set_timer_slack() -> None:
    """Set the timer slack of this process to 1 ns; by default Linux ends a sleep up to 50 µs late."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(29, 1, 0, 0, 0)  # PR_SET_TIMERSLACK
