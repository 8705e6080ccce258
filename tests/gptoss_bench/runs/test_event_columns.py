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

TEXTS = st.text(max_size=4) | st.sampled_from([" a", "\n", '"', "\\", "data: ", "\n\n", "é", "😀", "\ud83d", "\ude00"])
ODD_VALUES = [
    *(None, "", [], {}, 0, False, True, 3, -1, 1.5, 2**31, "x", "error", "stop", ["x"], [{}]),
    *(
        [{"text": "part"}],
        {"message": "no"},
        [{"function": {"name": "f"}}],
        {"reasoning_tokens": 4, "cached_tokens": 5},
    ),
]
ODD = st.sampled_from(ODD_VALUES)
SOME = TEXTS | ODD
CALLS = st.lists(
    st.fixed_dictionaries({"function": st.fixed_dictionaries({"name": TEXTS, "arguments": SOME})}), max_size=2
)
COUNTS = st.integers(0, 300) | st.sampled_from([-1, 2**31 - 1, 2**31, 10**20, 1.0, 1.5, float("nan")]) | ODD
SECONDS = st.floats(0, 1e6) | st.sampled_from([2**53 + 1, -0.0, -1, 1e18, 1e300]) | ODD
DELTA = ("choices", 0, "delta")
# values that a field of a message may have, usual and unusual ones
CHUNK_FIELDS = {
    **{(*DELTA, key): SOME for key in ("content", "reasoning", "reasoning_content", "role", "x")},
    (*DELTA, "tool_calls"): CALLS | ODD,
    **{("choices", 0, key): SOME for key in ("text", "message", "delta", "finish_reason", "logprobs")},
    ("choices", 0, "message", "content"): SOME,
    ("choices", 0, "token_ids"): st.lists(COUNTS, max_size=3) | ODD,
    ("choices", 1): SOME,
    **{(key,): SOME for key in ("choices", "error", "type", "object", "done", "detail", "id", "usage", "timings")},
    **{("usage", key): COUNTS for key in ("prompt_tokens", "completion_tokens", "input_tokens", "output_tokens")},
    **{
        ("usage", f"{of}_tokens_details", key): COUNTS
        for of in ("completion", "prompt", "input", "output")
        for key in ("reasoning_tokens", "cached_tokens")
    },
    **{("timings", key): COUNTS for key in ("cache_n", "prompt_n", "predicted_n")},
    **{("timings", key): SECONDS for key in ("prompt_ms", "predicted_ms")},
}
LINE_FIELDS = {
    **{("message", key): SOME for key in ("content", "thinking", "role")},
    ("message", "tool_calls"): CALLS | ODD,
    **{(key,): SOME for key in ("message", "response", "thinking", "done", "done_reason", "created_at")},
    **{(key,): SOME for key in ("choices", "error", "type", "object", "stop", "detail")},
    **{(key,): COUNTS for key in ("prompt_eval_count", "eval_count")},
    **{(key,): SECONDS for key in ("total_duration", "eval_duration", "load_duration", "prompt_eval_duration")},
}


def mostly(usual, unusual, often=8):
    return st.sampled_from([usual] * often + [unusual]).flatmap(lambda chosen: chosen)


def messages(path, fields):
    """Messages with a text here, and a few other fields."""
    field = st.sampled_from(sorted(fields, key=str)).flatmap(lambda at: st.tuples(st.just(at), fields[at]))
    return st.builds(
        lambda text, some: message([(path, text), *some]), mostly(st.just(" a"), TEXTS), st.lists(field, max_size=2)
    )


def message(fields):
    found = {"done": False} if ("message", "content") in dict(fields) else {"choices": [{}]}
    for path, value in fields:
        put(found, path, value)
    return found


def put(place, path, value):
    """Set the value there, unless something else is on the way to it."""
    for key, after in pairwise(path):
        if isinstance(place, list) and place:
            place = place[0]
        elif isinstance(place, dict):
            place = place.setdefault(key, [{}] if isinstance(after, int) else {})
    if isinstance(place, list):
        place.append(value)
    elif isinstance(place, dict):
        place[path[-1]] = value


CHUNKS = messages((*DELTA, "content"), CHUNK_FIELDS)
LINES = messages(("message", "content"), LINE_FIELDS)


