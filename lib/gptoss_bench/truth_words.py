"""What a truth server says: a whole reply as writes of bytes, in OpenAI's or Ollama's words. Pure.

Each event names the stream by `truth-<number>` in its `id`, of a fixed width: the bytes are made once for all streams,
and a client that keeps them needs nothing more to be matched with the server's log.
"""

import json
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from typing import Any

from gptoss_bench.truth_plan import TruthPlan, due_ns, fault, fault_after, tears

SERVER = "truth-server"
MODEL = "truth"
PROMPT_TOKENS = 7
WORDS = (" the", " café", " said", " 真実", " twice", " 🙂", " and", " naïve")  # one to four bytes a character
IDENTITY = re.compile(rb"truth-(\d{8})")
_NOBODY = "truth-00000000"
_ERROR = "the engine failed, as planned"


@dataclass(frozen=True, slots=True)
class Said:
    """One event, or one refusal: its kind (role, output, finish, usage, done, error, refused), tokens and bytes."""

    kind: str
    tokens: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes that go out together when their step (tokens before them, -1: at once) is due, and the events in them."""

    step: int
    data: bytes
    events: tuple[Said, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one request asks for, as far as it changes the reply. `limit` is its own limit of tokens."""

    dialect: str
    limit: int | None = None
    close: bool = False  # the connection, after the reply


@dataclass(frozen=True, slots=True)
class Sent:
    """What one stream sent. `completes[i]` are the events whose last byte was in write i; `stamps` has two a write.

    A stream that was left early has fewer stamps than writes; the events behind them were never sent.
    """

    number: int
    asked_ns: int
    completes: tuple[tuple[Said, ...], ...]
    due_ns: list[int]
    stamps: "array[int]"
    fault: str | None


def named(data: bytes, number: int) -> bytes:
    """The bytes with the number of their stream, in as many bytes."""
    return data.replace(_NOBODY.encode(), b"truth-%08d" % number)


def text(tokens: int) -> str:
    """What a reply of so many tokens says, reasoning and answer together."""
    return "".join(WORDS[at % len(WORDS)] for at in range(tokens))


