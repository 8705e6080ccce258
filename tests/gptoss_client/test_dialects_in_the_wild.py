"""Streams of public bug reports, each with what is right: dialects, usage in other places, counts that cannot be."""

import pytest

from gptoss_client import Reply, assemble_reply, decode_body
from gptoss_client.outcome import unfinished_reply
from streams import DONE, answer, counted, delta, finish, role, sse, thought, usage


def reply_of(*parts: bytes) -> Reply:
    return assemble_reply(decode_body([b"".join(parts)]))


def test_a_legacy_function_call_is_output() -> None:
    """The name and two parts of the arguments, as before `tool_calls` (langroid#292, OpenAI's older API)."""
    said = reply_of(
        delta({"role": "assistant", "content": None, "function_call": {"name": "get_weather", "arguments": ""}}),
        delta({"function_call": {"arguments": '{"city":'}}),
        delta({"function_call": {"arguments": '"Oslo"}'}}),
        finish("function_call"),
        DONE,
    )
    assert (said.tool_text, said.output_events, said.finish_reason) == (
        'get_weather{"city":"Oslo"}',
        3,
        "function_call",
    )
    assert reply_of(answer("a", function_call=None)).output_events == 1
    assert reply_of(delta({"content": None, "function_call": None})).output_events == 0


def test_usage_of_groq() -> None:
    """Only `x_groq.usage` of the last chunk has counts (vercel/ai#1651)."""
    end = sse({"choices": [{"delta": {}, "finish_reason": "stop"}], "x_groq": {"id": "r", "usage": counted(19, 23)}})
    said = reply_of(role(x_groq={"id": "r"}), *[answer()] * 19, end, DONE)
    assert (said.prompt_tokens, said.completion_tokens, said.output_events) == (23, 19, 19)


REASONING = {"type": "response.reasoning_text.done", "item_id": "r", "text": "We need to answer."}
TEXT = [
    {"type": "response.output_text.delta", "item_id": "m", "delta": "Hi"},
    {"type": "response.output_text.done", "item_id": "m", "text": "Hi"},
    {
        "type": "response.completed",
        "response": {
            "usage": {"input_tokens": 8, "output_tokens": 7, "output_tokens_details": {"reasoning_tokens": 5}}
        },
    },
]


@pytest.mark.parametrize("deltas", [(), ("We need", " to answer.")])
def test_reasoning_of_responses_once_with_and_without_deltas(deltas: tuple[str, ...]) -> None:
    """LM Studio sends the whole reasoning in `done` and no deltas (pi#4193); others repeat it there."""
    parts = [{"type": "response.reasoning_text.delta", "item_id": "r", "delta": text} for text in deltas]
    said = reply_of(*map(sse, [*parts, REASONING, *TEXT]))
    assert (said.reasoning_text, said.answer_text) == ("We need to answer.", "Hi")
    assert (said.output_events, said.completion_tokens, said.reasoning_tokens) == (1 + (len(deltas) or 1), 7, 5)


ANTHROPIC = [
    {
        "type": "message_start",
        "message": {"usage": {"input_tokens": 25, "cache_read_input_tokens": 16, "output_tokens": 1}},
    },
    {"type": "ping"},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "Hm."}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "x"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "Hello"}},
    {"type": "content_block_start", "index": 2, "content_block": {"type": "tool_use", "name": "f", "input": {}}},
    {"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": '{"a": 1}'}},
    {"type": "message_delta", "delta": {"stop_reason": "max_tokens"}, "usage": {"output_tokens": 15}},
    {"type": "message_stop"},
]


def test_messages_of_anthropic() -> None:
    """Prompt: 25 + 16 from the cache. The 1 in `message_start` is a placeholder, 15 is the count."""
    said = reply_of(*(b"event: %s\n" % str(one["type"]).encode() + sse(one) for one in ANTHROPIC))
    assert (said.answer_text, said.reasoning_text, said.tool_text) == ("Hello", "Hm.", 'f{"a": 1}')
    assert (said.prompt_tokens, said.cached_tokens, said.completion_tokens) == (41, 16, 15)
    assert (said.output_events, said.finish_reason, said.ended, said.error) == (4, "length", True, None)
    assert reply_of(sse(ANTHROPIC[0]), sse({"type": "error", "error": {"message": "Overloaded"}})).error == "Overloaded"


@pytest.mark.parametrize(
    ("name", "events", "counts"),
    [
        ("no tokens beside text (LocalAI#1744)", [answer(usage=counted(0, 0)), usage(0, 0)], (None, None, None, None)),
        ("no text and no tokens", [role(), usage(0)], (88, 0, None, None)),
        ("no reasoning tokens beside reasoning", [thought(), _usage := usage(3)], (88, 3, None, None)),
    ],
)
def test_a_count_that_cannot_be_is_not_reported(name: str, events: list[bytes], counts: tuple[int | None, ...]) -> None:
    said = reply_of(*events, finish(), DONE)
    assert (said.prompt_tokens, said.completion_tokens, said.reasoning_tokens, said.cached_tokens) == counts


@pytest.mark.parametrize(
    ("spent", "given", "counts"),
    [
        ({"reasoning_tokens": 4}, {"cached_tokens": 88}, (4, 88)),
        ({"reasoning_tokens": 10}, {"cached_tokens": 89}, (None, None)),  # of 9 and of 88
        ({"reasoning_tokens": 0}, {"cached_tokens": 0}, (None, 0)),  # 0 beside reasoning text
        ({"reasoning_tokens": "4"}, {"cached_tokens": -1}, (None, None)),
    ],
)
def test_parts_of_a_count(spent: dict[str, object], given: dict[str, object], counts: tuple[int | None, ...]) -> None:
    details = {"completion_tokens_details": spent, "prompt_tokens_details": given}
    said = reply_of(thought(), finish(), sse({"choices": [], "usage": counted(9) | details}), DONE)
    assert (said.reasoning_tokens, said.cached_tokens) == counts


def test_an_unknown_dialect_is_named() -> None:
    problem = unfinished_reply(reply_of(sse({"hello": "there"}), sse({"hello": "again"})))
    assert problem is not None
    assert problem[0] == "cut"
    assert "no message of it has an end, output or tokens: (chat) completions and Responses of OpenAI" in problem[1]
