"""Convert one JSON message of a server to an `Event`, and all events to a `Reply`.

Read are (chat) completions and Responses of OpenAI, Messages of Anthropic, and the APIs of Ollama and llama.cpp.
"""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar

from gptoss_client.outside import one_line, printable_text

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ServerTimings:
    """Durations (s) and token counts that the server reports about itself. `source` is "ollama" or "llama.cpp".

    llama.cpp: `prompt_tokens` does not include `cached_tokens`. Ollama: `prompt_tokens` includes the cached ones, its
    `prompt_s` does not; `load_s` includes waiting for a model that is being loaded, but not for a slot. Both begin
    `eval_s` when the first token is there: `eval_tokens` / `eval_s` is N / (N - 1) times the rate of N tokens.
    """

    source: str
    load_s: float | None = None
    prompt_s: float | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    eval_s: float | None = None
    eval_tokens: int | None = None
    total_s: float | None = None

    @property
    def wait_s(self) -> float | None:
        """Return the part of the total (s) that is neither loading, prompt nor decoding; None where it is not known.

        In Ollama this is the wait for a slot, and 1 to 30 ms of work on each request. Ollama leaves out zeros.
        """
        if self.total_s is None or self.eval_s is None:
            return None
        return max(0.0, self.total_s - (self.load_s or 0.0) - (self.prompt_s or 0.0) - self.eval_s)


@dataclass(frozen=True, slots=True)
class Event:
    """One message of a stream. `piece` is the index of the piece of bytes that completed it.

    `kind` is the first that applies of: error, output (any text), usage, finish, role, done ([DONE], or Ollama's
    done:true without other content), other. Token counts are those that this event contains (servers send cumulative
    counts); `token_ids` is the number of ids that it lists. `ended`: the event marks the end of the reply.
    """

    piece: int
    kind: str
    answer: str = ""
    reasoning: str = ""
    tool: str = ""
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    reasoning_tokens: int | None = None
    cached_tokens: int | None = None
    token_ids: int | None = None
    timings: ServerTimings | None = None
    error: str | None = None
    ended: bool = False

    @property
    def is_output(self) -> bool:
        """Return whether the event has any text: answer, reasoning or tool call."""
        return bool(self.answer or self.reasoning or self.tool)


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole response. Texts are joined over events; a count is the last one reported, None if there was none.

    A reported count that cannot be is None too: no tokens of a reply that has output or of its prompt, no reasoning
    tokens beside reasoning text, more reasoning tokens than tokens, more cached prompt tokens than prompt tokens.
    `ended`: a finish_reason, [DONE] or Ollama's done:true arrived. A stream that stopped without one has `error` None:
    only the trace shows whether it was cut or cancelled.
    """

    answer_text: str
    reasoning_text: str
    tool_text: str
    completion_tokens: int | None
    prompt_tokens: int | None
    reasoning_tokens: int | None
    cached_tokens: int | None
    events: int
    output_events: int
    finish_reason: str | None
    error: str | None
    ended: bool
    timings: ServerTimings | None


def assemble_reply(events: Sequence[Event]) -> Reply:
    """Join events to the reply: the first `error`, the last `finish_reason`, `timings` and counts."""
    outputs = sum(event.is_output for event in events)
    thought = _join_surrogates("".join(event.reasoning for event in events))
    prompt = _first(event.prompt_tokens for event in reversed(events)) or None
    completion = _first(event.completion_tokens for event in reversed(events))
    completion = None if completion == 0 and outputs else completion
    reasoning = _first(event.reasoning_tokens for event in reversed(events))
    cached = _first(event.cached_tokens for event in reversed(events))
    return Reply(
        answer_text=_join_surrogates("".join(event.answer for event in events)),
        reasoning_text=thought,
        tool_text=_join_surrogates("".join(event.tool for event in events)),
        completion_tokens=completion,
        prompt_tokens=prompt,
        reasoning_tokens=None if reasoning == 0 and thought else _at_most(reasoning, completion),
        cached_tokens=_at_most(cached, prompt),
        events=len(events),
        output_events=outputs,
        finish_reason=_shown(_first(event.finish_reason for event in reversed(events))),
        error=_shown(_first(event.error for event in events)),
        ended=any(event.ended or event.finish_reason or event.kind == "done" for event in events),
        timings=_first(event.timings for event in reversed(events)),
    )


def _first(values: Iterable[T | None]) -> T | None:
    return next((value for value in values if value is not None), None)


def _at_most(part: int | None, whole: int | None) -> int | None:
    """Return a part of a count; None if it is larger than the whole."""
    return None if part is not None and whole is not None and part > whole else part


def _shown(text: str | None) -> str | None:
    """Return a text that a table and a terminal show; None if there is none."""
    return one_line(text) or None if text else None


def _join_surrogates(text: str) -> str:
    """Join the halves of surrogate pairs, which may arrive in two events; replace a lone half by U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


