"""What a stream says, in one vocabulary: events as they arrived, and the reply that they make together. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

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


def reply(events: Sequence[Event]) -> Reply:
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