def composed(plan: TruthPlan, wanted: Wanted, number: int, asked_ns: int, epoch_ns: int) -> tuple[list[bytes], Sent]:
    """The writes of the `number`-th stream, and the record of them that has no stamps yet."""
    wrong = fault(plan, number)
    events = -(-min(plan.tokens, wanted.limit or plan.tokens) // plan.tokens_per_event)
    after = fault_after(plan, number, events) if wrong in ("error", "cut") else 0
    writes = reply_writes(plan, wanted, wrong, after)
    parts = [named(write.data, number) for write in writes]
    due = due_ns(plan, number, [write.step for write in writes], asked_ns, epoch_ns)
    completes = tuple(write.events for write in writes)
    if plan.torn > 1:
        parts, due, completes = _torn(plan, number, parts, due, completes)
    return parts, Sent(number, asked_ns, completes, due, array("q"), wrong)


@lru_cache(maxsize=256)
def reply_writes(plan: TruthPlan, wanted: Wanted, fault: str | None = None, after: int = 0) -> tuple[Write, ...]:
    """The writes of one reply. `fault` as in truth_plan.FAULTS; `after` so many output events it happens."""
    if fault == "http":
        return (_refusal(plan, wanted),)
    tokens = plan.tokens if wanted.limit is None else min(plan.tokens, wanted.limit)
    starts = range(0, tokens, plan.tokens_per_event)
    outputs = list(_outputs(plan, wanted, tokens))
    head = _head(200, "application/x-ndjson" if wanted.dialect == "ollama" else "text/event-stream", wanted.close)
    writes = []
    first: tuple[Said, ...] = ()
    if wanted.dialect != "ollama" and plan.role != "never":
        first = (Said("role", 0, _chunk(_openai(plan, {"role": "assistant", "content": ""}, so_far=0))),)
    if plan.role == "early":
        writes.append(_write(-1, first, head))
        head, first = b"", ()
    for step, said in zip(starts, outputs, strict=True):
        writes.append(_write(step, (*first, said), head))
        head, first = b"", ()
    if fault is None:
        reason = "length" if wanted.limit is not None and wanted.limit <= tokens else "stop"
        return (*writes, _write(starts[-1], tuple(_ending(plan, wanted, tokens, reason)), tail=b"0\r\n\r\n"))
    begun = len(writes) - len(outputs)
    if fault == "error":
        return (*writes[: begun + after], _write(starts[after], tuple(_failure(plan, wanted)), tail=b"0\r\n\r\n"))
    torn = writes[begun + after]
    return (*writes[: begun + after], Write(torn.step, torn.data[: len(torn.data) // 2], ()))


def _torn(
    plan: TruthPlan, number: int, parts: list[bytes], due: list[int], completes: tuple[tuple[Said, ...], ...]
) -> tuple[list[bytes], list[int], tuple[tuple[Said, ...], ...]]:
    """Each write as several, the earlier ones ahead of time; the last one alone completes its events."""
    gap_ns = round(plan.torn_gap_s * 1e9)
    torn_parts, torn_due, torn_completes = [], [], []
    for part, stamp, events, ends in zip(
        parts, due, completes, tears(plan, number, list(map(len, parts))), strict=True
    ):
        torn_parts += [part[start:end] for start, end in zip([0, *ends], ends, strict=False)]
        torn_due += [stamp - gap_ns * left for left in range(len(ends) - 1, -1, -1)]
        torn_completes += [*[()] * (len(ends) - 1), events]
    for at in range(1, len(torn_due)):  # a gap longer than the pace moves the rest, not the order
        torn_due[at] = max(torn_due[at], torn_due[at - 1])
    return torn_parts, torn_due, tuple(torn_completes)


def _write(step: int, events: tuple[Said, ...], head: bytes = b"", tail: bytes = b"") -> Write:
    return Write(step, head + b"".join(event.data for event in events) + tail, events)


def _outputs(plan: TruthPlan, wanted: Wanted, tokens: int) -> Iterator[Said]:
    events = -(-tokens // plan.tokens_per_event)
    thinking = 0 if plan.reasoning == "none" else round(events * plan.reasoning_share)
    for at in range(events):
        first = at * plan.tokens_per_event
        so_far = min(first + plan.tokens_per_event, tokens)
        words = "".join(WORDS[token % len(WORDS)] for token in range(first, so_far))
        if wanted.dialect == "ollama":
            message = {"content": "", "thinking": words} if at < thinking else {"content": words}
            data = _ollama(plan, message)
        else:
            fields = ("reasoning", "reasoning_content") if plan.reasoning == "both" else (plan.reasoning,)
            data = _openai(plan, dict.fromkeys(fields if at < thinking else ("content",), words), so_far=so_far)
            if plan.comment_every and at % plan.comment_every == 0:
                data = b": keep-alive" + 2 * _eol(plan) + data
        yield Said("output", so_far - first, _chunk(data))


def _ending(plan: TruthPlan, wanted: Wanted, tokens: int, reason: str) -> Iterator[Said]:
    if wanted.dialect == "ollama":
        counts = {} if plan.usage == "none" else {"prompt_eval_count": PROMPT_TOKENS, "eval_count": tokens}
        yield Said("finish", 0, _chunk(_ollama(plan, {"content": ""}, done=True, done_reason=reason, **counts)))
        return
    yield Said("finish", 0, _chunk(_openai(plan, {}, so_far=tokens, reason=reason)))
    if plan.usage != "none":
        yield Said("usage", 0, _chunk(_sse(plan, {**_OPENAI, "choices": [], "usage": _usage(tokens)})))
    yield Said("done", 0, _chunk(b"data: [DONE]" + 2 * _eol(plan)))


def _failure(plan: TruthPlan, wanted: Wanted) -> Iterator[Said]:
    if wanted.dialect == "ollama":
        yield Said("error", 0, _chunk(_line(plan, {"id": _NOBODY, "error": _ERROR})))
        return
    error = {"message": _ERROR, "type": "InternalServerError", "code": 500}
    yield Said("error", 0, _chunk(_sse(plan, {"id": _OPENAI["id"], "error": error})))
    yield Said("done", 0, _chunk(b"data: [DONE]" + 2 * _eol(plan)))


def _refusal(plan: TruthPlan, wanted: Wanted) -> Write:
    words = "refused, as planned"
    error = words if wanted.dialect == "ollama" else {"message": words, "code": plan.http_status}
    data = document({"id": _NOBODY, "error": error}, plan.http_status, wanted.close)
    return Write(-1, data, (Said("refused", 0, data),))


_OPENAI = {"id": f"chatcmpl-{_NOBODY}", "object": "chat.completion.chunk", "created": 1762000000, "model": MODEL}


def _openai(plan: TruthPlan, delta: dict[str, str], *, so_far: int, reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    running = {"usage": _usage(so_far)} if plan.usage == "continuous" else {}
    return _sse(plan, {**_OPENAI, "choices": [choice], **running})


def _ollama(plan: TruthPlan, message: dict[str, str], *, done: bool = False, **more: Any) -> bytes:
    said = {"role": "assistant", **message}
    return _line(plan, {"id": _NOBODY, "model": MODEL, "message": said, "done": done, **more})


def _usage(completion: int) -> dict[str, int]:
    total = PROMPT_TOKENS + completion
    return {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": completion, "total_tokens": total}


def _sse(plan: TruthPlan, message: dict[str, Any]) -> bytes:
    return b"data: " + _json(message) + 2 * _eol(plan)


def _line(plan: TruthPlan, message: dict[str, Any]) -> bytes:
    return _json(message) + _eol(plan)


def _eol(plan: TruthPlan) -> bytes:
    return b"\r\n" if plan.crlf else b"\n"


def _json(message: dict[str, Any]) -> bytes:
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()


def _chunk(data: bytes) -> bytes:
    """One chunk of HTTP's chunked encoding."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def document(content: dict[str, Any], status: int = 200, close: bool = False) -> bytes:
    """A whole response with a JSON body."""
    body = _json(content)
    return _head(status, "application/json", close, length=len(body)) + body


def _head(status: int, content_type: str, close: bool, length: int | None = None) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Planned"
    framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    lines = [f"HTTP/1.1 {status} {phrase}", f"Server: {SERVER}", f"Content-Type: {content_type}", framing]
    return "\r\n".join([*lines, *(["Connection: close"] if close else []), "", ""]).encode()
