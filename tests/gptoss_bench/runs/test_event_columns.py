"""What shapes read is what the general decoder reads: any stream, any split, hostile ones too."""

import json
import re
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gptoss_bench.runs.event_columns import KINDS, Columns
from gptoss_bench.runs.event_shapes import Shape
from gptoss_bench.runs.event_tokens import UNKNOWN, count_so_far
from gptoss_client.decoder import decode_body
from gptoss_client.dialects import assemble_reply
from recordings import WIRE, body

STREAMS = sorted(path.name.removesuffix(".jsonl") for path in WIRE.glob("*stream*.jsonl"))
ESCAPES = ["\\n", '\\"', "\\\\", "\\u00e9", "\\ud83d", "\\ude00", "\\/"]
BAD_TEXTS = ["\\", '"', "\\x", "\\u12g4", "\n", "\t", "\x01", "\r", "\ufeff", "\u2028", "\x7f"]
TEXTS = st.lists(st.sampled_from([" a", "é", "😀", "]}", "data: ", "", *ESCAPES]), max_size=3).map("".join)
HOSTILE_TEXTS = st.lists(st.sampled_from([" a", *ESCAPES, *BAD_TEXTS]), max_size=3).map("".join)
NUMBERS = st.sampled_from(
    ["0", "7", "12", "2147483648", "-1", "1.5", "01", "1e-05", "1E3", "1e999", "NaN", "null", '"3"', "true"]
)
TEMPLATES = [
    # `text` and `n` are put in as they are: well-formed or not
    'data: {"id":"c-%(n)s","choices":[{"index":0,"delta":{"content":"%(text)s"},"finish_reason":null}]}\n\n',
    'data: {"id":"c","created":%(n)s,"choices":[{"index":0,"delta":{"reasoning":"%(text)s"}}]}\n\n',
    'data: {"choices":[{"delta":{"reasoning_content":"%(text)s","reasoning":"%(text)s"}}]}\n\n',
    'data: {"choices":[{"delta":{"content":"%(text)s"}}],"usage":{"prompt_tokens":5,"completion_tokens":%(n)s}}\n\n',
    'data: {"choices": [{"delta": {"content": "%(text)s"}}], "timings": {"predicted_n": %(n)s, "predicted_ms": 3}}\n\n',
    'data: {"choices":[{"delta":{"content":"%(text)s"}}],"timings":{"predicted_n":4,"predicted_ms":%(n)s}}\n\n',
    'data: {"choices":[{"delta":{"content":"%(text)s"},"token_ids":[%(n)s]}]}\n\n',
    'data: {"choices":[{"delta":{"content":"%(text)s","content":"b"}}],"created":%(n)s,"created":3}\n\n',
    'data: {"choices":[{"delta":{"content":"%(text)s"}}],"timings":{"predicted_n":1,"predicted_n":%(n)s}}\n\n',
    'data: {"choices":[{"delta":{"content":"%(text)s"},"text":"%(text)s","finish_reason":"stop"}],"error":%(n)s}\n\n',
    'data: {"type":"response.output_text.delta","delta":"%(text)s","id":%(n)s}\n\n',
    '{"created_at":"%(n)s","message":{"role":"assistant","content":"","thinking":"%(text)s"},"done":false}\n',
    '{"created_at":"2026","message":{"role":"assistant","content":"%(text)s"},"done":false,"eval_count":%(n)s}\n',
    '{"response":"%(text)s","done":false,"id":%(n)s}\n',
]
BETWEEN = [
    "data: [DONE]\n\n",
    ": ping\n\n",
    "event: error\n",
    "data: {\n",
    "\n",
    "\r\n",
    "id: 1\n",
    "{",
    "data: {}\r\n\r\n",
]


def columns_of(pieces):
    """What the columns say of one body, and its reply, after a body that has taught the shapes of everything."""
    columns = Columns(most_shapes=len(TEMPLATES))
    for template in TEMPLATES:
        columns.add([(template % {"text": "so", "n": 3}).encode()] * 2)
    before = len(columns.end)
    said = columns.add(pieces)
    names = ("end", "kind", "output", "answer_chars", "reasoning_chars", "count", "ids")
    return {name: getattr(columns, name)[before:].tolist() for name in names}, columns.events[-1], said