JsonObject = dict[str, Any]


class _Usage(NamedTuple):
    prompt: int | None = None
    completion: int | None = None
    reasoning: int | None = None
    cached: int | None = None


_NO_USAGE = _Usage()
_TOKENS_REPORTED = re.compile(rb'"(?:completion_tokens|output_tokens|eval_count|tokens_predicted)"\s*:\s*(\d{1,12})')


def parse_message(
    piece: int, message: object, *, is_error: bool = False, within: bool = True, streamed: set[str] | None = None
) -> Event:
    """Return the event of one decoded JSON value.

    Args:
        piece: Index of the piece of bytes that completed it.
        message: The value.
        is_error: The server marked the message as an error, as with the SSE field `event: error`.
        within: Whether its text contains a key that begins with "error". An error is looked for where servers are known
            to put it, and at any level of a message without output.
        streamed: Kinds of text of a Responses stream that have come in parts so far; this message adds its own.
    """
    if not isinstance(message, dict):
        error = _error_within(message) if within else None
        return _event(piece, error=error_text(message) if error is None and is_error else error)
    error = _reported_error(message) if within else None
    if error is None and (is_error or message.get("object") == "error" or message.get("type") == "error"):
        error = error_text(message)
    event = _parsed(piece, message, error, set() if streamed is None else streamed)
    if event.error is None and within and not event.is_output:
        error = _error_within(message)
        return event if error is None else replace(event, kind="error", error=error)
    return event


def _parsed(piece: int, message: JsonObject, error: str | None, streamed: set[str]) -> Event:
    for key, dialect in _DIALECTS:
        if key in message:
            return dialect(piece, message, error)
    if "type" in message:
        name = str(message["type"])
        if name in _ANTHROPIC_TYPES or name.startswith("content_block_"):
            return _anthropic(piece, message, error)
        return _responses(piece, message, error, streamed)
    if error is None and "detail" in message:  # FastAPI's own error body
        error = error_text(message["detail"])
    return _event(piece, usage=_openai_usage(message.get("usage")), error=error)


def _event(
    piece: int,
    *,
    answer: str = "",
    reasoning: str = "",
    tool: str = "",
    finish_reason: str | None = None,
    usage: _Usage = _NO_USAGE,
    token_ids: int | None = None,
    timings: ServerTimings | None = None,
    error: str | None = None,
    role: bool = False,
    ended: bool = False,
) -> Event:
    if error is None and finish_reason in _FAILED:
        error = f"the server ended the reply with the finish reason {finish_reason}"
    if error is not None:
        kind = "error"
    elif answer or reasoning or tool:
        kind = "output"
    elif usage != _NO_USAGE:
        kind = "usage"
    elif finish_reason is not None:
        kind = "finish"
    else:
        kind = "role" if role else "done" if ended else "other"
    ended = ended or finish_reason is not None
    return Event(piece, kind, answer, reasoning, tool, finish_reason, *usage, token_ids, timings, error, ended)


def _openai(piece: int, message: JsonObject, error: str | None) -> Event:
    """Parse a chunk or a whole body of (chat) completions: vLLM, llama.cpp, transformers serve, Ollama /v1."""
    choices = message["choices"]
    choice = _object(choices[0]) if isinstance(choices, list) and choices else {}
    delta = _object(choice.get("delta") or choice.get("message"))
    token_ids = choice.get("token_ids")
    return _event(
        piece,
        answer=_text(delta.get("content")) or _text(choice.get("text")),
        # vLLM: `reasoning_content` up to 0.11.0, both with the same text up to 0.15.1, then `reasoning` alone
        reasoning=_text(delta.get("reasoning")) or _text(delta.get("reasoning_content")),
        tool=_tool_calls_text(delta),
        finish_reason=_name(choice.get("finish_reason")),
        usage=_openai_usage(message.get("usage") or _object(message.get("x_groq")).get("usage")),
        token_ids=len(token_ids) if isinstance(token_ids, list) else None,
        timings=_llama_timings(message.get("timings")),
        error=error,
        role="role" in delta,
        ended="message" in choice,
    )


