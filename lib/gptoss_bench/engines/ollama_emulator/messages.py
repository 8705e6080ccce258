"""The messages of Ollama 0.33 as the emulator uses them: what it refuses, what it asks llama.cpp, what it answers.

Pure, but for `model_entry`, which looks at the model's file. Names, meanings and texts are Ollama's.
"""

import hashlib
import json
import secrets
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec

from gptoss_bench.engines.llama_cpp import MODEL_NAME, require_tiny
from gptoss_bench.paths import TINY_MODEL
from gptoss_client import Reply, ServerTimings, object_at

EMULATOR_VERSION = "0.0.0-embedded"  # what the emulator answers where Ollama reports its version
NAME = f"{MODEL_NAME}:latest"
KEEP_S = 300.0
TRAINED_CONTEXT = 131072
MOST_REPEATS = 30  # of a token in a row: Ollama then ends the reply without a last line
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_PASSED_ON = ("temperature", "seed", "top_k", "top_p", "min_p", "stop", "repeat_penalty")
_NUMBERS = ("temperature", "top_p", "min_p", "typical_p", "repeat_penalty", "presence_penalty", "frequency_penalty")
_INTEGERS = ("num_ctx", "num_predict", "seed", "top_k", "num_keep", "num_batch", "num_gpu", "num_thread")
_GO_TYPES = {list: "array", str: "string", int: "number", float: "number", bool: "bool"}
Json = dict[str, Any]


class Refused(Exception):
    """A request that is refused before any output: its HTTP status and Ollama's text."""

    def __init__(self, status: int, text: str, *, in_stream: bool = False) -> None:
        """Take the status, the text, and whether the request was already with the model."""
        super().__init__(text)
        self.status, self.in_stream = status, in_stream


class Form(Protocol):
    """How one route writes a reply: its tokens, its end, and the whole of it."""

    content_type: str

    def token(self, answer: str, reasoning: str) -> bytes:
        """Return the message of one token."""

    def end(self, reply: Reply, figures: Json) -> bytes:
        """Return the messages after the last token."""

    def broken(self) -> bytes:
        """Return the message of a model server that broke off in the stream."""

    def whole(self, reply: Reply, figures: Json, *, done: bool) -> Json:
        """Return the reply that is not streamed; one that is not `done` was given up."""


class NativeForm:
    """Lines of /api/chat and /api/generate, which differ in where the text is."""

    content_type = "application/x-ndjson"

    def __init__(self, model: str, *, chat: bool) -> None:
        """Take the model's name as the request had it; `chat` is /api/chat, else it is /api/generate."""
        self._model, self._chat = model, chat

    def line(self, answer: str = "", thinking: str = "", **more: object) -> Json:
        """Return one line as a JSON object, `more` at its end."""
        thought = {"thinking": thinking} if thinking else {}
        line: Json = {"model": self._model, "created_at": timestamp(time.time_ns())}
        if self._chat:
            line["message"] = {"role": "assistant", "content": answer, **thought}
        else:
            line |= {"response": answer, **thought}
        return line | more

    def token(self, answer: str, reasoning: str) -> bytes:
        """Return the line of one token."""
        return msgspec.json.encode(self.line(answer, reasoning, done=False)) + b"\n"

    def end(self, reply: Reply, figures: Json) -> bytes:
        """Return the last line, with the figures."""
        last = self.line(done=True, done_reason=reply.finish_reason or "stop", **figures)
        return msgspec.json.encode(last) + b"\n"

    def broken(self) -> bytes:
        """Return the line of a model server that broke off."""
        return b'{"error":"an error was encountered while running the model: unexpected EOF"}\n'

    def whole(self, reply: Reply, figures: Json, *, done: bool) -> Json:
        """Return the only line of a reply that is not streamed."""
        ended = {"done_reason": reply.finish_reason or "stop", **figures} if done else {}
        return self.line(reply.answer_text, reply.reasoning_text, done=done, **ended)


class OpenAIForm:
    """Chunks of /v1/chat/completions: the role comes with the first token, usage without details."""

    content_type = "text/event-stream"

    def __init__(self, model: str, *, include_usage: bool) -> None:
        """Take the model's name as the request had it, and whether a usage chunk was asked for."""
        self._usage = include_usage
        self._head: Json = {
            "id": f"chatcmpl-{secrets.randbelow(1000)}",
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": model,
            "system_fingerprint": "fp_ollama",
        }
        self._role: Json = {"role": "assistant"}

    def token(self, answer: str, reasoning: str) -> bytes:
        """Return the chunk of one token."""
        delta = {**self._role, "content": answer, **({"reasoning": reasoning} if reasoning else {})}
        self._role = {}
        return self._chunk({"index": 0, "delta": delta, "finish_reason": None})

    def end(self, reply: Reply, figures: Json) -> bytes:
        """Return the chunk with the finish reason, usage where it was asked for, and [DONE]."""
        finish = self._chunk({"index": 0, "delta": {}, "finish_reason": reply.finish_reason or "stop"})
        usage = _sse({**self._head, "choices": [], "usage": _usage(figures)}) if self._usage else b""
        return finish + usage + b"data: [DONE]\n\n"

    def broken(self) -> bytes:
        """Return the empty chunk in which an error of the model server gets lost."""
        self._head["model"] = ""
        return self._chunk({"index": 0, "delta": {"content": ""}, "finish_reason": None})

    def whole(self, reply: Reply, figures: Json, *, done: bool) -> Json:
        """Return the reply that is not streamed."""
        thought = {"reasoning": reply.reasoning_text} if reply.reasoning_text else {}
        message = {"role": "assistant", "content": reply.answer_text, **thought}
        choice = {"index": 0, "message": message, "finish_reason": (reply.finish_reason or "stop") if done else None}
        return {**self._head, "object": "chat.completion", "choices": [choice], "usage": _usage(figures)}

    def _chunk(self, choice: Json) -> bytes:
        return _sse({**self._head, "choices": [choice]})


