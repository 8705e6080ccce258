"""Classify how a request ended, from its trace and its decoded reply: completed, cancelled, or a class of failure."""

from dataclasses import dataclass
from typing import Literal

from gptoss_client.decoder import MALFORMED
from gptoss_client.dialects import Reply
from gptoss_client.outside import one_line
from gptoss_client.trace import Trace

Failure = Literal["connect", "timeout", "http_4xx", "http_5xx", "in_stream_error", "cut", "malformed", "over_limit"]
ERROR_CHARS = 300


@dataclass(frozen=True, slots=True)
class Outcome:
    """`name` is "completed", "failed" or "cancelled"; `failure` is the class of a failed request, else None.

    `error` is the reason as one line of at most ERROR_CHARS characters, None for a completed request.
    """

    name: Literal["completed", "failed", "cancelled"]
    failure: Failure | None = None
    error: str | None = None


def request_outcome(trace: Trace, reply: Reply) -> Outcome:
    """Return the outcome of one request; the first rule that applies decides.

    1. Cancelled by this process: cancelled.
    2. Not sent because the limit of requests in flight was reached: over_limit; else not sent, or refused: connect.
    3. An error status, however its body ended: http_4xx or http_5xx; another status than 200: malformed.
    4. A body that cannot be parsed: malformed; an error event in the stream: in_stream_error.
    5. The transport did not complete: timeout, cut or malformed.
    6. A complete body whose stream has no end mark: cut.
    """
    if trace.ending == "cancelled":
        return Outcome("cancelled", error=_one_line(trace.error))
    if trace.sent_ns is None or trace.ending == "connect":
        return _failed("over_limit" if trace.ending == "over_limit" else "connect", trace.error or "not sent")
    if trace.status is not None and trace.status != 200:
        texts = (_body_text(trace), trace.error) if trace.status >= 400 else (trace.error, _body_text(trace))
        return _failed(_status_failure(trace.status), texts[0] or texts[1] or f"HTTP status {trace.status}")
    if reply.error is not None:
        return _failed("malformed" if reply.error.startswith(MALFORMED) else "in_stream_error", reply.error)
    if trace.ending != "complete":
        return _failed(trace.ending, trace.error)
    no_end = "response body is complete, but the stream has no finish_reason or [DONE]"
    return Outcome("completed") if reply.ended else _failed("cut", no_end + _ollamas_reason(trace))


def _ollamas_reason(trace: Trace) -> str:
    """Return why an Ollama ends a stream so, empty for other servers."""
    body = b"".join(piece for _, piece in trace.pieces)
    if b'"done":false}' not in body and b'"fp_ollama"' not in body:
        return ""
    if b'"model":"",' in body:  # a chunk of /v1 that is empty but for the fingerprint
        return ": an error of Ollama, which its OpenAI API does not pass on (--dialect ollama shows it)"
    return ": Ollama ends a reply so after 30 equal tokens in a row"


def _failed(failure: Failure, error: str | None) -> Outcome:
    return Outcome("failed", failure, _one_line(error))


def _status_failure(status: int) -> Failure:
    return "http_4xx" if status // 100 == 4 else "http_5xx" if status // 100 == 5 else "malformed"


def _body_text(trace: Trace) -> str | None:
    return _one_line(b"".join(piece for _, piece in trace.pieces).decode("utf-8", "replace"))


def _one_line(text: str | None) -> str | None:
    """Return the text as one line of at most ERROR_CHARS characters, None if it is empty."""
    return one_line(text)[:ERROR_CHARS] or None if text else None