def columns_by_wire(pieces):
    events = decode_body(pieces)
    ends, total = [], 0
    for piece in pieces:
        total += len(piece)
        ends.append(total)
    counts = [count_so_far(event) for event in events]
    columns = {
        "kind": [KINDS.index(event.kind) for event in events],
        "output": [int(event.is_output) for event in events],
        "answer_chars": [len(event.answer) for event in events],
        "reasoning_chars": [len(event.reasoning) for event in events],
        "count": [UNKNOWN if count is None else count for count in counts],
        "ids": [UNKNOWN if event.token_ids is None else event.token_ids for event in events],
    }
    # the piece is told by where the event ends, so it is enough that this lies in the piece
    return (
        columns,
        [(ends[event.piece] - len(pieces[event.piece]), ends[event.piece]) for event in events],
        assemble_reply(events),
    )


def assert_same(pieces):
    found, events, said = columns_of(pieces)
    expected, pieces_of, whole = columns_by_wire(pieces)
    ends = found.pop("end")
    assert found == expected
    assert events == len(ends)
    assert all(start < end <= stop for end, (start, stop) in zip(ends, pieces_of, strict=True))
    assert said == whole


def split(raw, cuts):
    ends = [*sorted(cut % (len(raw) + 1) for cut in cuts), len(raw)]
    return [raw[start:end] for start, end in pairwise([0, *ends])]


MESSAGES = st.builds(
    lambda template, text, n: template % {"text": text, "n": n},
    st.sampled_from(TEMPLATES),
    TEXTS | HOSTILE_TEXTS,
    NUMBERS,
)


@settings(deadline=None, max_examples=300)
@given(
    st.lists(MESSAGES | st.sampled_from(BETWEEN), max_size=12),
    st.sampled_from(["", "data: {}\n\n", "{}\n", "\n"]),
    st.lists(st.integers(0, 10_000), max_size=12),
)
def test_any_stream_in_any_pieces(messages, opening, cuts):
    raw = (opening + "".join(messages)).encode("utf-8", "surrogatepass")
    assert_same(split(raw, cuts))


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(TEMPLATES), st.lists(st.tuples(TEXTS, NUMBERS), max_size=8), st.lists(st.integers(0, 5_000)))
@example(TEMPLATES[3], [(" a", "2147483648")], [])  # no count that the decoder takes
@example(TEMPLATES[0], [("a", "7"), ("\x01", "7")], [])  # a text that JSON forbids
@example(TEMPLATES[0], [(" a", "7"), ('\\"},"b":"', "7"), ("", "7"), ('"', "7"), ("\\", "7")], [])
@example(TEMPLATES[5], [(" a", "1e999"), (" a", "-1"), (" a", "1e-05")], [])
def test_a_stream_of_one_shape(template, said, cuts):
    said = [("so", "3"), *said]  # the first message of a body tells its form, the shape reads from the second on
    raw = "".join(template % {"text": text, "n": n} for text, n in said).encode("utf-8", "surrogatepass")
    assert_same(split(raw, cuts))


def test_two_texts_that_are_the_same_only_in_most_events():
    message = TEMPLATES[2] % {"text": "yes", "n": 3}
    assert_same([part.encode() for part in (message, message, message.replace("yes", "no", 1), message)])


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(TEMPLATES), st.integers(0, 300), st.binary(min_size=1, max_size=2), st.integers(0, 300))
@example(TEMPLATES[0], 58, b"\xff", 0)
def test_one_wrong_byte(template, at, byte, cut):
    raw = (template % {"text": "so", "n": 3}).encode() * 3
    at %= len(raw)
    assert_same(split(raw[:at] + byte + raw[at + 1 :], [cut]))


@pytest.mark.parametrize("name", [*STREAMS, *sorted(path.name for path in WIRE.glob("hostile-*"))])
def test_recorded_streams(name):
    raw = body(name)
    for size in (len(raw) or 1, 1, 7, 300):
        assert_same([raw[at : at + size] for at in range(0, len(raw), size)])


@pytest.mark.parametrize(
    "name", [name for name in STREAMS if re.search("chat_stream(_usage|_continuous_usage)?$", name)]
)
def test_the_usual_streams_have_shapes(name):
    """Without this, nothing would show that the quick way is ever taken."""
    messages = [line for line in re.split(rb"(?<=\n\n)" if b"data:" in body(name) else rb"(?<=\n)", body(name)) if line]
    form = "sse" if b"data:" in body(name) else "json"
    outputs = [
        message for message in messages if b"\ndata:" not in message and decode_body([message])[0].kind == "output"
    ]
    shape = Shape.of(outputs[3], form)
    assert shape is not None
    texts, ends, _ = shape.run(b"".join(outputs[3:]), 0)
    assert len(texts) == len(ends) > 5
    assert json.loads(b'"' + texts[1] + b'"') == assemble_reply(decode_body([outputs[4]])).reasoning_text
