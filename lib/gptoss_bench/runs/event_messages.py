"""Read the messages that bear text, nearly all of a stream, several times faster than the decoder of gptoss_client.

A message enters as bytes of valid UTF-8. It is read only if the decoder reads exactly the same from it. For all other
messages (a tool call, an error, the end of a stream, an unusual type, invalid or unusual JSON) the functions return
None, and the caller uses the decoder.
"""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, json

from gptoss_bench.runs.event_tokens import UNKNOWN

_MOST_BYTES = 1_000  # msgspec and the json module limit digits and depth differently, but not in so few bytes
_Count = Annotated[int, Meta(ge=0, lt=2**31)]  # the counts that the decoder accepts


class _CompletionDetails(Struct, gc=False):
    reasoning_tokens: _Count | None = None


class _PromptDetails(Struct, gc=False):
    cached_tokens: _Count | None = None


class Usage(Struct, gc=False):
    """Usage of a chunk of OpenAI (chat) completions. UnsetType accepts no value: such a key is for the decoder."""

    prompt_tokens: _Count | None = None
    completion_tokens: _Count | None = None
    completion_tokens_details: _CompletionDetails | None = None
    prompt_tokens_details: _PromptDetails | None = None
    input_tokens: UnsetType = UNSET
    output_tokens: UnsetType = UNSET
    input_tokens_details: UnsetType = UNSET
    output_tokens_details: UnsetType = UNSET

    @property
    def reasoning_tokens(self) -> int | None:
        """Return the reasoning tokens; None if not reported."""
        return self.completion_tokens_details.reasoning_tokens if self.completion_tokens_details else None

    @property
    def cached_tokens(self) -> int | None:
        """Return the cached prompt tokens; None if not reported."""
        return self.prompt_tokens_details.cached_tokens if self.prompt_tokens_details else None


class OutputText(Struct, gc=False):
    """Hold what one message with text contains.

    `count` is the server's running count of tokens, `ids` the number of token ids that the message lists, both UNKNOWN
    if not reported. `with_timings` is the message itself if it has timings of llama.cpp; only their count is read here.
    """

    answer: str
    reasoning: str
    finish_reason: str | None = None
    usage: Usage | None = None
    count: int = UNKNOWN
    ids: int = UNKNOWN
    with_timings: bytes | None = None


class _Timings(Struct, gc=False):
    predicted_n: _Count | None = None


class _Delta(Struct, gc=False):
    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    tool_calls: tuple[()] | None = None
    function_call: None = None
    error: None = None


class _Choice(Struct, gc=False):
    delta: _Delta | None = None
    text: str | None = None
    message: UnsetType = UNSET
    finish_reason: Literal["stop", "length", ""] | None = None
    token_ids: list[Any] | None = None
    error: None = None


class _Chunk(Struct, gc=False):
    choices: tuple[_Choice]
    object: Literal["chat.completion.chunk", "text_completion"] | None = None
    error: None = None
    errors: None = None
    type: None = None
    usage: Usage | None = None
    timings: _Timings | None = None
    x_groq: UnsetType = UNSET


class _OllamaMessage(Struct, gc=False):
    content: str | None = None
    thinking: str | None = None
    tool_calls: tuple[()] | None = None
    function_call: None = None
    error: None = None


class _OllamaLine(Struct, gc=False):
    done: bool
    message: _OllamaMessage | None = None
    response: str | None = None
    thinking: str | None = None
    object: None = None
    error: None = None
    errors: None = None
    type: None = None
    choices: UnsetType = UNSET
    prompt_eval_count: UnsetType = UNSET
    eval_count: UnsetType = UNSET
    eval_duration: UnsetType = UNSET
    total_duration: UnsetType = UNSET


_decode_chunk = json.Decoder(_Chunk).decode
_decode_ollama_line = json.Decoder(_OllamaLine).decode
_NO_DELTA, _NO_MESSAGE = _Delta(), _OllamaMessage()


def read_chunk(message: bytes) -> OutputText | None:
    """Return the text of a chunk of OpenAI (chat) completions; None if the decoder must read it."""
    if len(message) > _MOST_BYTES or b"\n" in message:
        return None
    try:
        chunk = _decode_chunk(message)
    except (ValueError, RecursionError):
        return None
    (choice,) = chunk.choices
    delta, usage, timings = choice.delta or _NO_DELTA, chunk.usage, chunk.timings
    answer = delta.content or choice.text or ""
    reasoning = delta.reasoning or delta.reasoning_content or ""
    if not (answer or reasoning):
        return None
    count = usage.completion_tokens if usage else None
    if count is None and timings:
        count = timings.predicted_n
    return OutputText(
        answer,
        reasoning,
        choice.finish_reason or None,
        usage,
        UNKNOWN if count is None else count,
        UNKNOWN if choice.token_ids is None else len(choice.token_ids),
        message if timings else None,
    )


def read_ollama_line(message: bytes) -> OutputText | None:
    """Return the text of a line of Ollama's /api/chat or /api/generate; None if the decoder must read it."""
    if len(message) > _MOST_BYTES:
        return None
    try:
        line = _decode_ollama_line(message)
    except (ValueError, RecursionError):
        return None
    reply = line.message or _NO_MESSAGE
    answer = reply.content or line.response or ""
    reasoning = reply.thinking or line.thinking or ""
    return None if line.done or not (answer or reasoning) else OutputText(answer, reasoning)