def _sse(message: Json) -> bytes:
    return b"data: " + msgspec.json.encode(message) + b"\n\n"


def _usage(figures: Json) -> Json:
    prompt, completion = figures.get("prompt_eval_count", 0), figures.get("eval_count", 0)
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def timestamp(time_ns: int) -> str:
    """Return a time since 1970 (ns) in UTC, such as "2026-11-26T21:45:39.918377926Z"."""
    seconds, left_ns = divmod(time_ns, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{left_ns:09d}Z"


def parse_body(body: bytes, path: str) -> Json:
    """Return the JSON object of a request. Raises Refused with the words of Go's decoder."""
    if not body:
        raise Refused(400, "missing request body")
    text = body.decode("utf-8", "replace")
    try:
        parsed = json.loads(text)
    except json.JSONDecodeError as error:
        raise Refused(400, _go_words(text, error)) from None
    if isinstance(parsed, dict):
        return parsed
    kind, record = _GO_TYPES.get(type(parsed), "null"), "ChatRequest" if "chat" in path else "GenerateRequest"
    raise Refused(400, f"json: cannot unmarshal {kind} into Go value of type api.{record}")


def _go_words(text: str, error: json.JSONDecodeError) -> str:
    """Return what Go says about JSON that Python cannot read."""
    left = text[error.pos :].lstrip()
    if not left:
        return "unexpected EOF"
    places = {
        "Expecting property name": "looking for beginning of object key string",
        "Expecting ':'": "after object key",
        "Expecting ','": "after object key:value pair",
    }
    place = next(
        (words for start, words in places.items() if error.msg.startswith(start)), "looking for beginning of value"
    )
    return f"invalid character {left[0]!r} {place}"


def check_options(options: Json) -> None:
    """Raise Refused where an option has another type than Ollama's; an unknown one is ignored."""
    for name, value in options.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if (name in _INTEGERS and not number) or (name in _NUMBERS and not number):
            kind = "integer" if name in _INTEGERS else "float32"
            raise Refused(500, f'option "{name}" must be of type {kind}')
        if name == "stop" and not isinstance(value, list):
            raise Refused(500, 'option "stop" must be of type array')


def reasoning_effort(think: object) -> str | None:
    """Return the effort that `think` asks for; None for true and where it is missing, "" for false. Raises Refused."""
    allowed = 'must be "high", "medium", "low", "max", true, or false'
    if think is None or think is True:
        return None
    if think is False:
        return ""
    if not isinstance(think, str):
        words = allowed.removeprefix("must be ")
        raise Refused(400, f"think must be a boolean or string ({words})")
    if think not in ("low", "medium", "high", "max"):
        raise Refused(400, f'invalid think value: "{think}" ({allowed})')
    return "high" if think == "max" else think


def native_question(question: Json, *, chat: bool) -> Json:
    """Return a request to /api/chat or /api/generate in llama.cpp's words. Raises Refused.

    A num_predict of 0 or less means no limit.
    """
    options = question.get("options") or {}
    check_options(options)
    if chat:
        messages = question["messages"]
    else:
        system = [{"role": "system", "content": question["system"]}] if question.get("system") else []
        messages = [*system, {"role": "user", "content": question["prompt"]}]
    limit = int(options.get("num_predict", -1))
    upstream = {name: options[name] for name in _PASSED_ON if name in options}
    return _question(messages, upstream, limit, reasoning_effort(question.get("think")), question.get("format"))


def openai_question(question: Json) -> Json:
    """Return a request to /v1/chat/completions in llama.cpp's words. Raises Refused."""
    effort = question.get("reasoning_effort")
    if effort is not None and effort not in ("low", "medium", "high", "none"):
        raise Refused(400, f'invalid reasoning value: \'{effort}\' (must be "high", "medium", "low", or "none")')
    wanted = {name: question[name] for name in _PASSED_ON if question.get(name) is not None}
    limit = int(question.get("max_completion_tokens") or question.get("max_tokens") or -1)
    form = object_at(question, "response_format")
    schema = object_at(object_at(form, "json_schema"), "schema")
    format = "json" if form.get("type") == "json_object" else schema
    effort = "" if effort == "none" else effort
    return _question(question["messages"], {"temperature": 1.0, **wanted}, limit, effort, format)


def _question(messages: object, wanted: Json, limit: int, effort: str | None, format: object) -> Json:
    upstream: Json = {"messages": messages, "stream": True, "stream_options": {"include_usage": True}, **wanted}
    if limit > 0:
        upstream["max_tokens"] = limit
    if effort is not None:
        upstream["chat_template_kwargs"] = {"reasoning_effort": effort}
    if format == "json":
        upstream["response_format"] = {"type": "json_object"}
    elif isinstance(format, dict) and format:
        upstream["response_format"] = {"type": "json_schema", "json_schema": {"schema": format}}
    return upstream


def wrong_format(format: object) -> str | None:
    """Return Ollama's text about a `format` that is neither "json" nor a schema; None if it is right or missing."""
    if not format or format == "json" or isinstance(format, dict):
        return None
    return f'invalid format: {json.dumps(json.dumps(format))}; expected "json" or a valid JSON Schema object'


def figures(timings: ServerTimings | None, load_s: float, total_s: float) -> Json:
    """Return the figures of the last line: counts, and durations in ns. Ollama leaves out zeros."""
    seconds = {"total_duration": total_s, "load_duration": load_s}
    if timings is None:
        return _stated(seconds)
    prompt = {"prompt_eval_count": (timings.cached_tokens or 0) + (timings.prompt_tokens or 0)}
    return {
        **_stated(seconds),
        **prompt,
        **_stated({"prompt_eval_duration": timings.prompt_s or 0.0}),
        "eval_count": timings.eval_tokens,
        **_stated({"eval_duration": timings.eval_s or 0.0}),
    }


def _stated(seconds: Mapping[str, float]) -> Json:
    return {name: round(value * 1e9) for name, value in seconds.items() if round(value * 1e9)}


def keep_alive_s(keep_alive: object) -> float:
    """Return Ollama's keep_alive in s: a number, or a text such as "5m"; below zero: for ever. Raises Refused."""
    if keep_alive is None:
        return KEEP_S
    text = str(keep_alive)
    unit = next((unit for unit in _UNITS if text.endswith(unit)), "")
    try:
        value = float(text.removesuffix(unit)) * _UNITS.get(unit, 1.0)
    except ValueError:
        raise Refused(400, f'time: invalid duration "{text}"') from None
    return value if value >= 0 else float("inf")


def model_entry() -> Json:
    """Return what /api/tags says of the tiny model. Raises UsageError where it is missing."""
    parameters = _recipe().get("parameters")
    return {
        "name": NAME,
        "model": NAME,
        "modified_at": timestamp(TINY_MODEL.stat().st_mtime_ns),
        "size": TINY_MODEL.stat().st_size,
        "digest": hashlib.sha256(TINY_MODEL.read_bytes()).hexdigest(),
        "details": {
            "parent_model": "",
            "format": "gguf",
            "family": "gpt-oss",
            "families": ["gpt-oss"],
            "parameter_size": f"{parameters / 1e6:.2f}M" if parameters else "",
            "quantization_level": "MXFP4_MOE",
            "context_length": TRAINED_CONTEXT,
            "embedding_length": 64,
        },
        "capabilities": ["completion", "thinking"],
    }


def loaded_entry(entry: Json, context: int, expires_ns: int) -> Json:
    """Return what /api/ps says of the loaded model."""
    details = {name: value for name, value in entry["details"].items() if not name.endswith("_length")}
    named = {name: entry[name] for name in ("name", "model", "size", "digest")}
    more = {"expires_at": timestamp(expires_ns), "size_vram": 0, "context_length": context}
    return {**named, "details": details, **more}


def shown_entry(entry: Json) -> Json:
    """Return what /api/show says of the model; the number of parameters is in `model_info`."""
    recipe = _recipe().get("recipe", {})
    info = {
        "general.architecture": "gpt-oss",
        "general.parameter_count": _recipe().get("parameters"),
        "general.type": "model",
        "gpt-oss.block_count": recipe.get("layers"),
        "gpt-oss.context_length": TRAINED_CONTEXT,
        "gpt-oss.embedding_length": recipe.get("hidden"),
        "gpt-oss.expert_count": recipe.get("experts"),
        "gpt-oss.expert_used_count": recipe.get("experts_per_token"),
    }
    details = {name: value for name, value in entry["details"].items() if not name.endswith("_length")}
    return {
        "modelfile": f"FROM {NAME}",
        "parameters": "",
        "template": "",
        "details": details,
        "model_info": info,
        "tensors": [],
        "capabilities": entry["capabilities"],
        "modified_at": entry["modified_at"],
    }


def _recipe() -> Json:
    """Return the tiny model's parameters and recipe, which stand beside it. Raises UsageError where it is missing."""
    require_tiny()
    account = TINY_MODEL.with_suffix(".json")
    return json.loads(account.read_text()) if account.is_file() else {}
