"""What a stream says, in one vocabulary: events as they arrived, and the reply that they make together. Pure."""
# MERGED: One JSON message of a server to one Event: OpenAI, Ollama and llama.cpp say the same things in different

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ServerTimings:
    """What the server measured of itself, seconds. `source` is "ollama" or "llama.cpp".

    llama.cpp: `prompt_tokens` are the new ones only, `cached_tokens` the others. Ollama: `prompt_tokens` includes the
    cached ones since v0.30 (its `prompt_s` does not), and `load_s` includes waiting in its queue.
    """

    source: str
    load_s: float | None = None
    prompt_s: float | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    eval_s: float | None = None
    eval_tokens: int | None = None
    total_s: float | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """One message of a stream. `piece` is the index of the piece of bytes that completed it.

    `kind` is the first that applies of: error, output (any text), usage, finish, role, done ([DONE], or Ollama's
    done:true when it says nothing else), other. The token counts are those that this event states (cumulative, as
    servers do); `token_ids` is how many ids it lists. `ended`: the server said here that the reply is whole.
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
        """Whether any text arrived: answer, reasoning or tool call."""
        return bool(self.answer or self.reasoning or self.tool)


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole response. Texts are joined over events; a count is the last that the server stated, None if it never did.

    `ended`: a finish_reason, [DONE] or Ollama's done:true was seen. A stream that stopped without one has `error` None
    here: whether it was cut, or cancelled by us, is known to the caller alone.
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
    """The reply that these events make. `error` is the first, `finish_reason` and `timings` are the last."""
    return Reply(
        answer_text=tidy("".join(event.answer for event in events)),
        reasoning_text=tidy("".join(event.reasoning for event in events)),
        tool_text=tidy("".join(event.tool for event in events)),
        completion_tokens=_first(event.completion_tokens for event in reversed(events)),
        prompt_tokens=_first(event.prompt_tokens for event in reversed(events)),
        reasoning_tokens=_first(event.reasoning_tokens for event in reversed(events)),
        cached_tokens=_first(event.cached_tokens for event in reversed(events)),
        events=len(events),
        output_events=sum(event.is_output for event in events),
        finish_reason=_first(event.finish_reason for event in reversed(events)),
        error=_first(event.error for event in events),
        ended=any(event.ended or event.finish_reason or event.kind == "done" for event in events),
        timings=_first(event.timings for event in reversed(events)),
    )


def _first(values: Iterable[T | None]) -> T | None:
    return next((value for value in values if value is not None), None)


def tidy(text: str) -> str:
    """`text` with the halves of a surrogate pair joined (events may part them), and U+FFFD for a lone half."""
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


def read(piece: int, message: object, sse_type: str = "") -> Event:
    """The event of one decoded JSON value. `sse_type` is the SSE `event:` field, "" where there is none."""
    if not isinstance(message, dict):
        error = _words(message) if sse_type == "error" else None
        return _event(piece, error=error)
    error = _error(message, sse_type)
    for key, dialect in _DIALECTS:
        if key in message:
            return dialect(piece, message, error)
    if error is None and "detail" in message:  # FastAPI's own error body
        error = _words(message["detail"])
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
    """Chat completions and completions, a chunk or a whole body: vLLM, llama.cpp, transformers serve, Ollama /v1."""
    choices = message["choices"]
    choice = _object(choices[0]) if isinstance(choices, list) and choices else {}
    delta = _object(choice.get("delta") or choice.get("message"))
    token_ids = choice.get("token_ids")
    return _event(
        piece,
        answer=_text(delta.get("content")) or _text(choice.get("text")),
        # vLLM: `reasoning_content` up to 0.11.0, both with the same text up to 0.15.1, then `reasoning` alone
        reasoning=_text(delta.get("reasoning")) or _text(delta.get("reasoning_content")),
        tool=_calls(delta),
        finish_reason=_name(choice.get("finish_reason")),
        usage=_openai_usage(message.get("usage")),
        token_ids=len(token_ids) if isinstance(token_ids, list) else None,
        timings=_llama_timings(message.get("timings")),
        error=error,
        role="role" in delta,
        ended="message" in choice,
    )


def _ollama(piece: int, message: JsonObject, error: str | None) -> Event:
    """/api/chat and /api/generate, a line or a whole body. Durations are ns; a zero is left out by the server."""
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
        tool=_calls(reply),
        finish_reason=_name(message.get("done_reason")) if done else None,
        usage=_Usage(prompt, completion),
        timings=timings,
        error=error,
        ended=done,
    )


def _llama_native(piece: int, message: JsonObject, error: str | None) -> Event:
    """llama.cpp's own /completion: a chunk or a whole body, counts in each."""
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


