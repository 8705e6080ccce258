"""Whatever a server sends as a response, each planned request becomes one row and the run can be read."""

import asyncio
import itertools
import json
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from faults import LONG, count, rounds
from gptoss_bench.engines.launch_options import ServerChoice
from gptoss_bench.runs.folder import Run
from gptoss_bench.session.session import serving
from gptoss_client import LoadPlan, RunFailed
from hostile import CHAT, GOOD, hostile
from scripted import ending, event

PLAN = LoadPlan(concurrency=4, timeout_s=2.0, idle_timeout_s=0.5, first_timeout_s=0.5)
TOKENS = event(role="assistant", content="") + event(content="Hello")
BODIES = {
    "tokens": TOKENS + ending(1),
    "no end": TOKENS,
    "nothing": b"",
    "binary": bytes(range(256)) * 40,
    "lone surrogate": b'data: {"choices":[{"delta":{"content":"\\udfff"},"finish_reason":"\\udfff"}]}\n\n',
    "deep": b"data: " + b'{"a":' * 3000 + b"\n\n",
    "huge numbers": b'data: {"choices":[],"usage":{"completion_tokens":1e999,"prompt_tokens":-9e18}}\n\n',
    "no JSON": b"data: {nope\n\n" * 50,
    "an error": b'data: {"error":{"message":"out of \x1b[31mmemory","code":null}}\n\n',
    "a web page": b"<!doctype html><script>alert(1)</script>",
    "blank lines": b"\n" * 20_000,
    "a long line": b"data: " + b"x" * 300_000,
    "NUL": b"data: \x00\x00\n\ndata: [DONE]\n\n",
    "cut UTF-8": 'data: {"choices":[{"delta":{"content":"ä'.encode()[:-1],
    "list": b"data: [1,2,3]\n\ndata: 7\n\ndata: null\n\n",
    "two ends": TOKENS + ending(1) + ending(1),
}
Framing = Callable[[bytes], bytes]


