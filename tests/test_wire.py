"""The wire decoder against what servers sent (tests/wire), against literals, and against hypothesis."""

import json
import re
from bisect import bisect_left
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
from gptoss_bench.wire import Decoder, Event, ServerTimings, decode, reply
from hypothesis import given, settings
from hypothesis import strategies as st

WIRE = Path(__file__).parent / "wire"
DEEP = b'{"a":' * 100_000
# what a server may say, in every format: bodies that the split, cut and fuzz tests play with
BODIES = ("vllm-chat_stream_return_token_ids", "llamacpp-chat_nonstream", "ollamaapi-generate_stream")
BODIES += tuple(path.name for path in sorted(WIRE.glob("hostile-*")))


def recorded(name):
    """The HTTP chunks of a recording."""
    return [json.loads(line)["data"].encode() for line in (WIRE / f"{name}.jsonl").read_text().splitlines()]


@cache
def body(name):
    return (WIRE / name).read_bytes() if name.startswith("hostile-") else b"".join(recorded(name))


@cache
def in_single_bytes(name):
    """The events whose `piece` is thus the offset of the byte that completed each."""
    return decode(body(name)[i : i + 1] for i in range(len(body(name))))


def texts(name, field):
    """All JSON strings under a field's name, found without parsing the messages."""
    found = re.findall(rf'"{field}":("(?:[^"\\]|\\.)*")', body(name).decode())
    return [json.loads(text) for text in found if text != '""']


def sse(*messages):
    return b"".join(b"data: " + json.dumps(message).encode() + b"\n\n" for message in messages)


def chunk(**delta):
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}


def only(message):
    (event,) = decode([json.dumps(message).encode()])
    return event


@pytest.mark.parametrize(
    ("name", "answer", "reasoning", "sums"),
    [
        ("vllm-chat_stream_usage", "content", "reasoning", (149, 155, 86, "stop")),
        ("vllm-chat_stream_continuous_usage", "content", "reasoning", (42, 48, 86, "length")),
        ("vllm-chat_stream_return_token_ids", "content", "reasoning", (51, 48, 86, "length")),
        ("vllm-completion_stream", "text", "-", (66, 64, 3, "length")),
        ("vllm-chat_nonstream", "content", "reasoning", (1, 155, 86, "stop")),
        ("llamacpp-chat_stream_usage", "content", "reasoning_content", (144, 150, 75, "stop")),
        ("llamacpp-completion_stream", "text", "-", (27, 25, 3, "stop")),
        ("llamacpp-native_completion_stream", "content", "-", (33, 32, 3, "length")),
        ("llamacpp-chat_nonstream", "content", "reasoning_content", (1, 150, 75, "stop")),
        ("transformers-chat_stream", "content", "reasoning_content", (57, 64, 65, "length")),
        ("ollamaapi-chat_stream", "content", "thinking", (116, 125, 75, "stop")),
        ("ollamaapi-generate_stream", "response", "thinking", (40, 48, 59, "length")),
        ("ollamaapi-v1_chat_stream_usage", "content", "reasoning_content", (59, 64, 75, "length")),
    ],
)
def test_what_servers_sent(name, answer, reasoning, sums):
    said = reply(decode(recorded(name)))
    answers, thoughts = texts(name, answer), texts(name, reasoning)
    assert said.answer_text == "".join(answers)
    assert said.reasoning_text == "".join(thoughts)
    assert len(said.answer_text) > 30
    assert said.output_events == (1 if said.events == 1 else len(answers) + len(thoughts))
    assert (said.events, said.completion_tokens, said.prompt_tokens, said.finish_reason) == sums
    assert (said.ended, said.error, said.tool_text) == (True, None, "")


def test_responses_stream():
    said = reply(decode(recorded("vllm-responses_stream")))
    assert said.reasoning_text.startswith("rest first a writes")
    assert said.answer_text.endswith(" slowly many at")
    assert (said.events, said.output_events, said.completion_tokens, said.reasoning_tokens) == (86, 73, 83, 17)
    assert (said.finish_reason, said.error) == ("stop", None)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("llamacpp-err_too_long", "request (7057 tokens) exceeds the available context size (2048 tokens), try incre"),
        ("vllm-err_bad_json", "1 validation error:\n  {'type': 'json_invalid'"),
        ("transformers-err_unknown_field_ignore_eos", "Unexpected fields in the request: {'ignore_eos'}"),
        ("transformers-err_no_messages", "malformed: text came instead of a reply: 'Internal Server Error'"),
        ("ollamaapi-err_bad_model", "model 'nope' not found"),
    ],
)
def test_error_bodies_that_servers_sent(name, error):
    (event,) = decode(recorded(name))
    assert event.kind == "error"
    assert event.error is not None
    assert event.error.startswith(error)