def _responses(piece: int, message: JsonObject, error: str | None) -> Event:
    """OpenAI Responses, one stream event: the text deltas, and the usage of the last. Repeats of text are skipped."""
    name = str(message["type"])
    delta = _text(message.get("delta"))
    response = _object(message.get("response"))
    finish = None
    if name in ("response.completed", "response.incomplete"):
        reason = _name(_object(response.get("incomplete_details")).get("reason"))
        finish = "length" if reason == "max_output_tokens" else reason or "stop"
    return _event(
        piece,
        answer=delta if name == "response.output_text.delta" else "",
        reasoning=delta if name in _RESPONSES_REASONING else "",
        tool=delta if name == "response.function_call_arguments.delta" else "",
        finish_reason=finish,
        usage=_openai_usage(response.get("usage")),
        error=_words(response["error"]) if response.get("error") else error,
    )


_RESPONSES_REASONING = ("response.reasoning_text.delta", "response.reasoning_summary_text.delta")
_DIALECTS: tuple[tuple[str, Callable[[int, JsonObject, str | None], Event]], ...] = (
    ("choices", _openai),
    ("done", _ollama),
    ("stop", _llama_native),
    ("type", _responses),
)


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


def _error(message: JsonObject, sse_type: str) -> str | None:
    """The words of an error in a stream, or of an error body; None where there is none (`"error": null` is none)."""
    if message.get("error"):
        return _words(message["error"])
    named = sse_type == "error" or message.get("object") == "error" or message.get("type") == "error"
    return _words(message) if named else None


def _words(error: object) -> str:
    """An error as one text: a string, {"message"}, FastAPI's [{"msg", "loc"}], else its JSON."""
    if isinstance(error, dict):
        said = error.get("message") or error.get("msg") or error.get("detail")
        text = said if isinstance(said, str) else json.dumps(error, ensure_ascii=False)
        place = error.get("loc")
        error = f"{text} (at {'.'.join(map(str, place))})" if isinstance(place, list) else text
    elif isinstance(error, list):
        error = "; ".join(map(_words, error))
    return tidy(str(error).strip()) or "an error without words"


def _calls(delta: JsonObject) -> str:
    """The text of tool calls, names and arguments as they come. Ollama sends the arguments as an object."""
    calls = delta.get("tool_calls")
    texts = []
    for call in calls if isinstance(calls, list) else ():
        function = _object(_object(call).get("function"))
        arguments = function.get("arguments")
        texts.append(_text(function.get("name")))
        texts.append(json.dumps(arguments) if isinstance(arguments, dict) else _text(arguments))
    return "".join(texts)


def _text(value: object) -> str:
    """A text, or a list of parts that carry one."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(_text(_object(part).get("text")) for part in value)
    return ""


def _object(value: object) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _name(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _count(value: object) -> int | None:
    return value if type(value) is int and 0 <= value < 2**31 else None


def _seconds(value: object, per_second: float) -> float | None:
    return value / per_second if type(value) in (int, float) and 0 <= value < 1e18 else None  # type: ignore[operator]
