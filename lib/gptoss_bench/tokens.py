"""How many tokens each event of a stream brought: as the server counts them, never by splitting text."""

from collections.abc import Sequence
from itertools import accumulate

from gptoss_bench.wire import Event


def event_tokens(events: Sequence[Event], completion_tokens: int | None) -> list[int] | None:
    """Tokens of each event, or None where the server does not let us know.

    From the server's running count where each output-bearing event has one (continuous usage, or llama.cpp's timings
    per token), else from its lists of token ids, else 1 each if there are as many output-bearing events as tokens.
    A token without text (harmony's channel marks) belongs to the output-bearing event that follows it; other events
    have 0, so that the tokens after the last text, such as the end mark, are in `completion_tokens` alone.
    """
    outputs = [event for event in events if event.is_output]
    counts = _running_counts(events, outputs)
    if counts is None:
        return [int(event.is_output) for event in events] if len(outputs) == completion_tokens else None
    steps = iter([after - before for before, after in zip([0, *counts], counts, strict=False)])
    tokens = [next(steps) if event.is_output else 0 for event in events]
    return None if any(count < 0 for count in tokens) else tokens


def _running_counts(events: Sequence[Event], outputs: Sequence[Event]) -> list[int] | None:
    """The server's count of tokens so far at each output-bearing event."""
    told = [count for event in outputs if (count := _count_so_far(event)) is not None]
    if outputs and len(told) == len(outputs):
        return told
    if outputs and all(event.token_ids is not None for event in outputs):
        so_far = accumulate(event.token_ids or 0 for event in events)
        return [count for event, count in zip(events, so_far, strict=True) if event.is_output]
    return None


def _count_so_far(event: Event) -> int | None:
    if event.completion_tokens is not None:
        return event.completion_tokens
    return event.timings.eval_tokens if event.timings else None
