"""A reply that says it failed has not completed: wherever a server puts the error, and whatever came before it."""

import json
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_bench.runs.request_table import derive_tables
from gptoss_bench.stats.summary import summarise
from gptoss_client import decode_body
from gptoss_client.trace import Trace
from streams import DONE, answer, delta, finish, ollama, role, sse, trace, usage

WORDS = 'Context size has been exceeded: 40,000 tokens asked, 32,768 \N{MULTIPLICATION SIGN} 1 served, "no shift".'
SAYS = {"code": 500, "message": WORDS, "type": "server_error"}
TEXT = json.dumps(SAYS).encode()
# place of the error in the stream: (the bytes, the words that the row keeps)
PLACES: dict[str, tuple[bytes, str]] = {
    "SSE field": (b"error: " + TEXT + b"\n\n", WORDS),
    "SSE field in capitals, as text": (b"Error: out of memory\n\n", "out of memory"),
    "event name": (b"event: error\ndata: " + TEXT + b"\n\n", WORDS),
    "event name, with text": (b"event: server_error\ndata: out of memory\n\n", "out of memory"),
    "event name, without data": (b"event: error\n\n", "error without a message"),
    "bare line of JSON": (json.dumps({"error": SAYS}).encode() + b"\n", WORDS),
    "bare line of text": (b"Internal Server Error\n", "Internal Server Error"),
    "top of the message": (sse({"error": SAYS}), WORDS),
    "a list of errors": (sse({"success": False, "errors": [SAYS]}), WORDS),
    "beside empty choices": (sse({"error": SAYS, "choices": []}), WORDS),
    "in a choice": (sse({"choices": [{"index": 0, "delta": {}, "error": SAYS}]}), WORDS),
    "in a delta with text": (delta({"content": " a", "error": WORDS}), WORDS),
    "in x_groq": (sse({"choices": [{"delta": {"content": " a"}}], "x_groq": {"error": WORDS}}), WORDS),
    "in an unknown object": (sse({"choices": [{"delta": {}}], "provider": {"error": SAYS}}), WORDS),
    "object of vLLM": (sse({"object": "error", **SAYS}), WORDS),
    "Responses": (sse({"type": "response.failed", "response": {"error": SAYS}}), WORDS),
    "finish reason": (finish("error"), "the server ended the reply with the finish reason error"),
    "finish reason beside text": (delta({"content": " a"}, "abort"), "the finish reason abort"),
}
POSITIONS = ("before", "between", "after")


def stream(error: bytes, position: str) -> bytes:
    """Two tokens, the end and its usage, and the error before, between or behind the tokens."""
    parts = [role(), answer(" a"), answer(" b")]
    parts.insert({"before": 0, "between": 2, "after": 3}[position], error)
    return b"".join([*parts, finish(), usage(2), DONE])


def requests_of(bodies: list[bytes]) -> list[Trace]:
    """One slot: each request takes 100 ms, and the next is sent when it ends."""
    return [trace([(100.0, body)], number, sent_ms=100.0 * number) for number, body in enumerate(bodies)]


@pytest.mark.parametrize(("place", "position", "one_in"), list(product(PLACES, POSITIONS, [1, 4])))
def test_an_error_anywhere_is_a_failed_request(place: str, position: str, one_in: int) -> None:
    """Four requests take 0.4 s. All fail: 0 req/s. The last fails: 3 completed / 0.4 s = 7.5 req/s."""
    error, words = PLACES[place]
    good = b"".join([role(), answer(" a"), answer(" b"), finish(), usage(2), DONE])
    bodies = [stream(error, position) if number % one_in == one_in - 1 else good for number in range(4)]
    table, events = derive_tables(requests_of(bodies))
    failed = table[table["outcome"] == "failed"]
    found = summarise(table, events, concurrency=1)
    if one_in == 1:
        assert (found.completed, found.failed, found.request_s) == (0, 4, 0.0)
    else:
        assert (found.completed, found.failed, found.request_s) == (3, 1, 7.5)
    # a body whose first line is JSON or text is no SSE: its error is kept, its other lines are malformed
    assert set(failed["failure"]) == ({"in_stream_error"} if (place, position) != BARE_TEXT_FIRST else {"malformed"})
    assert all(words in error for error in failed["error"])


BARE_TEXT_FIRST = ("bare line of text", "before")


@given(place=st.sampled_from(sorted(PLACES)), position=st.sampled_from(POSITIONS), size=st.integers(1, 60))
def test_the_words_are_whole_however_the_bytes_are_split(place: str, position: str, size: int) -> None:
    body = stream(PLACES[place][0], position)
    events = decode_body(body[at : at + size] for at in range(0, len(body), size))
    first = next(event.error for event in events if event.error is not None)
    assert PLACES[place][1] in first


def test_an_error_on_a_line_of_ollama() -> None:
    for line in (
        b"error: " + TEXT,
        json.dumps({"error": WORDS}).encode(),
        json.dumps({"message": SAYS | {"error": WORDS}, "done": True}).encode(),
    ):
        *_, last = decode_body([ollama("a"), line + b"\n"])
        assert last.error == WORDS


def test_control_characters_of_an_error_are_escaped() -> None:
    [event] = decode_body([b'error: {"message": "a\\u001b[31m\\u0007b"}\n\n'])
    assert event.error == "a\\x1b[31m\\x07b"


@pytest.mark.parametrize(
    "fields",
    [
        {"choices": [{"delta": {"content": "a"}, "content_filter_results": {"error": {"message": "not filtered"}}}]},
        {"choices": [{"delta": {"tool_calls": [{"function": {"name": "f", "arguments": {"error": "x"}}}]}}]},
        {"choices": [{"delta": {"content": '{"error": "said by the model"}'}}]},
        {"choices": [{"delta": {"content": "a", "error": None}, "error": {}}], "error": None},
        {
            "type": "response.created",
            "response": {"tools": [{"parameters": {"error": {"type": "string"}}}], "error": None},
        },
        {"choices": [{"delta": {"content": "a"}}], "statistics": {"error": 0.01}},
    ],
)
def test_what_is_no_error_of_the_reply(fields: dict[str, object]) -> None:
    [event] = decode_body([sse(fields)])
    assert event.error is None


@pytest.mark.parametrize(
    "line", [b"other: x", b"errors_total: 5", b"x-error: y", b"{}", b'{"choices": []}', b"{cut", b"a b c d error"]
)
def test_other_lines_of_a_stream_are_ignored(line: bytes) -> None:
    assert [event.kind for event in decode_body([b"data: {}\n\n" + line + b"\n\ndata: {}\n\n"])] == ["other", "other"]
