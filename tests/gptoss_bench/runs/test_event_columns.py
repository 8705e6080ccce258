"""The fast path gives the tables of the decoder alone: any stream, any split into pieces, hostile ones too."""

import json
from itertools import pairwise
from unittest.mock import patch

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptoss_bench.runs import event_columns
from gptoss_bench.runs.event_columns import Columns
from gptoss_bench.runs.request_table import derive_tables
from recordings import WIRE, body
from streams import trace

STREAMS = sorted(path.name.removesuffix(".jsonl") for path in WIRE.glob("*stream*.jsonl"))

COUNTS = st.integers(0, 300) | st.sampled_from([None, -1, 2**31 - 1, 2**31, 10**20, 1.0, 1.5, True, "3", []])
SECONDS = st.floats(0, 1e6) | st.sampled_from([None, 0, 3, 2**53 + 1, -0.0, -1, 1e18, 1e300, True, "x"])
TEXTS = st.text(max_size=4) | st.sampled_from(
    [" a", "\n", '"', "\\", "]}", "data: ", "\n\n", "é", "😀", "\ud83d", "\ude00"]
)
ODD = st.sampled_from([None, "", [], {}, 0, False, True, 3, "x", ["x"], [{"text": "part"}], {"a": None}])
UNKNOWN_FIELDS = st.dictionaries(st.sampled_from(["id", "x", "logprobs", "model"]), ODD | TEXTS, max_size=2)


def mostly(usual, unusual=ODD, often=8):
    return st.integers(0, often).flatmap(lambda at: usual if at else unusual)


def fields(required, optional, extra=UNKNOWN_FIELDS):
    """Objects with these keys, and now and then unknown ones."""
    return st.builds(lambda known, unknown: unknown | known, st.fixed_dictionaries(required, optional=optional), extra)


CALLS = st.lists(fields({}, {"function": fields({}, {"name": TEXTS, "arguments": TEXTS | UNKNOWN_FIELDS})}), max_size=2)
DETAILS = mostly(fields({}, {"reasoning_tokens": COUNTS, "cached_tokens": COUNTS}))
USAGE = fields(
    {},
    {name: COUNTS for name in ("prompt_tokens", "completion_tokens", "total_tokens")}
    | {name: DETAILS for name in ("completion_tokens_details", "prompt_tokens_details")},
) | fields(
    {}, {"input_tokens": COUNTS, "output_tokens": COUNTS, "output_tokens_details": DETAILS, "prompt_tokens": COUNTS}
)
TIMINGS = fields(
    {},
    {name: COUNTS for name in ("cache_n", "prompt_n", "predicted_n")}
    | {name: SECONDS for name in ("prompt_ms", "predicted_ms")},
)
DELTA = fields(
    {},
    {name: mostly(TEXTS) for name in ("content", "reasoning", "reasoning_content")}
    | {"role": st.just("assistant") | ODD, "tool_calls": mostly(st.just([]), CALLS | ODD)},
)
CHOICE = fields(
    {},
    {
        "delta": mostly(DELTA),
        "text": mostly(TEXTS),
        "message": mostly(DELTA),
        "finish_reason": st.sampled_from([None, "stop", "length", ""]) | ODD,
        "token_ids": mostly(st.lists(COUNTS, max_size=3)),
    },
)
PLAIN_CHOICE = fields({"delta": fields({}, {name: TEXTS for name in ("content", "reasoning")})}, {})
CHUNKS = fields(
    {"choices": st.lists(PLAIN_CHOICE, min_size=1, max_size=1) | mostly(st.lists(CHOICE, max_size=2))},
    {
        "object": mostly(st.just("chat.completion.chunk"), ODD | st.just("error")),
        "error": mostly(st.none(), ODD | TEXTS),
        "type": mostly(st.none(), ODD | st.just("error")),
        "usage": mostly(USAGE),
        "timings": mostly(TIMINGS),
    },
)
OLLAMA_MESSAGE = fields(
    {},
    {name: mostly(TEXTS) for name in ("content", "thinking")} | {"tool_calls": mostly(st.just([]), CALLS | ODD)},
)
OLLAMA_LINES = fields(
    {"done": st.just(False), "message": fields({}, {"content": TEXTS, "thinking": TEXTS})}, {}
) | fields(
    {},
    {"done": mostly(st.booleans()), "message": mostly(OLLAMA_MESSAGE), "done_reason": mostly(TEXTS)}
    | {name: mostly(TEXTS) for name in ("response", "thinking")}
    | {name: ODD | st.just("error") for name in ("object", "error", "type", "choices")}
    | {name: COUNTS for name in ("prompt_eval_count", "eval_count")}
    | {name: SECONDS for name in ("total_duration", "eval_duration", "load_duration")},
)