def written(objects):
    """The objects as JSON, in the spellings of different servers."""
    return st.builds(
        lambda content, ascii_, tight: json.dumps(
            content, ensure_ascii=ascii_, separators=(",", ":") if tight else None
        ).encode("utf-8", "replace"),
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
    written(CHUNKS | LINES),
    st.integers(0, 1_000),
    st.binary(max_size=2),
)
OTHERS = written(CHUNKS) | written(LINES) | BROKEN | st.sampled_from(OTHER_JSON)
SSE_BETWEEN = [
    b": ping\n\n",
    b"error: {}\n",
    b'{"error":"x"}\n',
    b"Internal Server Error\n",
    b"event: error\n",
    b"id: 1\n",
    b"\n",
    b"retry: 5\n\n",
    b"data: {\ndata: }\n\n",
    b"\n\n",
]
JSON_BETWEEN = [b"\n", b" ", b'{\n "a": 1\n}\n', b"x\n"]
STARTS = [b"data: "] * 8 + [b"data:", b"data:  ", b"event: error\ndata: "]
CUTS = st.lists(st.integers(0, 10_000), max_size=12)


def streams(openings, starts, usual, ends, between):
    """Bodies of mostly usual messages; now and then with CR LF, which some servers write."""
    parts = (st.sampled_from(starts), mostly(usual, OTHERS), st.sampled_from(ends))
    blocks = mostly(st.tuples(*parts).map(b"".join), st.sampled_from(between))
    opening = mostly(st.just(openings[0]), st.sampled_from(openings))
    raw = st.tuples(opening, st.lists(blocks, min_size=4, max_size=12).map(b"".join)).map(b"".join)
    return mostly(raw, raw.map(lambda body: body.replace(b"\n", b"\r\n")))


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


@settings(max_examples=100)
@given(
    streams(
        [b"data: {}\n\n", b"", b": ping\n\n", b"\n", b"\xef\xbb\xbf", b"data: [DONE]\n\n"],
        STARTS,
        written(CHUNKS),
        [b"\n\n"] * 8 + [b"\n\n\n", b"\n"],
        SSE_BETWEEN,
    ),
    CUTS,
)
def test_sse(raw, cuts):
    assert_same(split(raw, cuts))


@settings(max_examples=100)
@given(
    streams(
        [b"{}\n", b"", b"\n", b"\xef\xbb\xbf", b"{\n"],
        [b""] * 8 + [b" "],
        written(LINES),
        [b"\n"] * 8 + [b"\n\n", b""],
        JSON_BETWEEN,
    ),
    CUTS,
)
def test_ndjson(raw, cuts):
    assert_same(split(raw, cuts))


@pytest.mark.parametrize(
    ("text", "end", "path"),
    [
        *(((*DELTA, "content"), b"\n\n", path) for path in CHUNK_FIELDS),
        *((("message", "content"), b"\n", path) for path in LINE_FIELDS),
    ],
    ids=str,
)
def test_each_field_with_each_odd_value(text, end, path):
    start = b"data: " if end == b"\n\n" else b""
    usual = message([(text, " a")])
    for value in ODD_VALUES:
        odd = message([(text, " a"), (path, value)])
        pieces = [start + json.dumps(part).encode() + end for part in (usual, odd, usual)]
        found, expected = Columns(), Columns()
        reply = found.add(pieces)
        with by_decoder_alone():
            assert reply == expected.add(pieces)
        assert vars(found) == vars(expected)


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
    CHUNK % ("a", ',"usage":{"completion_tokens":3},"timings":{"predicted_n":4}'),
    '{"choices":[{"delta":{"reasoning":"a","reasoning_content":"bc"}}]}',
    CHUNK % ("a", ',"x":1' + "0" * 5_000),
    '{"a":',
    "x",
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
    CHUNK % ("a", ',"x_groq":{"usage":{"completion_tokens":3}}'),
    CHUNK % ("a", ',"provider":{"error":"x"}'),
    CHUNK % ("a", ',"provider":{"\\u0065rror":"x"}'),
    CHUNK % ('say \\"error\\"', ""),
    '{"choices":[{"delta":{"content":"a","function_call":{"name":"f"}}}]}',
    '{"choices":[{"delta":{"content":"a"},"finish_reason":"error"}]}',
    '{"choices":[{"delta":{"content":"a"},"error":"x"}]}',
    LINE % ("a", ',"x":{"error":"y"}'),
    CHUNK % ("a", "") + '\n\nerror: {"message":"no"}',
    CHUNK % ("a", "") + '\n\n{"error":"no"}',
    CHUNK % ("a", "") + "\n\nInternal Server Error",
    CHUNK % ("a", ',"usage":{"completion_tokens":0}'),
    CHUNK.replace(":", ":\n") % ("a", ""),
    CHUNK % ("a", "") + "\n",
    CHUNK % ("a", "") + "\n\n: ping",
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


def test_the_last_running_count_is_that_of_the_reply():
    counts = [f',"usage":{{"completion_tokens":{n}}},"timings":{{"predicted_n":7}}' for n in range(1, 5)]
    assert_same([b"data: " + (CHUNK % ("a", count)).encode() + b"\n\n" for count in [*counts, ""]])
    assert_same([b"data: " + (CHUNK % ("a", count)).encode() + b"\n\n" for count in counts])


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
