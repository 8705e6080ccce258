"""The decoder: hostile streams, rules as literals, and property tests with any split, any cut and any bytes."""

import json
import re
from bisect import bisect_left
from collections import Counter
from dataclasses import asdict, replace
from functools import cache
from hashlib import sha256
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from folders import TESTS
from gptoss_client.decoder import Decoder, decode_body
from gptoss_client.dialects import Event, assemble_reply
from recordings import WIRE, body, chunk, sse

DEEP = b'{"a":' * 100_000
# bodies of every format, for the split, cut and fuzz tests
BODIES = ("vllm-chat_stream_return_token_ids", "llamacpp-chat_nonstream", "ollamaapi-generate_stream")
BODIES += tuple(path.name for path in sorted(WIRE.glob("hostile-*")))


@cache
def in_single_bytes(name):
    """The events whose `piece` is thus the offset of the byte that completed each."""
    return decode_body(body(name)[i : i + 1] for i in range(len(body(name))))


HOSTILE = {
    "broken-events.sse": ("one three", ["output", "error", "error", "output", "done"], "malformed: not JSON (Untermin"),
    "crlf.sse": ("Grüße", ["output", "other", "finish", "done"], None),
    "cut.ndjson": ("one", ["output"], None),
    "cut.sse": ("one", ["output"], None),
    "empty.sse": ("", [], None),
    "error.ndjson": ("one", ["output", "error", "error"], "malformed: not JSON (Unterminated string"),
    "error.sse": ("one", ["output", "error", "done"], "EngineCore died"),
    "gateway.html": ("", ["error"], "malformed: received an HTML page, not a reply: '502 Bad Gateway'"),
    "pretty-error.json": ("", ["error"], "The model `x` does not exist."),
}


RECORDED = sorted(path.name for path in [*WIRE.glob("*.jsonl"), *WIRE.glob("hostile-*")])


def test_recordings_are_decoded_as_before():
    found = {}
    for name in RECORDED:
        events = decode_body([body(name.removesuffix(".jsonl"))])
        kinds = " ".join(f"{kind} {count}" for kind, count in Counter(event.kind for event in events).items())
        fields = json.dumps([asdict(event) for event in events], sort_keys=True)
        found[name] = f"{kinds}: {sha256(fields.encode()).hexdigest()[:16]}"
    golden = json.loads((TESTS / "golden" / "decoded.json").read_text())
    assert found == {name: golden.get(name, found[name]) for name in found}
    assert golden.keys() <= found.keys()


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_streams(name):
    answer, kinds, error = HOSTILE[name]
    events = decode_body([body(f"hostile-{name}")])
    reply = assemble_reply(events)
    assert (reply.answer_text, [event.kind for event in events]) == (answer, kinds)
    assert reply.error is None if error is None else reply.error.startswith(error)
    assert reply.ended == (kinds[-1:] == ["done"])


@pytest.mark.parametrize(
    ("raw", "kinds"),
    [
        (b"event: error\ndata: out of memory\n\n", ["error"]),
        (b'event: error\ndata: {"message": "out of memory"}\n\n', ["error"]),
        (b"event: ping\n\nid\nretry: 3\nfoo: bar\n\n: only\n\n", []),  # no data: nothing is dispatched
        (b"event: error\n\ndata: {}\n\n", ["error", "other"]),  # an error without words; then its type is forgotten
        (b"data: {\ndata\ndata:}\n\n", ["other"]),
        (b" data: {}\n\ndata: 5\n\n", ["other"]),  # a leading blank makes another field of it
        (b'data: {}\n\ndata: {"a": 1}\n', ["other", "other"]),  # whole, only its blank line is missing
        (b"data: {}\n\ndata: [DONE]", ["other", "done"]),
        (b'data: {}\n\ndata: {"a": 1', ["other"]),
        (b"data: {}\n\ndata: [DO", ["other"]),
        (b"data: {}\n\ndata: 12", ["other"]),  # may have been cut inside a number
        (b"dat", []),
        (b"data: " + DEEP + b"\n\ndata: {}\n\n", ["error", "other"]),
        (b'{bad}\n{"a": 1}\n', ["error", "other"]),
        (b'{\n"a": 1\n}\n', ["other"]),
        (b'{\n"a": 1\n{"b": 2}\n', ["error", "other"]),
        (b'{"a": 1}\nstray\n\n{"b": 2}', ["other", "error", "other"]),
        (b'{"a": 1}\n{"b": tru', ["other"]),
        (b'{"a": 1}\n{"b": "\xc3', ["other"]),
        (b'{"a": 1}\n{"b": "\xc3"}\n', ["other", "error"]),
        (b" \n\n  ", []),
    ],
)
def test_the_rules_by_literals(raw, kinds):
    assert [event.kind for event in decode_body([raw])] == kinds


def test_a_surrogate_pair_that_two_events_share_is_one_character():
    halves = [b'data: {"choices":[{"delta":{"content":"%s"}}]}\n\n' % half for half in (rb"\ud83d", rb"\ude00")]
    assert assemble_reply(decode_body(halves)).answer_text == "\N{GRINNING FACE}"
    assert assemble_reply(decode_body(halves[:1])).answer_text == "\N{REPLACEMENT CHARACTER}"


