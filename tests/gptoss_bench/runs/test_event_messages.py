"""The usual messages with text are read without the decoder; any other is left to it."""

import re

import pytest

from gptoss_bench.runs.event_messages import OutputText, Usage, read_chunk, read_ollama_line
from gptoss_client import decode_body
from recordings import WIRE, body

STREAMS = sorted(path.stem for path in WIRE.glob("*_stream*.jsonl") if not re.search("native|responses", path.stem))


@pytest.mark.parametrize("name", STREAMS)
def test_each_text_of_a_recorded_stream_is_read(name):
    """Without this, nothing would show that the fast path is ever taken."""
    read, mark = (read_ollama_line, b"\n") if body(name).startswith(b"{") else (read_chunk, b"\n\n")
    messages = [message for message in body(name).split(mark) if len(message) < 1_000]
    events = [(message, *decode_body([message + mark])) for message in messages if message]
    texts = [(message, event) for message, event in events if event.kind == "output"]
    assert len(texts) > 5
    for message, event in texts:
        found = read(message.removeprefix(b"data:"))
        assert found is not None
        assert (found.answer, found.reasoning, found.finish_reason) == (
            event.answer,
            event.reasoning,
            event.finish_reason,
        )


def test_the_counts_of_a_chunk():
    usage = b'"usage":{"prompt_tokens":5,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":2}}'
    found = read_chunk(b'{"choices":[{"delta":{"content":" a"},"token_ids":[7,8]}],%s}' % usage)
    assert isinstance(found, OutputText)
    assert isinstance(found.usage, Usage)
    assert (found.count, found.ids, found.usage.cached_tokens, found.usage.reasoning_tokens) == (3, 2, 2, None)
    timed = b'{"choices":[{"delta":{"reasoning_content":" a"}}],"timings":{"predicted_n":4,"predicted_ms":9}}'
    assert read_chunk(timed) == OutputText("", " a", count=4, with_timings=timed)


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(b'{"choices":[{"delta":{"role":"assistant","content":""}}]}', id="no text"),
        pytest.param(b'{"choices":[{"delta":{"content":"a"}}],"error":{"message":"x"}}', id="an error"),
        pytest.param(b'{"choices":[{"delta":{"content":"a"}}],"object":"error"}', id="an error by its object"),
        pytest.param(b'{"choices":[{"message":{"content":"a"}}]}', id="a whole reply"),
        pytest.param(b'{"choices":[{"delta":{"content":"a","tool_calls":[{}]}}]}', id="a tool call"),
        pytest.param(b'{"choices":[{"delta":{"content":[{"text":"a"}]}}]}', id="content parts"),
        pytest.param(b'{"choices":[{"delta":{"content":"a"}},{}]}', id="two choices"),
        pytest.param(b'{"choices":[{"delta":{"content":"a"}}],\n"x":1}', id="two lines"),
        pytest.param(b'{"choices":[{"delta":{"content":"a"}}],"x":"%s"}' % (b"x" * 1_000), id="a long message"),
        pytest.param(b'{"type":"response.output_text.delta","delta":"a"}', id="Responses"),
        pytest.param(b'{"message":{"content":"a"},"done":true,"total_duration":5}', id="the end of an Ollama stream"),
    ],
)
def test_other_messages_are_left_to_the_decoder(message):
    assert read_chunk(message) is None
    assert read_ollama_line(message) is None