def _ollama(piece: int, message: JsonObject, error: str | None) -> Event:
    """Parse a line or a whole body of /api/chat or /api/generate. Durations are ns; the server omits zeros."""
    reply = _object(message.get("message"))
    done = message["done"] is True
    prompt, completion = _count(message.get("prompt_eval_count")), _count(message.get("eval_count"))
    timings = None
    if "total_duration" in message or "eval_duration" in message:
        timings = ServerTimings(
            source="ollama",
            load_s=_seconds(message.get("load_duration"), 1e9),
            prompt_s=_seconds(message.get("prompt_eval_duration"), 1e9),
            prompt_tokens=prompt,
            eval_s=_seconds(message.get("eval_duration"), 1e9),
            eval_tokens=completion,
            total_s=_seconds(message.get("total_duration"), 1e9),
        )
    return _event(
        piece,
        answer=_text(reply.get("content")) or _text(message.get("response")),
        reasoning=_text(reply.get("thinking")) or _text(message.get("thinking")),
        tool=_tool_calls_text(reply),
        finish_reason=_name(message.get("done_reason")) if done else None,
        usage=_Usage(prompt, completion),
        timings=timings,
        error=error,
        ended=done,
    )


def _llama_native(piece: int, message: JsonObject, error: str | None) -> Event:
    """Parse a chunk or a whole body of llama.cpp's own /completion; each has counts."""
    stop = message["stop"] is True
    tokens = message.get("tokens")
    reason = "length" if message.get("stop_type") == "limit" else "stop"
    return _event(
        piece,
        answer=_text(message.get("content")),
        finish_reason=reason if stop else None,
        usage=_Usage(_count(message.get("tokens_evaluated")), _count(message.get("tokens_predicted"))),
        token_ids=len(tokens) if isinstance(tokens, list) and tokens else None,
        timings=_llama_timings(message.get("timings")),
        error=error,
        ended=stop,
    )


def _responses(piece: int, message: JsonObject, error: str | None, streamed: set[str]) -> Event:
    """Parse one stream event of OpenAI Responses: text deltas and the final usage.

    The whole text that follows its deltas is skipped. LM Studio sends reasoning without deltas: then it is kept.
    """
    name = str(message["type"])
    kind, _, step = name.removeprefix("response.").rpartition(".")
    text = ""
    if step == "delta":
        text = _text(message.get("delta"))
        streamed.add(kind)
    elif step == "done" and kind not in streamed:
        text = _text(message.get("text")) or _text(message.get("arguments"))
    response = _object(message.get("response"))
    finish = None
    if name in ("response.completed", "response.incomplete"):
        reason = _name(_object(response.get("incomplete_details")).get("reason"))
        finish = "length" if reason == "max_output_tokens" else reason or "stop"
    elif name == "response.failed" and error is None:
        error = error_text(response.get("error") or "")
    return _event(
        piece,
        answer=text if kind == "output_text" else "",
        reasoning=text if kind in ("reasoning_text", "reasoning_summary_text") else "",
        tool=text if kind == "function_call_arguments" else "",
        finish_reason=finish,
        usage=_openai_usage(response.get("usage")),
        error=error,
    )


def _anthropic(piece: int, message: JsonObject, error: str | None) -> Event:
    """Parse one stream event of Anthropic Messages. Its prompt tokens do not include the cached ones; here they do."""
    delta, block = _object(message.get("delta")), _object(message.get("content_block"))
    start = _object(_object(message.get("message")).get("usage"))
    spent = _object(message.get("usage"))
    given = [_count(start.get(name)) for name in ("input_tokens", *_ANTHROPIC_CACHED)]
    reason = _name(delta.get("stop_reason"))
    return _event(
        piece,
        answer=_text(delta.get("text")),
        reasoning=_text(delta.get("thinking")),
        tool=_text(delta.get("partial_json")) or _text(block.get("name")),
        finish_reason=_ANTHROPIC_REASONS.get(reason, reason) if reason else None,
        usage=_Usage(
            None if given[0] is None else sum(count or 0 for count in given),
            _count(spent.get("output_tokens")),
            cached=given[1],
        ),
        error=error,
        role=message["type"] == "message_start",
        ended=message["type"] == "message_stop",
    )