def test_counts_of_the_events_of_vllm():
    continuous = decode(recorded("vllm-chat_stream_continuous_usage"))
    assert [event.completion_tokens for event in continuous[:3]] == [0, 4, 5]
    assert [event.kind for event in continuous[-3:]] == ["output", "usage", "done"]
    assert continuous[-3].finish_reason == "length"
    assert reply(continuous).reasoning_tokens == 21
    listed = decode(recorded("vllm-chat_stream_return_token_ids"))
    assert [(event.kind, event.token_ids) for event in listed[:3]] == [("role", None), ("other", 1), ("other", 1)]
    assert sum(event.token_ids or 0 for event in listed) == 48


def test_two_events_of_llama_cpp_share_a_piece_and_bring_its_timings():
    events = decode(recorded("llamacpp-chat_stream_usage"))
    assert [(event.piece, event.kind) for event in events[-4:]] == [
        (140, "output"),
        (141, "finish"),
        (141, "usage"),
        (142, "done"),
    ]
    assert events[0].kind == "role"
    assert events[-2].timings == ServerTimings(
        "llama.cpp", prompt_s=0.016224, prompt_tokens=75, cached_tokens=0, eval_s=0.830256, eval_tokens=150
    )
    assert reply(events).cached_tokens == 0


def test_timings_of_ollama_are_seconds():
    events = decode(recorded("ollamaapi-chat_stream"))
    assert events[-1].kind == "usage"
    assert reply(events).timings == ServerTimings(
        "ollama",
        load_s=2.505885052,
        prompt_s=0.010336,
        prompt_tokens=75,
        eval_s=0.274951,
        eval_tokens=125,
        total_s=2.812022174,
    )


def test_an_unload_of_ollama_says_nothing_but_that_it_is_done():
    said = reply(decode(recorded("ollamaapi-unload")))
    assert (said.ended, said.finish_reason, said.completion_tokens, said.timings) == (True, "unload", None, None)
    assert only({"done": True}).kind == "done"