def _head(status: str, *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode()


CHUNKED = _head("200 OK", "Content-Type: text/event-stream", "Transfer-Encoding: chunked")
FRAMINGS: dict[str, Framing] = {
    "chunked": lambda body: CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else CHUNKED + b"0\r\n\r\n",
    "chunks without end": lambda body: CHUNKED + b"%x\r\n%b\r\n" % (len(body) or 1, body or b"x"),
    "a chunk too short": lambda body: CHUNKED + b"%x\r\n%b" % (len(body) + 9, body),
    "bad chunk size": lambda body: CHUNKED + b"zz\r\n" + body,
    "length": lambda body: _head("200 OK", f"Content-Length: {len(body)}") + body,
    "too long a length": lambda body: _head("200 OK", f"Content-Length: {len(body) + 50}") + body,
    "too short a length": lambda body: _head("200 OK", f"Content-Length: {max(0, len(body) - 5)}") + body,
    "to the close": lambda body: _head("200 OK") + body,
    "two lengths": lambda body: _head("200 OK", "Content-Length: 1", "Content-Length: 2") + body,
    "error 500": lambda body: _head("500 No", f"Content-Length: {len(body)}") + body,
    "error 429": lambda body: _head("429 Later", "Retry-After: 1", f"Content-Length: {len(body)}") + body,
    "redirect": lambda body: _head("307 Away", "Location: http://127.0.0.1:1/", "Content-Length: 0"),
    "gzip": lambda body: _head("200 OK", "Content-Encoding: gzip", f"Content-Length: {len(body)}") + body,
    "endless head": lambda body: b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000,
    "no HTTP": lambda body: b"\x16\x03\x01 220 mail ready\r\n" + body,
    "HTTP/0.9": lambda body: body or b"x",
    "switching": lambda body: _head("101 Switching", "Upgrade: h2c") + body,
    "interim": lambda body: (
        _head("103 Early", "Link: <x>") * 5 + _head("200 OK", f"Content-Length: {len(body)}") + body
    ),
}
ENDS = ("close", "reset", "hang")


def write(connection: socket.socket, data: bytes, end: str) -> None:
    connection.sendall(data)
    if end == "hang":
        time.sleep(0.8)
    elif end == "reset":
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def measured(url: str, results: Path, requests: int) -> Run:
    plan = replace(PLAN, requests=requests)
    choice = ServerChoice(url=url, model="m", dialect="openai")
    async with serving("test", choice, plan=plan, results_dir=str(results)) as session:
        try:
            await session.load(plan)
            session.finish()
        except RunFailed:
            pass
        return Run.load(session.folder.path)


def check(run: Run, requests: int) -> None:
    assert run.finished
    assert sorted(run.requests.request_id) == list(range(requests))
    assert set(run.requests.outcome) <= {"completed", "failed"}
    assert run.requests.error.isna().eq(run.requests.outcome == "completed").all()
    assert run.summary.completed + run.summary.failed == requests


def answering(*replies: tuple[bytes, str]) -> Callable[[socket.socket, bytes], None]:
    """Answer the first request, which asks whether the server is there, well, and the next ones with these in turn."""
    turn = itertools.chain([None], itertools.cycle(replies))

    def answer(connection: socket.socket, request: bytes) -> None:
        reply = next(turn)
        if reply is None:
            GOOD(connection, request)
        else:
            write(connection, *reply)

    return answer


def behaviours() -> list[list[tuple[bytes, str]]]:
    """Return groups of responses, one group a load: all of them, or each framing once."""
    pairs = list(itertools.product(FRAMINGS.values(), BODIES.values(), ENDS))
    if not LONG:
        pairs = pairs[:: len(BODIES) * len(ENDS) + 1] + [
            (framing, BODIES["tokens"], "close") for framing in FRAMINGS.values()
        ]
    made = [(framing(body), end) for framing, body, end in pairs]
    return [made[at : at + 24] for at in range(0, len(made), 24)]


@pytest.mark.parametrize("replies", behaviours(), ids=itertools.count())
def test_each_response_is_one_row(tmp_path, replies):
    with hostile({CHAT: answering(*replies)}) as server:
        check(asyncio.run(measured(server.url, tmp_path, len(replies))), len(replies))
    count("hostile behaviours survived, each exactly one row", len(replies))


FIELDS = ["id", "object", "created", "model", "choices", "usage", "timings", "error", "delta", "content", "role",
          "reasoning", "reasoning_content", "tool_calls", "finish_reason", "completion_tokens", "prompt_tokens",
          "completion_tokens_details", "prompt_tokens_details", "token_ids", "message", "done"]  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=10,
)


@given(st.lists(st.tuples(st.sampled_from(FIELDS), JSON), min_size=24, max_size=24))
@settings(max_examples=rounds(2, 20), suppress_health_check=list(HealthCheck), deadline=None)
def test_any_json_in_any_field_is_one_row(tmp_path_factory, values):
    replies = []
    for name, value in values:
        choice = {"index": 0, "delta": {"content": "a"} | {name: value}, "finish_reason": None} | {name: value}
        message = {"choices": [choice], "usage": {"completion_tokens": 1} | {name: value}} | {name: value}
        body = event(content="a") + b"data: " + json.dumps(message).encode() + b"\n\n" + ending(1)
        replies.append((FRAMINGS["chunked"](body), "close"))
    with hostile({CHAT: answering(*replies)}) as server:
        run = asyncio.run(measured(server.url, tmp_path_factory.mktemp("json"), len(values)))
    check(run, len(values))
    json.dumps([run.summary.document(), run.manifest.document()], allow_nan=False)
    count("responses with any JSON in any field, each exactly one row", len(values))


@given(st.lists(st.tuples(st.binary(max_size=400), st.sampled_from(ENDS[:2])), min_size=24, max_size=24), st.booleans())
@settings(max_examples=rounds(2, 20), suppress_health_check=list(HealthCheck), deadline=None)
def test_any_bytes_are_one_row(tmp_path_factory, bodies, framed):
    replies = [(FRAMINGS["chunked"](body) if framed else body, end) for body, end in bodies]
    with hostile({CHAT: answering(*replies)}) as server:
        check(asyncio.run(measured(server.url, tmp_path_factory.mktemp("any"), len(bodies))), len(bodies))
    count("random responses, each exactly one row", len(bodies))
