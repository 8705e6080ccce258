"""How a request ended: its trace and what its stream said, to completed, cancelled, or one class of failure."""

from dataclasses import dataclass

from gptoss_client.dialects import Reply
from gptoss_client.trace import Trace

FAILURES = ("connect", "timeout", "http_4xx", "http_5xx", "in_stream_error", "cut", "malformed")
ERROR_CHARS = 300
UNREADABLE = "malformed:"  # how the decoder opens its words on a message that cannot be read


@dataclass(frozen=True, slots=True)
class Outcome:
    """`name` is completed, failed or cancelled; a failed request has its class in `failure`, one of FAILURES.

    `error` says why in one line of at most ERROR_CHARS characters, None for a completed request.
    """

    name: str
    failure: str | None = None
    error: str | None = None


def request_outcome(trace: Trace, reply: Reply) -> Outcome:
    """Judge one request; the first rule that applies decides.

    Cancelled by us; never sent or refused (connect); answered with an error status, however that body ended; answered
    with another status than 200 (malformed); a body that cannot be read (malformed); an error in the stream; the way in
    which the transport ended (timeout, cut, malformed); a whole body whose stream lacks its own end (cut).
    """
    if trace.ending == "cancelled":
        return Outcome("cancelled", error=_line(trace.error))
    failure, error = _failure(trace, reply)
    return Outcome("completed") if failure is None else Outcome("failed", failure, _line(error))


def _failure(trace: Trace, reply: Reply) -> tuple[str | None, str | None]:
    if trace.sent_ns is None or trace.ending == "connect":
        return "connect", trace.error or "not sent"
    if trace.status is not None and trace.status != 200:
        words = (_body_text(trace), trace.error) if trace.status >= 400 else (trace.error, _body_text(trace))
        return _status_failure(trace.status), words[0] or words[1] or f"HTTP status {trace.status}"
    if reply.error is not None:
        return "malformed" if reply.error.startswith(UNREADABLE) else "in_stream_error", reply.error
    if trace.ending != "complete":
        return trace.ending, trace.error
    if not reply.ended:
        return "cut", "the body is whole but the stream in it has no end"
    return None, None


def _status_failure(status: int) -> str:
    return {4: "http_4xx", 5: "http_5xx"}.get(status // 100, "malformed")


def _body_text(trace: Trace) -> str | None:
    return _line(b"".join(piece for _, piece in trace.pieces).decode("utf-8", "replace"))


def _line(text: str | None) -> str | None:
    """The text as one line, cut; None where there is none."""
    return " ".join(text.split())[:ERROR_CHARS] or None if text else None