def written(objects):
    """The objects as JSON, in the spellings of different servers."""
    return st.builds(
        lambda content, ascii_, tight: json.dumps(
            content, ensure_ascii=ascii_, separators=(",", ":") if tight else None
        ).encode("utf-8", "surrogatepass"),
        objects,
        st.booleans(),
        st.booleans(),
    )


OTHER_JSON = [
    b"[DONE]",
    b"",
    b"{",
    b'{"a":',
    b"}",
    b"null",
    b"[1]",
    b"{} x",
    b'{"choices":[',
    b"NaN",
    b'"' + b"x" * 1_100,
]
BROKEN = st.builds(  # one byte of a message replaced
    lambda message, at, byte: message[: at % len(message)] + byte + message[at % len(message) + 1 :],
    written(CHUNKS | OLLAMA_LINES),
    st.integers(0, 1_000),
    st.binary(max_size=2),
)
MESSAGES = written(CHUNKS) | written(OLLAMA_LINES) | BROKEN | st.sampled_from(OTHER_JSON)
SSE_BETWEEN = [
    b": ping\n\n",
    b"event: error\n",
    b"id: 1\n",
    b"\n",
    b"\r\n",
    b"retry: 5\n\n",
    b"data: {\ndata: }\n\n",
    b"\n\n",
]
JSON_BETWEEN = [b"\n", b" ", b'{\n "a": 1\n}\n', b"\r\n", b"x\n"]


def sse_streams():
    blocks = st.builds(
        lambda start, message, end: start + message + end,
        st.sampled_from([b"data: "] * 8 + [b"data:", b"data:  ", b"event: error\ndata: "]),
        written(CHUNKS) | written(CHUNKS) | MESSAGES,
        st.sampled_from([b"\n\n"] * 8 + [b"\n\n\n", b"\r\n\r\n", b"\n"]),
    )
    return st.lists(blocks | st.sampled_from(SSE_BETWEEN), max_size=8).map(b"".join)


def json_streams():
    lines = st.builds(
        lambda start, line, end: start + line + end,
        st.sampled_from([b""] * 8 + [b" "]),
        written(OLLAMA_LINES) | written(OLLAMA_LINES) | MESSAGES,
        st.sampled_from([b"\n"] * 8 + [b"\n\n", b"\r\n", b""]),
    )
    return st.lists(lines | st.sampled_from(JSON_BETWEEN), max_size=8).map(b"".join)


def by_decoder_alone():
    return patch.object(event_columns, "_framing", return_value=None)


def assert_same(pieces):
    one = trace([(at**1.5, piece) for at, piece in enumerate(pieces)], lags_ns=tuple(range(len(pieces))))
    found, reply = derive_tables([one]), Columns().add(pieces)
    with by_decoder_alone():
        expected, expected_reply = derive_tables([one]), Columns().add(pieces)
    for table, expected_table in zip(found, expected, strict=True):
        pd.testing.assert_frame_equal(table, expected_table, check_exact=True)
    assert reply == expected_reply  # the texts too, of which the tables have the lengths


def split(raw, cuts):
    ends = [*sorted(cut % (len(raw) + 1) for cut in cuts), len(raw)]
    return [raw[start:end] for start, end in pairwise([0, *ends])]


