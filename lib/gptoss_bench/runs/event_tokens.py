"""Count the tokens of each event by the counts of the server, never by splitting text."""

import numpy as np
import numpy.typing as npt

from gptoss_client import Event

UNKNOWN = -1


def event_tokens(
    output: npt.NDArray[np.bool_],
    finish: npt.NDArray[np.bool_],
    count: npt.NDArray[np.int64],
    ids: npt.NDArray[np.int64],
    completion_tokens: int | None,
) -> npt.NDArray[np.int64] | None:
    """Return the tokens of each event of one stream, or None if the server does not report them.

    `output` marks the events with output, `finish` those of the kind "finish", `count` has the server's running count
    of tokens (`count_so_far`), `ids` how many token ids the event lists, both UNKNOWN if not reported.

    From the running count where each output-bearing event has one, else from the lists of token ids, else 1 each if
    there are as many output-bearing events as tokens. A token without text (harmony's channel marks) belongs to the
    output-bearing event that follows it. Tokens behind the last text, such as harmony's end mark, belong to the event
    that ends the reply: the first behind the text with a finish reason or with the full count; without such an event to
    the last one with output. All other events have 0.
    """
    tokens = np.zeros(len(output), dtype="int64")
    counts = _running_counts(output, count, ids)
    if counts is None:
        return output.astype("int64") if output.sum() == completion_tokens else None
    tokens[output] = np.diff(counts, prepend=0)
    rest = (completion_tokens or 0) - int(counts[-1])
    if rest > 0:
        last = int(np.flatnonzero(output)[-1])
        ends = np.flatnonzero((finish | (count == completion_tokens))[last + 1 :])
        tokens[last + 1 + int(ends[0]) if len(ends) else last] += rest
    return None if tokens.min(initial=0) < 0 else tokens


def _running_counts(
    output: npt.NDArray[np.bool_], count: npt.NDArray[np.int64], ids: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64] | None:
    """Return the server's running count of tokens at each output event."""
    if not output.any():
        return None
    reported = count[output]
    if reported.min() > 0:  # 0 beside text is not reported
        return reported
    if ids[output].min() != UNKNOWN:
        return np.cumsum(np.maximum(ids, 0))[output]
    return None


def count_so_far(event: Event) -> int | None:
    """Return the server's running count of tokens, from its usage or llama.cpp's timings; None without one."""
    if event.completion_tokens is not None:
        return event.completion_tokens
    return event.timings.eval_tokens if event.timings else None
