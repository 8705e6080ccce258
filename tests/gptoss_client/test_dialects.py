"""Recorded streams of each engine, and every message format as a literal, converted to events."""

import json
import re

import pytest

from gptoss_client.decoder import decode_body
from gptoss_client.dialects import Event, ServerTimings, assemble_reply
from recordings import body, chunk, recorded, sse


def texts(name, field):
    """All JSON strings under a field's name, found without parsing the messages."""
    found = re.findall(rf'"{field}":("(?:[^"\\]|\\.)*")', body(name).decode())
    return [json.loads(text) for text in found if text != '""']


def only(message):
    (event,) = decode_body([json.dumps(message).encode()])
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
    reply = assemble_reply(decode_body(recorded(name)))
    answers, thoughts = texts(name, answer), texts(name, reasoning)
    assert reply.answer_text == "".join(answers)
    assert reply.reasoning_text == "".join(thoughts)
    assert len(reply.answer_text) > 30
    assert reply.output_events == (1 if reply.events == 1 else len(answers) + len(thoughts))
    assert (reply.events, reply.completion_tokens, reply.prompt_tokens, reply.finish_reason) == sums
    assert (reply.ended, reply.error, reply.tool_text) == (True, None, "")


def test_responses_stream():
    reply = assemble_reply(decode_body(recorded("vllm-responses_stream")))
    assert reply.reasoning_text.startswith("rest first a writes")
    assert reply.answer_text.endswith(" slowly many at")
    assert (reply.events, reply.output_events, reply.completion_tokens, reply.reasoning_tokens) == (86, 73, 83, 17)
    assert (reply.finish_reason, reply.error) == ("stop", None)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("llamacpp-err_too_long", "request (7057 tokens) exceeds the available context size (2048 tokens), try incre"),
        ("vllm-err_bad_json", "1 validation error:\n  {'type': 'json_invalid'"),
        ("transformers-err_unknown_field_ignore_eos", "Unexpected fields in the request: {'ignore_eos'}"),
        ("transformers-err_no_messages", "malformed: received text, not a reply: 'Internal Server Error'"),
        ("ollamaapi-err_bad_model", "model 'nope' not found"),
    ],
)
def test_error_bodies_that_servers_sent(name, error):
    (event,) = decode_body(recorded(name))
    assert event.kind == "error"
    assert event.error is not None
    assert event.error.startswith(error)


def test_counts_of_the_events_of_vllm():
    continuous = decode_body(recorded("vllm-chat_stream_continuous_usage"))
    assert [event.completion_tokens for event in continuous[:3]] == [0, 4, 5]
    assert [event.kind for event in continuous[-3:]] == ["output", "usage", "done"]
    assert continuous[-3].finish_reason == "length"
    assert assemble_reply(continuous).reasoning_tokens == 21
    listed = decode_body(recorded("vllm-chat_stream_return_token_ids"))
    assert [(event.kind, event.token_ids) for event in listed[:3]] == [("role", None), ("other", 1), ("other", 1)]
    assert sum(event.token_ids or 0 for event in listed) == 48


def test_two_events_of_llama_cpp_share_a_piece_and_bring_its_timings():
    events = decode_body(recorded("llamacpp-chat_stream_usage"))
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
    assert assemble_reply(events).cached_tokens == 0


def test_timings_of_ollama_are_seconds():
    events = decode_body(recorded("ollamaapi-chat_stream"))
    assert events[-1].kind == "usage"
    assert assemble_reply(events).timings == ServerTimings(
        "ollama",
        load_s=2.505885052,
        prompt_s=0.010336,
        prompt_tokens=75,
        eval_s=0.274951,
        eval_tokens=125,
        total_s=2.812022174,
    )


def test_an_unload_of_ollama_says_nothing_but_that_it_is_done():
    reply = assemble_reply(decode_body(recorded("ollamaapi-unload")))
    assert (reply.ended, reply.finish_reason, reply.completion_tokens, reply.timings) == (True, "unload", None, None)
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
            {"choices": [{"finish_reason": "\ud83d"}]},  # half of a surrogate pair, which no table can hold
            Event(0, "finish", finish_reason="\\ud83d", ended=True),
        ),
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
    assert decode_body([sse(message)]) == [event]
    assert decode_body([json.dumps(message, indent=2).encode()]) == [event]
