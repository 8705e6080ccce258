"""Compose the reply of a reference server in OpenAI's or Ollama's dialect: its writes as bytes, and their due times.

The `id` of each event contains `reference-<number>` with a fixed width. So the bytes are made once for all streams, and
the events that a client received can be matched with the send log.
"""

import json
import re
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from itertools import accumulate
from typing import Any

from gptoss_bench.calibration.reference.plan import ReferencePlan, SlotQueue, due_ns, fault, fault_after, split_points

SERVER_HEADER = "reference-server"
MODEL = "reference"
TOKEN_TEXTS = (" the", " café", " said", " 真実", " twice", " 🙂", " and", " naïve")  # one to four bytes a character
UNNUMBERED_ID = "reference-00000000"  # replaced by the stream's own
STREAM_ID = re.compile(rb"reference-(\d{8})")
_ERROR = "the engine failed, as planned"


@dataclass(frozen=True, slots=True)
class PlannedEvent:
    """An event or a refusal of a reply, as it is sent.

    `kind` is role, output, finish, usage, done, error, refused, or body: a reply that is not streamed. A client can
    read the event after its first `readable_at` bytes; the rest is framing.
    """

    kind: str
    tokens: int
    data: bytes
    readable_at: int


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes of a reply that are sent together, and the events in them.

    `step` is the number of tokens before them, which determines when they are due; -1: at once. `readable_at` has for
    each event the number of bytes after which a client can read it.
    """

    step: int
    data: bytes
    events: tuple[PlannedEvent, ...] = ()
    readable_at: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """The properties of a request on which its reply depends; `limit` is its token limit, None for the plan's.

    Without `streamed` the reply is one document, sent when its last token is due.
    """

    dialect: str
    limit: int | None = None
    close: bool = False  # the connection, after the reply
    streamed: bool = True


@lru_cache(maxsize=256)
def reply_writes(
    plan: ReferencePlan, wanted: StreamRequest, fault: str | None = None, after: int = 0
) -> tuple[Write, ...]:
    """Return the writes of one reply. `fault` is one of plan.FAULTS or None; it occurs after `after` output events."""
    writes = _writes(plan, wanted, fault, after)
    begun = sum(write.step < 0 for write in writes)
    paced = [writes[at : at + plan.events_per_write] for at in range(begun, len(writes), plan.events_per_write)]
    return (*writes[:begun], *map(_joined, paced))


def _joined(writes: Sequence[Write]) -> Write:
    """Return one write of all their bytes, due with the last of them."""
    starts = accumulate((len(write.data) for write in writes), initial=0)
    readable_at = tuple(start + end for start, write in zip(starts, writes, strict=False) for end in write.readable_at)
    events = tuple(event for write in writes for event in write.events)
    return Write(writes[-1].step, b"".join(write.data for write in writes), events, readable_at)


def _writes(plan: ReferencePlan, wanted: StreamRequest, fault: str | None, after: int) -> tuple[Write, ...]:
    if fault == "http":
        return (_refusal(plan, wanted, plan.http_status, "refused, as planned"),)
    tokens = plan.tokens if wanted.limit is None else min(plan.tokens, wanted.limit)
    starts = range(0, tokens, plan.tokens_per_event)
    reason = "length" if wanted.limit is not None and wanted.limit <= tokens else "stop"
    if not wanted.streamed:
        if fault == "error":
            return (_refusal(plan, wanted, 500, _ERROR, starts[after]),)
        whole = _whole(plan, wanted, tokens, reason)
        return (Write(starts[after], whole.data[: len(whole.data) // 2]),) if fault == "cut" else (whole,)
    outputs = list(_outputs(plan, wanted, tokens))
    head = _head(200, "application/x-ndjson" if wanted.dialect == "ollama" else "text/event-stream", wanted.close)
    writes = []
    first: tuple[PlannedEvent, ...] = ()
    if wanted.dialect != "ollama" and plan.role != "never":
        first = (_event(plan, "role", 0, (_openai(plan, {"role": "assistant", "content": ""}, so_far=0))),)
    if plan.role == "early":
        writes.append(_write(-1, first, head))
        head, first = b"", ()
    for step, output in zip(starts, outputs, strict=True):
        writes.append(_write(step, (*first, output), head))
        head, first = b"", ()
    if fault is None:
        return (*writes, _write(starts[-1], tuple(_ending(plan, wanted, tokens, reason)), tail=b"0\r\n\r\n"))
    begun = len(writes) - len(outputs)
    if fault == "error":
        return (*writes[: begun + after], _write(starts[after], tuple(_failure(plan, wanted)), tail=b"0\r\n\r\n"))
    cut = writes[begun + after]
    return (*writes[: begun + after], Write(cut.step, cut.data[: len(cut.data) // 2]))


def _write(step: int, events: tuple[PlannedEvent, ...], head: bytes = b"", tail: bytes = b"") -> Write:
    readable_at, length = [], len(head)
    for event in events:
        readable_at.append(length + event.readable_at)
        length += len(event.data)
    return Write(step, head + b"".join(event.data for event in events) + tail, events, tuple(readable_at))


def _event(plan: ReferencePlan, kind: str, tokens: int, message: bytes) -> PlannedEvent:
    """Return an event as one HTTP chunk. A client can read it at the CR of its last line end."""
    data = b"%x\r\n%s\r\n" % (len(message), message)
    return PlannedEvent(kind, tokens, data, len(data) - (3 if plan.crlf else 2))


def _texts(plan: ReferencePlan, tokens: int) -> Iterator[tuple[int, int, str, bool]]:
    """Yield the outputs: number of tokens before and after each, its text, and whether that is reasoning."""
    events = -(-tokens // plan.tokens_per_event)
    thinking = 0 if plan.reasoning == "none" else round(events * plan.reasoning_share)
    for at in range(events):
        first = at * plan.tokens_per_event
        so_far = min(first + plan.tokens_per_event, tokens)
        yield (
            first,
            so_far,
            "".join(TOKEN_TEXTS[token % len(TOKEN_TEXTS)] for token in range(first, so_far)),
            at < thinking,
        )


def _reasoning_fields(plan: ReferencePlan, wanted: StreamRequest) -> tuple[str, ...]:
    if wanted.dialect == "ollama":
        return ("thinking",)
    return ("reasoning", "reasoning_content") if plan.reasoning == "both" else (plan.reasoning,)


def _outputs(plan: ReferencePlan, wanted: StreamRequest, tokens: int) -> Iterator[PlannedEvent]:
    fields = _reasoning_fields(plan, wanted)
    for at, (first, so_far, text, thinks) in enumerate(_texts(plan, tokens)):
        if wanted.dialect == "ollama":
            message = {"content": "", "thinking": text} if thinks else {"content": text}
            data = _ollama(plan, message)
        else:
            data = _openai(plan, dict.fromkeys(fields if thinks else ("content",), text), so_far=so_far)
            if plan.comment_every and at % plan.comment_every == 0:
                data = b": keep-alive" + 2 * _eol(plan) + data
        yield _event(plan, "output", so_far - first, data)


def _ending(plan: ReferencePlan, wanted: StreamRequest, tokens: int, reason: str) -> Iterator[PlannedEvent]:
    if wanted.dialect == "ollama":
        counts = _ollama_counts(plan, tokens)
        yield _event(plan, "finish", 0, (_ollama(plan, {"content": ""}, done=True, done_reason=reason, **counts)))
        return
    yield _event(plan, "finish", 0, (_openai(plan, {}, so_far=tokens, reason=reason)))
    if plan.usage != "none":
        yield _event(plan, "usage", 0, (_sse(plan, {**_OPENAI, "choices": [], "usage": _usage(plan, tokens)})))
    yield _event(plan, "done", 0, (b"data: [DONE]" + 2 * _eol(plan)))


def _failure(plan: ReferencePlan, wanted: StreamRequest) -> Iterator[PlannedEvent]:
    if wanted.dialect == "ollama":
        yield _event(plan, "error", 0, (_line(plan, {"id": UNNUMBERED_ID, "error": _ERROR})))
        return
    error = {"message": _ERROR, "type": "InternalServerError", "code": 500}
    yield _event(plan, "error", 0, (_sse(plan, {"id": _OPENAI["id"], "error": error})))
    yield _event(plan, "done", 0, (b"data: [DONE]" + 2 * _eol(plan)))


def _refusal(plan: ReferencePlan, wanted: StreamRequest, status: int, text: str, step: int = -1) -> Write:
    error = text if wanted.dialect == "ollama" else {"message": text, "code": status}
    data = document({"id": UNNUMBERED_ID, "error": error}, status, wanted.close)
    return _write(step, (PlannedEvent("refused", 0, data, len(data)),))


def _whole(plan: ReferencePlan, wanted: StreamRequest, tokens: int, reason: str) -> Write:
    """Return a reply that is not streamed: one document, due with the last output."""
    outputs = list(_texts(plan, tokens))
    answer = "".join(text for _, _, text, thinks in outputs if not thinks)
    reasoning = "".join(text for _, _, text, thinks in outputs if thinks)
    message = {"role": "assistant", "content": answer}
    message |= dict.fromkeys(_reasoning_fields(plan, wanted), reasoning) if reasoning else {}
    if wanted.dialect == "ollama":
        ending = {"done": True, "done_reason": reason, **_ollama_counts(plan, tokens)}
        content = {"id": UNNUMBERED_ID, "model": MODEL, "message": message, **ending}
    else:
        choice = {"index": 0, "message": message, "finish_reason": reason}
        usage = {} if plan.usage == "none" else {"usage": _usage(plan, tokens)}
        content = {**_OPENAI, "object": "chat.completion", "choices": [choice], **usage}
    data = document(content, close=wanted.close)
    return _write(outputs[-1][0], (PlannedEvent("body", tokens, data, len(data)),))


_OPENAI = {"id": f"chatcmpl-{UNNUMBERED_ID}", "object": "chat.completion.chunk", "created": 1762000000, "model": MODEL}


def _openai(plan: ReferencePlan, delta: dict[str, str], *, so_far: int, reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    running = {"usage": _usage(plan, so_far)} if plan.usage == "continuous" else {}
    return _sse(plan, {**_OPENAI, "choices": [choice], **running})


def _ollama(plan: ReferencePlan, message: dict[str, str], *, done: bool = False, **more: Any) -> bytes:
    content = {"role": "assistant", **message}
    return _line(plan, {"id": UNNUMBERED_ID, "model": MODEL, "message": content, "done": done, **more})


def _usage(plan: ReferencePlan, completion: int) -> dict[str, int]:
    prompt = plan.prompt_tokens
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _ollama_counts(plan: ReferencePlan, completion: int) -> dict[str, int]:
    return {} if plan.usage == "none" else {"prompt_eval_count": plan.prompt_tokens, "eval_count": completion}


def _sse(plan: ReferencePlan, message: dict[str, Any]) -> bytes:
    return b"data: " + _json(message) + 2 * _eol(plan)


def _line(plan: ReferencePlan, message: dict[str, Any]) -> bytes:
    return _json(message) + _eol(plan)


def _eol(plan: ReferencePlan) -> bytes:
    return b"\r\n" if plan.crlf else b"\n"


def _json(message: dict[str, Any]) -> bytes:
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()


def document(content: dict[str, Any], status: int = 200, close: bool = False) -> bytes:
    """Return a complete response with a JSON body."""
    body = _json(content)
    return _head(status, "application/json", close, length=len(body)) + body


def _head(status: int, content_type: str, close: bool, length: int | None = None) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Planned"
    framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    lines = [f"HTTP/1.1 {status} {phrase}", f"Server: {SERVER_HEADER}", f"Content-Type: {content_type}", framing]
    return "\r\n".join([*lines, *(["Connection: close"] if close else []), "", ""]).encode()


@dataclass(frozen=True, slots=True)
class SentStream:
    """What was sent of one stream.

    `completes[i]` are the events that write i completed. `timestamps` has the times before and after each write (ns);
    if the client disconnected, the later ones are missing, and their events were not sent.
    """

    number: int
    asked_ns: int
    completes: tuple[tuple[PlannedEvent, ...], ...]
    due_ns: list[int]
    timestamps: "array[int]"
    fault: str | None


def named_reply(data: bytes, number: int) -> bytes:
    """Return the bytes with the stream's own id in place of UNNUMBERED_ID, which has the same length."""
    return data.replace(UNNUMBERED_ID.encode(), b"reference-%08d" % number)