@pytest.mark.parametrize(
    ("message", "event"),
    [
        (chunk(role="assistant", content=""), Event(0, "role")),
        (chunk(content=""), Event(0, "other")),
        (chunk(content="a", reasoning=None), Event(0, "output", answer="a")),
        (chunk(reasoning="why", reasoning_content="why"), Event(0, "output", reasoning="why")),
        (
            chunk(content=[{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]),
            Event(0, "output", answer="ab"),
        ),
        (chunk(tool_calls=[{"function": {"name": "f", "arguments": None}}]), Event(0, "output", tool="f")),
        (chunk(tool_calls=[{"function": {"arguments": '{"x"'}}]), Event(0, "output", tool='{"x"')),
        ({"choices": [{"delta": None}], "usage": None, "error": None}, Event(0, "other")),
        (
            {"choices": [], "usage": {"completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 2}}},
            Event(0, "usage", completion_tokens=3, cached_tokens=2),
        ),
        ({"choices": [], "usage": {"completion_tokens": -1, "prompt_tokens": "7", "x": True}}, Event(0, "other")),
        (
            {
                "choices": [{"delta": {}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 1, "completion_tokens": 2},
            },
            Event(0, "usage", finish_reason="stop", prompt_tokens=1, completion_tokens=2, ended=True),
        ),
        ({"choices": [{"text": "a", "finish_reason": None}]}, Event(0, "output", answer="a")),
        (
            {
                "message": {"content": "", "tool_calls": [{"function": {"name": "f", "arguments": {"x": 1}}}]},
                "done": False,
            },
            Event(0, "output", tool='f{"x": 1}'),
        ),
        ({"error": {"message": "no", "code": 500}, "choices": []}, Event(0, "error", error="no")),
        ({"error": "plain"}, Event(0, "error", error="plain")),
        ({"error": {"code": 500}}, Event(0, "error", error='{"code": 500}')),
        ({"object": "error", "message": "old vLLM", "code": 404}, Event(0, "error", error="old vLLM")),
        ({"type": "error", "message": "responses"}, Event(0, "error", error="responses")),
        ({"type": "response.failed", "response": {"error": {"message": "no"}}}, Event(0, "error", error="no")),
        ({"detail": "Not Found"}, Event(0, "error", error="Not Found")),
        (
            {"detail": [{"loc": ["body", 15], "msg": "JSON decode error"}]},
            Event(0, "error", error="JSON decode error (at body.15)"),
        ),
        ({"status": "ok"}, Event(0, "other")),
    ],
)
def test_one_message_to_one_event(message, event):
    assert only(message) == event
    assert decode([sse(message)]) == [event]
    assert decode([json.dumps(message, indent=2).encode()]) == [event]


HOSTILE = {
    "broken-events.sse": ("one three", ["output", "error", "error", "output", "done"], "malformed: not JSON (Untermin"),
    "crlf.sse": ("Grüße", ["output", "other", "finish", "done"], None),
    "cut.ndjson": ("one", ["output"], None),
    "cut.sse": ("one", ["output"], None),
    "empty.sse": ("", [], None),
    "error.ndjson": ("one", ["output", "error", "error"], "malformed: not JSON (Unterminated string"),
    "error.sse": ("one", ["output", "error", "done"], "EngineCore died"),
    "gateway.html": ("", ["error"], "malformed: an HTML page came instead of a reply: '502 Bad Gateway'"),
    "pretty-error.json": ("", ["error"], "The model `x` does not exist."),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_streams(name):
    answer, kinds, error = HOSTILE[name]
    events = decode([body(f"hostile-{name}")])
    said = reply(events)
    assert (said.answer_text, [event.kind for event in events]) == (answer, kinds)
    assert said.error is None if error is None else said.error.startswith(error)
    assert said.ended == (kinds[-1:] == ["done"])


@pytest.mark.parametrize(
    ("raw", "kinds"),
    [
        (b"event: error\ndata: out of memory\n\n", ["error"]),
        (b'event: error\ndata: {"message": "out of memory"}\n\n', ["error"]),
        (b"event: ping\n\nid\nretry: 3\nfoo: bar\n\n: only\n\n", []),  # no data: nothing is dispatched
        (b"event: ping\n\ndata: {}\n\n", ["other"]),  # the type of a message that was not dispatched is forgotten
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
    assert [event.kind for event in decode([raw])] == kinds


def test_a_surrogate_pair_that_two_events_share_is_one_character():
    halves = [b'data: {"choices":[{"delta":{"content":"%s"}}]}\n\n' % half for half in (rb"\ud83d", rb"\ude00")]
    assert reply(decode(halves)).answer_text == "\N{GRINNING FACE}"
    assert reply(decode(halves[:1])).answer_text == "\N{REPLACEMENT CHARACTER}"


def test_a_line_of_half_a_megabyte_in_single_bytes():
    text = "x" * 500_000
    raw = sse(chunk(content=text))
    assert reply(decode(raw[i : i + 1] for i in range(len(raw)))).answer_text == text


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
    events = decode(raw[start:end] for start, end in pairwise([0, *ends]))
    # an event belongs to the first piece that reaches past the offset of its last byte
    expected = [replace(event, piece=bisect_left(ends, event.piece + 1)) for event in in_single_bytes(name)]
    assert events == expected


@given(name=st.sampled_from([name for name in BODIES if not re.search("broken|error|html", name)]), data=st.data())
@settings(deadline=None)
def test_a_cut_stream_is_the_beginning_of_the_whole_one(name, data):
    raw = body(name)
    end = data.draw(st.integers(0, len(raw)))
    whole, part = decode([raw]), decode([raw[:end]])
    assert part == whole[: len(part)]
    assert len(part) >= sum(event.piece < end for event in in_single_bytes(name))


WORDS = st.text(min_size=1, max_size=12)
DELTAS = st.dictionaries(st.sampled_from(["content", "reasoning", "reasoning_content"]), WORDS, min_size=1, max_size=1)
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
        # U+0085 and U+2028 are no line ends of SSE, whatever str.splitlines says
        data = ["data:" + " " * spaced + line for line in payload.split("\n")]
        raw += line_end.join([*fields, *data, "", ""])
    encoded = raw.encode()
    events = decode(encoded[at : at + size] for at in range(0, len(encoded), size))
    assert [(event.answer, event.reasoning) for event in events] == [
        (delta.get("content", ""), delta.get("reasoning", delta.get("reasoning_content", ""))) for delta, *_ in messages
    ]


@given(
    lines=st.lists(st.tuples(WORDS, WORDS, st.sampled_from(["\n", "\r\n", "\n\n", "\r\n \r\n"])), min_size=1),
    terminated=st.booleans(),
    size=st.integers(1, 50),
)
def test_ndjson_round_trip(lines, terminated, size):
    raw = ""
    for thinking, content, line_end in lines:
        message = {"message": {"role": "assistant", "thinking": thinking, "content": content}, "done": False}
        raw += json.dumps(message, ensure_ascii=len(content) > 6) + line_end
    encoded = (raw if terminated else raw.rstrip()).encode()
    events = decode(encoded[at : at + size] for at in range(0, len(encoded), size))
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
    events = decode(pieces)
    said = reply(events)
    assert [event.piece for event in events] == sorted(event.piece for event in events)
    assert all(0 <= event.piece < len(pieces) for event in events)
    assert (said.error is not None) == any(event.kind == "error" for event in events)
    (said.answer_text + said.reasoning_text + (said.error or "")).encode()  # can be stored: no lone surrogates