CUTS = st.lists(st.integers(0, 10_000), max_size=12)


@settings(max_examples=100)
@given(sse_streams(), st.sampled_from([b"", b": ping\n\n", b"\n", b"\xef\xbb\xbf", b"data: [DONE]\n\n"]), CUTS)
def test_sse(raw, opening, cuts):
    assert_same(split(opening + raw, cuts))


@settings(max_examples=100)
@given(json_streams(), st.sampled_from([b"", b"{}\n", b"\n", b"\xef\xbb\xbf", b"{\n"]), CUTS)
def test_ndjson(raw, opening, cuts):
    assert_same(split(opening + raw, cuts))


CHUNK = '{"choices":[{"delta":{"content":"%s"}}]%s}'
LINE = '{"message":{"content":"%s"},"done":false%s}'
HOSTILE = [
    '{"choices":[{"delta":{"content":"a","content":"b"}}]}',
    '{"choices":[{"delta":{"content":"a"}}],"choices":[{"text":"b"}]}',
    '{"choices":[{"delta":{"content":"a"}}],"choices":null}',
    CHUNK % ("a", ',"error":"x","error":null'),
    CHUNK % ("a", ',"usage":{"completion_tokens":3,"completion_tokens":null}'),
    CHUNK % ("a", ',"usage":{"completion_tokens":1%s}' % ("0" * 5_000)),
    CHUNK % ("a", ',"usage":{"completion_tokens":1e3,"prompt_tokens":2147483648}'),
    CHUNK % ("a", ',"timings":{"predicted_n":3,"predicted_ms":1e999}'),
    CHUNK % ("a", ',"x":NaN,"y":-Infinity'),
    CHUNK % ("a", ',"x":' + "[" * 400 + "]" * 400),
    CHUNK % ("a", ',"x":' + "[" * 5_000 + "]" * 5_000),
    CHUNK % ("a", ',"x":01'),
    CHUNK % ("a", ',"x":"\\x"'),
    CHUNK % ("a", ',"x":"\\ud83d"'),
    CHUNK % ("\\ud83d", ""),
    CHUNK % ("\\ud83d\\ude00", ""),
    CHUNK % ("\\u0000", ""),
    CHUNK % ("\x01", ""),
    CHUNK % ("\x7f\u2028", ""),
    CHUNK % ("a", "") + CHUNK % ("b", ""),
    CHUNK % ("a", "") + ' "',
    "\t " + CHUNK % ("a", "") + " ",
    "\ufeff" + CHUNK % ("a", ""),
    '{"\\u0063hoices":[{"delta":{"content":"a"}}]}',
    LINE % ("a", ',"choices":null'),
    LINE % ("a", ',"total_duration":null'),
    LINE % ("a", ',"eval_count":3'),
    LINE % ("a", ',"done":true'),
    LINE % ("\\ude00", ""),
]


@pytest.mark.parametrize("message", HOSTILE)
def test_a_hostile_message_between_usual_ones(message):
    usual = (CHUNK % (" so", "")).encode()
    assert_same([b"data: " + part + b"\n\n" for part in (usual, usual, message.encode(), usual)])
    usual = (LINE % (" so", "")).encode()
    assert_same([part + b"\n" for part in (usual, usual, message.encode(), usual)])


@pytest.mark.parametrize("at", range(6))
def test_bytes_that_are_not_utf_8(at):
    part = b'data: {"id":"%s","choices":[{"delta":{"content":"%s"}}]}\n\n'
    parts = [part % (b"\xff" if at == 2 * k else b"i", b"\xff" if at == 2 * k + 1 else b"a") for k in range(3)]
    assert_same(parts)


@pytest.mark.parametrize("name", [*STREAMS, *sorted(path.name for path in WIRE.glob("hostile-*"))])
def test_recorded_streams(name):
    raw = body(name)
    for size in (len(raw) or 1, 1, 7, 300):
        assert_same([raw[at : at + size] for at in range(0, len(raw), size)])