def composed_reply(
    plan: ReferencePlan,
    wanted: StreamRequest,
    number: int,
    asked_ns: int,
    *,
    epoch_ns: int,
    queue: SlotQueue | None = None,
) -> tuple[list[bytes], SentStream]:
    """Return the bytes of each write of stream `number`, and its record, which has no timestamps yet.

    With a queue its tokens are due when a slot of it serves the request.
    """
    failure = fault(plan, number)
    tokens = min(plan.tokens, wanted.limit or plan.tokens)
    events = -(-tokens // plan.tokens_per_event)
    after = fault_after(plan, number, events) if failure in ("error", "cut") else 0
    writes = reply_writes(plan, wanted, failure, after)
    parts = [named_reply(write.data, number) for write in writes]
    begin_ns = asked_ns if queue is None else queue.begin_ns(number, asked_ns, tokens)
    due = due_ns(plan, number, [write.step for write in writes], begin_ns, epoch_ns)
    completes = tuple(write.events for write in writes)
    if plan.torn > 1:
        parts, due, completes = _split(plan, number, writes, parts, due)
    return parts, SentStream(number, asked_ns, completes, due, array("q"), failure)


def _split(
    plan: ReferencePlan, number: int, writes: Sequence[Write], parts: list[bytes], due: list[int]
) -> tuple[list[bytes], list[int], tuple[tuple[PlannedEvent, ...], ...]]:
    """Split each write into parts, sent early except the last; an event belongs to the part that completes it."""
    gap_ns = round(plan.torn_gap_s * 1e9)
    torn_parts, torn_due, completes = [], [], []
    splits = split_points(plan, number, list(map(len, parts)))
    for write, part, timestamp, ends in zip(writes, parts, due, splits, strict=True):
        torn_parts += [part[start:end] for start, end in zip([0, *ends], ends, strict=False)]
        torn_due += [timestamp - gap_ns * left for left in range(len(ends) - 1, -1, -1)]
        within = [bisect_left(ends, end) for end in write.readable_at]
        completes += [
            tuple(event for event, part_at in zip(write.events, within, strict=True) if part_at == at)
            for at in range(len(ends))
        ]
    for at in range(1, len(torn_due)):  # a gap longer than the pace delays the rest; the order stays
        torn_due[at] = max(torn_due[at], torn_due[at - 1])
    return torn_parts, torn_due, tuple(completes)