_ANTHROPIC_TYPES = ("message_start", "message_delta", "message_stop", "ping")
_ANTHROPIC_CACHED = ("cache_read_input_tokens", "cache_creation_input_tokens")
_ANTHROPIC_REASONS = {"end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "tool_use": "tool_calls"}
_ANTHROPIC_REASONS |= {"refusal": "content_filter"}
# finish reasons that say the reply failed: of vLLM, SGLang, OpenRouter, DeepSeek
_FAILED = {"error", "abort", "aborted", "failed", "cancelled", "server_error", "insufficient_system_resource"}
_DIALECTS: tuple[tuple[str, Callable[[int, JsonObject, str | None], Event]], ...] = (
    ("choices", _openai),
    ("done", _ollama),
    ("stop", _llama_native),
)


def tail_tokens(tail: bytes) -> int | None:
    """Return the output tokens that the end of a body reports, None without such a number. It costs microseconds."""
    found = _TOKENS_REPORTED.findall(tail)
    return int(found[-1]) if found else None


def _openai_usage(usage: object) -> _Usage:
    if not isinstance(usage, dict):
        return _NO_USAGE
    spent = _object(usage.get("completion_tokens_details") or usage.get("output_tokens_details"))
    given = _object(usage.get("prompt_tokens_details") or usage.get("input_tokens_details"))
    return _Usage(
        _count(usage.get("prompt_tokens", usage.get("input_tokens"))),
        _count(usage.get("completion_tokens", usage.get("output_tokens"))),
        _count(spent.get("reasoning_tokens")),
        _count(given.get("cached_tokens")),
    )


def _llama_timings(timings: object) -> ServerTimings | None:
    if not isinstance(timings, dict):
        return None
    return ServerTimings(
        source="llama.cpp",
        prompt_s=_seconds(timings.get("prompt_ms"), 1e3),
        prompt_tokens=_count(timings.get("prompt_n")),
        cached_tokens=_count(timings.get("cache_n")),
        eval_s=_seconds(timings.get("predicted_ms"), 1e3),
        eval_tokens=_count(timings.get("predicted_n")),
    )


def _reported_error(message: JsonObject) -> str | None:
    """Return the text of an error of a message, its choice or its delta, also beside text; None for `"error": null`."""
    choices = message.get("choices")
    if choices is None:
        parts: tuple[JsonObject, ...] = (message, _object(message.get("message")))
    else:
        choice = _object(choices[0]) if isinstance(choices, list) and choices else {}
        nested = (choice.get("delta"), choice.get("message"), message.get("x_groq"))
        parts = (message, choice, *map(_object, nested))
    found = next((part["error"] for part in parts if part.get("error")), message.get("errors"))
    return error_text(found) if found else None


# parts of a message that may contain an "error" which is not one of the reply: what a tool is or was given, what Azure
# could not filter, details of FastAPI
_NOT_OF_THE_REPLY = {"tools", "tool_calls", "function_call", "function", "arguments", "output", "item", "text"}
_NOT_OF_THE_REPLY |= {"content_filter_results", "content_filter_result", "prompt_filter_results", "detail"}
_LEVELS = 6  # of a message that are searched for an error


def _error_within(value: object, level: int = 0) -> str | None:
    """Return the text of an error at any level of a message, None if there is none."""
    if level > _LEVELS:
        return None
    if isinstance(value, list):
        return _first(_error_within(one, level + 1) for one in value)
    if not isinstance(value, dict):
        return None
    found = value.get("error")
    if found and isinstance(found, str | dict | list):
        return error_text(found)
    return _first(_error_within(one, level + 1) for name, one in value.items() if name not in _NOT_OF_THE_REPLY)


def error_text(error: object) -> str:
    """Return an error as one printable text: a string, {"message"}, FastAPI's [{"msg", "loc"}], otherwise its JSON."""
    if isinstance(error, dict):
        text = error.get("message") or error.get("msg") or error.get("detail")
        text = text if isinstance(text, str) else json.dumps(error, ensure_ascii=False)
        place = error.get("loc")
        error = f"{text} (at {'.'.join(map(str, place))})" if isinstance(place, list) else text
    elif isinstance(error, list):
        error = "; ".join(map(error_text, error))
    return printable_text(str(error).strip()) or "error without a message"


def _tool_calls_text(delta: JsonObject) -> str:
    """Return the text of tool calls: names and arguments in order. Ollama sends the arguments as an object."""
    calls = delta.get("tool_calls")
    functions = [_object(call).get("function") for call in calls] if isinstance(calls, list) else []
    texts = []
    for function in map(_object, [*functions, delta.get("function_call")]):  # the latter is older than tool_calls
        arguments = function.get("arguments")
        texts.append(_text(function.get("name")))
        texts.append(json.dumps(arguments) if isinstance(arguments, dict) else _text(arguments))
    return "".join(texts)


def _text(value: object) -> str:
    """Return a text, or the joined texts of a list of content parts."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(_text(_object(part).get("text")) for part in value)
    return ""


def _object(value: object) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _name(value: object) -> str | None:
    return one_line(value) or None if isinstance(value, str) else None


def _count(value: object) -> int | None:
    return value if type(value) is int and 0 <= value < 2**31 else None


def _seconds(value: object, per_second: float) -> float | None:
    return value / per_second if type(value) in (int, float) and 0 <= value < 1e18 else None  # type: ignore[operator]
