"""What a truth server says: a whole reply as writes of bytes, in OpenAI's or Ollama's words. Pure.

Each event names the stream by `truth-<number>` in its `id`, of a fixed width: the bytes are made once for all streams,
and a client that keeps them needs nothing more to be matched with the server's log.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from typing import Any

from gptoss_bench.truth_plan import TruthPlan

SERVER = "truth-server"
MODEL = "truth"
PROMPT_TOKENS = 7
WORDS = (" the", " café", " said", " 真実", " twice", " 🙂", " and", " naïve")  # one to four bytes a character
NOBODY = "truth-00000000"
_ERROR = "the engine failed, as planned"


@dataclass(frozen=True, slots=True)
class Said:
    """One event, or one refusal: its kind (role, output, finish, usage, done, error, refused), tokens and bytes.

    `whole`: after so many of the bytes it can be read; what follows is framing.
    """

    kind: str
    tokens: int
    data: bytes
    whole: int


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes that go out together when their step (tokens before them, -1: at once) is due, and the events in them.

    `whole`: by event, after how many of the bytes it can be read.
    """

    step: int
    data: bytes
    events: tuple[Said, ...] = ()
    whole: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one request asks for, as far as it changes the reply. `limit` is its own limit of tokens."""

    dialect: str
    limit: int | None = None
    close: bool = False  # the connection, after the reply


def text(tokens: int) -> str:
    """What a reply of so many tokens says, reasoning and answer together."""
    return "".join(WORDS[at % len(WORDS)] for at in range(tokens))


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
        first = (_said(plan, "role", 0, (_openai(plan, {"role": "assistant", "content": ""}, so_far=0))),)
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
    return (*writes[: begun + after], Write(torn.step, torn.data[: len(torn.data) // 2]))


def _write(step: int, events: tuple[Said, ...], head: bytes = b"", tail: bytes = b"") -> Write:
    whole, length = [], len(head)
    for event in events:
        whole.append(length + event.whole)
        length += len(event.data)
    return Write(step, head + b"".join(event.data for event in events) + tail, events, tuple(whole))


def _said(plan: TruthPlan, kind: str, tokens: int, message: bytes) -> Said:
    """An event as one chunk of HTTP's chunked encoding. The CR of its last line end already completes it."""
    data = b"%x\r\n%s\r\n" % (len(message), message)
    return Said(kind, tokens, data, len(data) - (3 if plan.crlf else 2))


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
        yield _said(plan, "output", so_far - first, data)


def _ending(plan: TruthPlan, wanted: Wanted, tokens: int, reason: str) -> Iterator[Said]:
    if wanted.dialect == "ollama":
        counts = {} if plan.usage == "none" else {"prompt_eval_count": PROMPT_TOKENS, "eval_count": tokens}
        yield _said(plan, "finish", 0, (_ollama(plan, {"content": ""}, done=True, done_reason=reason, **counts)))
        return
    yield _said(plan, "finish", 0, (_openai(plan, {}, so_far=tokens, reason=reason)))
    if plan.usage != "none":
        yield _said(plan, "usage", 0, (_sse(plan, {**_OPENAI, "choices": [], "usage": _usage(tokens)})))
    yield _said(plan, "done", 0, (b"data: [DONE]" + 2 * _eol(plan)))


def _failure(plan: TruthPlan, wanted: Wanted) -> Iterator[Said]:
    if wanted.dialect == "ollama":
        yield _said(plan, "error", 0, (_line(plan, {"id": NOBODY, "error": _ERROR})))
        return
    error = {"message": _ERROR, "type": "InternalServerError", "code": 500}
    yield _said(plan, "error", 0, (_sse(plan, {"id": _OPENAI["id"], "error": error})))
    yield _said(plan, "done", 0, (b"data: [DONE]" + 2 * _eol(plan)))


def _refusal(plan: TruthPlan, wanted: Wanted) -> Write:
    words = "refused, as planned"
    error = words if wanted.dialect == "ollama" else {"message": words, "code": plan.http_status}
    data = document({"id": NOBODY, "error": error}, plan.http_status, wanted.close)
    return _write(-1, (Said("refused", 0, data, len(data)),))


_OPENAI = {"id": f"chatcmpl-{NOBODY}", "object": "chat.completion.chunk", "created": 1762000000, "model": MODEL}


def _openai(plan: TruthPlan, delta: dict[str, str], *, so_far: int, reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    running = {"usage": _usage(so_far)} if plan.usage == "continuous" else {}
    return _sse(plan, {**_OPENAI, "choices": [choice], **running})


def _ollama(plan: TruthPlan, message: dict[str, str], *, done: bool = False, **more: Any) -> bytes:
    said = {"role": "assistant", **message}
    return _line(plan, {"id": NOBODY, "model": MODEL, "message": said, "done": done, **more})


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