def test_a_line_of_half_a_megabyte_in_single_bytes():
    text = "x" * 500_000
    raw = sse(chunk(content=text))
    assert assemble_reply(decode_body(raw[i : i + 1] for i in range(len(raw)))).answer_text == text


def test_events_come_out_with_the_byte_that_completes_them():
    decoder = Decoder()
    assert decoder.feed(b'data: {"choices":[{"delta":{"content":"a"}}]}\r') == []
    (event,) = decoder.feed(b"\n\r")
    assert (event.piece, event.answer) == (1, "a")
    assert decoder.feed(b"\n") == []
    assert decoder.feed(b"data: [DONE]") == []
    assert decoder.feed(b"") == []
    assert decoder.close() == [Event(3, "done", ended=True)]
    assert decoder.close() == []


@given(name=st.sampled_from(BODIES), data=st.data())
@settings(deadline=None)
def test_any_split_gives_the_same_events(name, data):
    raw = body(name)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=40)))
    ends = [*cuts, len(raw)]
    events = decode_body(raw[start:end] for start, end in pairwise([0, *ends]))
    # an event belongs to the first piece that reaches past the offset of its last byte
    expected = [replace(event, piece=bisect_left(ends, event.piece + 1)) for event in in_single_bytes(name)]
    assert events == expected


@given(name=st.sampled_from([name for name in BODIES if not re.search("broken|error|html", name)]), data=st.data())
@settings(deadline=None)
def test_a_cut_stream_is_the_beginning_of_the_whole_one(name, data):
    raw = body(name)
    end = data.draw(st.integers(0, len(raw)))
    whole, part = decode_body([raw]), decode_body([raw[:end]])
    assert part == whole[: len(part)]
    assert len(part) >= sum(event.piece < end for event in in_single_bytes(name))


TEXT = st.text(min_size=1, max_size=12)
DELTAS = st.dictionaries(st.sampled_from(["content", "reasoning", "reasoning_content"]), TEXT, min_size=1, max_size=1)
BETWEEN = st.lists(st.sampled_from([": keep-alive", "id: 7", "retry: 10", "event: message", "other: x", "novalue"]))


@given(
    messages=st.lists(st.tuples(DELTAS, BETWEEN, st.sampled_from(["\n", "\r\n", "\r"]), st.booleans(), st.booleans())),
    bom=st.booleans(),
    size=st.integers(1, 50),
)
def test_sse_round_trip(messages, bom, size):
    raw = "\ufeff: begins\n" if bom else ": begins\n"
    for delta, fields, line_end, pretty, spaced in messages:
        payload = json.dumps(chunk(**delta), indent=1 if pretty else None, ensure_ascii=spaced)
        # U+0085 and U+2028 do not end a line in SSE, unlike in str.splitlines
        data = ["data:" + " " * spaced + line for line in payload.split("\n")]
        raw += line_end.join([*fields, *data, "", ""])
    encoded = raw.encode()
    events = decode_body(encoded[at : at + size] for at in range(0, len(encoded), size))
    assert [(event.answer, event.reasoning) for event in events] == [
        (delta.get("content", ""), delta.get("reasoning", delta.get("reasoning_content", ""))) for delta, *_ in messages
    ]


@given(
    lines=st.lists(st.tuples(TEXT, TEXT, st.sampled_from(["\n", "\r\n", "\n\n", "\r\n \r\n"])), min_size=1),
    terminated=st.booleans(),
    size=st.integers(1, 50),
)
def test_ndjson_round_trip(lines, terminated, size):
    raw = ""
    for thinking, content, line_end in lines:
        message = {"message": {"role": "assistant", "thinking": thinking, "content": content}, "done": False}
        raw += json.dumps(message, ensure_ascii=len(content) > 6) + line_end
    encoded = (raw if terminated else raw.rstrip()).encode()
    events = decode_body(encoded[at : at + size] for at in range(0, len(encoded), size))
    assert [(event.reasoning, event.answer) for event in events] == [(line[0], line[1]) for line in lines]


FRAGMENTS = [b"data:", b" ", b"\n", b"\r", b"\n\n", b"{", b"}", b'"', b",", b"[[", b"<", b"[DONE]", b"1e999", b"null"]
FRAGMENTS += [
    b"\xef\xbb\xbf",
    b"\xff",
    b"event: error\n",
    b'{"choices":[',
    b'{"error":',
    b'{"done":true',
    b'"message":',
]
KEYS = ["choices", "delta", "message", "content", "text", "usage", "timings", "error", "detail", "done", "stop"]
KEYS += ["type", "tool_calls", "function", "finish_reason", "token_ids", "completion_tokens", "total_duration"]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=20,
)


@given(
    pieces=st.lists(st.binary(max_size=20) | st.sampled_from(FRAGMENTS), max_size=40)
    | st.lists(VALUES.map(lambda value: b"data: " + json.dumps(value).encode() + b"\n\n"))
    | st.lists(VALUES.map(lambda value: json.dumps(value).encode() + b"\n"))
)
def test_nothing_raises(pieces):
    events = decode_body(pieces)
    reply = assemble_reply(events)
    assert [event.piece for event in events] == sorted(event.piece for event in events)
    assert all(0 <= event.piece < len(pieces) for event in events)
    assert (reply.error is not None) == any(event.kind == "error" for event in events)
    (reply.answer_text + reply.reasoning_text + (reply.error or "")).encode()  # can be stored: no lone surrogates
