"""Classify how a request ended, from its trace and its decoded reply: completed, cancelled, or a class of failure."""

from dataclasses import dataclass
from typing import Literal

from gptoss_client.decoder import MALFORMED
from gptoss_client.dialects import Reply
from gptoss_client.outside import TEXT_LIMIT, one_line
from gptoss_client.trace import Ending, Trace

Failure = Literal[
    "connect",
    "timeout",
    "http_4xx",
    "http_5xx",
    "in_stream_error",
    "cut",
    "malformed",
    "empty",
    "over_limit",
    "earlier_turn_failed",
]
ERROR_CHARS = TEXT_LIMIT

_FAILURES: dict[Ending, Failure] = {"timeout": "timeout", "cut": "cut", "malformed": "malformed"}
READ_DIALECTS = "(chat) completions and Responses of OpenAI, Messages of Anthropic, Ollama and llama.cpp"


@dataclass(frozen=True, slots=True)
class Outcome:
    """`name` is "completed", "failed", "cancelled" or "lost"; `failure` is the class of a failed request, else None.

    `error` is the reason as one line of at most ERROR_CHARS characters, None for a completed request.
    """

    name: Literal["completed", "failed", "cancelled", "lost"]
    failure: Failure | None = None
    error: str | None = None


def request_outcome(trace: Trace, reply: Reply) -> Outcome:
    """Return the outcome of one request; the first rule that applies decides.

    1. Cancelled by this process: cancelled; its process was gone: lost.
    2. Not sent because the limit of requests in flight was reached: over_limit; because an earlier turn of its
       conversation failed: earlier_turn_failed; else not sent, or refused: connect.
    3. An error status, however its body ended: http_4xx or http_5xx; another status than 200: malformed.
    4. A body that cannot be parsed: malformed (with the reason of the transport if it has one, such as its coding); an
       error event in the stream: in_stream_error.
    5. The transport did not complete: timeout, cut or malformed.
    6. A body without a message, or a whole stream without output and without tokens: empty.
    7. A complete body whose stream has no end mark: cut.
    """
    if trace.ending in ("cancelled", "lost"):
        return Outcome(trace.ending, error=_one_line(trace.error))
    if trace.ending in ("over_limit", "earlier_turn_failed"):
        return _failed(trace.ending, trace.error or "not sent")
    if trace.sent_ns is None or trace.ending == "connect":
        return _failed("connect", trace.error or "not sent")
    if trace.status is not None and trace.status != 200:
        texts = (_body_text(trace), trace.error) if trace.status >= 400 else (trace.error, _body_text(trace))
        return _failed(_status_failure(trace.status), texts[0] or texts[1] or f"HTTP status {trace.status}")
    problem = _problem(trace, reply)
    return Outcome("completed") if problem is None else _failed(*problem)


def _problem(trace: Trace, reply: Reply) -> tuple[Failure, str | None] | None:
    """Return class and reason of a failure under HTTP status 200; None if the request completed."""
    if reply.error is not None and not reply.error.startswith(MALFORMED):
        return "in_stream_error", reply.error
    if trace.ending == "malformed" or (reply.error is None and trace.ending != "complete"):
        return _FAILURES[trace.ending], trace.error
    if reply.error is not None:
        return "malformed", reply.error
    found = unfinished_reply(reply)
    return ("cut", found[1] + _ollamas_reason(trace)) if found is not None and found[0] == "cut" else found


def unfinished_reply(reply: Reply) -> tuple[Failure, str] | None:
    """Return why a reply that reports no error is not a completed one: class and reason; None if it is."""
    if not reply.events:
        return "empty", "there is no body, or no message in it"
    if reply.ended:
        ending = f"finish reason {reply.finish_reason}" if reply.finish_reason else "no finish reason"
        nothing = not reply.output_events and not reply.completion_tokens
        return ("empty", f"the reply ended without output and without tokens ({ending})") if nothing else None
    if not reply.output_events and reply.prompt_tokens is None and reply.completion_tokens is None:
        return "cut", f"the stream ended, and no message of it has an end, output or tokens: {READ_DIALECTS} are read"
    return "cut", "the stream ended before its end: no finish_reason or [DONE]"


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
