"""Build streams message by message and the traces they would give. Times are ms after the request was sent."""

import json
from collections.abc import Iterable
from typing import Any

import pandas as pd

from gptoss_bench.runs.request_table import derive_tables
from gptoss_client.trace import Trace

MS = 1_000_000  # ns
SENT_NS = 7_000_000_000
QUEUED_NS = 2 * MS  # from scheduled to sent

DONE = b"data: [DONE]\n\n"
HTML = b"<html><title>502 Bad Gateway</title></html>"

AFTER_FIRST_TOKEN = ["tpot_s", "e2e_s", "e2e_scheduled_s", "done_s", "ttft_formula_s"]  # only of completed requests

Timed = tuple[float, bytes]


def sse(message: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(message).encode() + b"\n\n"


def line(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"


def delta(content: dict[str, Any], finish_reason: str | None = None, **beside: Any) -> bytes:
    choice = {"index": 0, "delta": content, "finish_reason": finish_reason}
    ids = {"token_ids": beside.pop("token_ids")} if "token_ids" in beside else {}
    return sse({"object": "chat.completion.chunk", "choices": [choice | ids], **beside})


def role(**beside: Any) -> bytes:
    return delta({"role": "assistant", "content": ""}, **beside)


def answer(text: str = " yes", **beside: Any) -> bytes:
    return delta({"content": text}, **beside)


def thought(text: str = " hm", **beside: Any) -> bytes:
    return delta({"reasoning": text}, **beside)


def finish(reason: str = "stop") -> bytes:
    return delta({}, reason)


def counted(completion: int, prompt: int = 88) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def usage(completion: int, prompt: int = 88) -> bytes:
    return sse({"choices": [], "usage": counted(completion, prompt)})


def ollama(text: str = "", **fields: Any) -> bytes:
    thinking = {"thinking": fields.pop("thinking")} if "thinking" in fields else {}
    message = {"role": "assistant", "content": text, **thinking}
    return line({"model": "gpt-oss:20b", "message": message, "done": False, **fields})


def trace(timed: Iterable[Timed], request_id: int = 0, sent_ms: float = 0.0, **fields: Any) -> Trace:
    """Return the trace of a request sent `sent_ms` after SENT_NS; the last piece ends it unless `fields` override."""
    sent_ns = SENT_NS + _ns(sent_ms)
    pieces = tuple((sent_ns + _ns(ms), data) for ms, data in timed)
    usual: dict[str, Any] = {
        "phase": "measure",
        "prompt_id": request_id,
        "scheduled_ns": sent_ns - QUEUED_NS,
        "sent_ns": sent_ns,
        "connect_s": 0.0,
        "status": 200,
        "done_ns": pieces[-1][0] if pieces else None,
    }
    return Trace(request_id=request_id, pieces=pieces, **usual | fields)


def chat(first_ms: float, gap_ms: float, tokens: int, request_id: int = 0, **fields: Any) -> Trace:
    """Return a complete reply with one token per event: role, answers `gap_ms` apart, the end 1 ms after the last."""
    texts = [(first_ms + at * gap_ms, answer()) for at in range(tokens)]
    last_ms = texts[-1][0] + 1
    end = [(last_ms, finish("length")), (last_ms, usage(tokens)), (last_ms, DONE)]
    return trace([(first_ms, role()), *texts, *end], request_id, **fields)


def two_slots() -> list[Trace]:
    """Return two slots of three requests each: three tokens 20 ms apart, the first after 10 ms; a reply takes 51 ms.

    Slot A sends at 0, 60, 120 ms and slot B at 30, 90, 150 ms: the steady window is 40 to 171 ms.
    """
    return [chat(10, 20, 3, request_id, sent_ms=30.0 * request_id) for request_id in range(6)]


def conversations() -> list[Trace]:
    """Return six conversations that two slots hold, slot B 30 ms behind slot A; a reply takes 51 ms.

    The first token comes after 10 ms, in later turns after 5 ms; a user thinks for 100 ms. All have two turns, but the
    last one of slot A has one, which ends at 455 ms, and the last one of slot B three: they end at 787 ms.
    """
    found = list[Trace]()
    begins_ms = [0.0, 30.0]
    for number, turns in enumerate((2, 2, 2, 2, 1, 3)):
        at_ms = begins_ms[number % 2]
        for turn in range(1, turns + 1):
            first_ms = 10 if turn == 1 else 5
            ids = {"conversation": number, "turn": turn, "scheduled_ns": SENT_NS + _ns(at_ms)}
            found.append(chat(first_ms, (50 - first_ms) / 2, 3, len(found), sent_ms=at_ms, **ids))
            at_ms += 51 + 100
        begins_ms[number % 2] = at_ms - 100
    return found


def row(one: Trace) -> pd.Series:
    """Return the row of a trace in the request table."""
    return derive_tables([one])[0].iloc[0]


def _ns(ms: float) -> int:
    return round(ms * MS)
