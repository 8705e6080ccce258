"""Compute what a closed loop would have measured of the latencies of an open loop. Pure.

A stream of a closed loop sends nothing while it waits. So few of its requests meet the slow times of a server, and its
percentiles hide them (coordinated omission). The requests of an open loop arrive whether the server is slow or not.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from gptoss_bench.stats.percentiles import REPORTED_PERCENTILES, Floats, percentile
from gptoss_bench.stats.row_selection import completed_rows
from gptoss_client import NS_PER_S

FROM_DUE = {"ttft_s": "ttft_scheduled_s", "e2e_s": "e2e_scheduled_s"}  # by the name of the same time from sending


@dataclass(frozen=True, slots=True)
class OpenLoopTimes:
    """A time of the completed requests of an open loop, in seconds from when each was due and from its sending.

    `closed_loop` holds what `streams` streams of a closed loop would have measured, had they met the same latencies.
    """

    due: Floats
    sent: Floats
    closed_loop: Floats
    streams: int


def open_loop_times(requests: pd.DataFrame, name: str) -> OpenLoopTimes:
    """Return "ttft_s" or "e2e_s" of the measured requests of an open loop in each of the three ways."""
    rows = completed_rows(requests)
    rows = rows[rows[name].notna() & rows["e2e_s"].notna()].sort_values("scheduled_ns")
    due_s = (rows["scheduled_ns"] - rows["scheduled_ns"].min()).astype("float64") / NS_PER_S
    met, streams = closed_loop_rows(due_s.to_list(), rows["e2e_s"].to_list())
    due, sent = (rows[column].to_numpy("float64") for column in (FROM_DUE[name], name))
    return OpenLoopTimes(due, sent, sent[met], streams)


def closed_loop_rows(due_s: Sequence[float], latency_s: Sequence[float]) -> tuple[list[int], int]:
    """Return the positions of the requests that streams of a closed loop would have met, and the number of streams.

    There are as many streams as requests were in flight on average. A stream sends when its last request has ended, and
    meets the latency of the next request of the open loop.

    Args:
        due_s: When each request was due, rising.
        latency_s: How long each took.
    """
    if not due_s:
        return [], 0
    span_s, busy_s = due_s[-1] - due_s[0], sum(latency_s)
    streams = round(min(max(1.0, busy_s / max(span_s, 1e-9)), len(due_s)))
    met = []
    for number in range(streams):  # they begin evenly spread over one latency
        at = bisect_left(due_s, due_s[0] + busy_s / len(due_s) * number / streams)
        while at < len(due_s):
            met.append(at)
            at = max(at + 1, bisect_left(due_s, due_s[at] + latency_s[at]))
    return sorted(met), streams


def open_loop_text(requests: pd.DataFrame) -> str:
    """Return in two sentences how long users waited for a first token, and what a closed loop would have printed.

    It is about the highest percentile that is resolved. "" if none is.
    """
    times = open_loop_times(requests, "ttft_s")
    for name, p in reversed(REPORTED_PERCENTILES.items()):
        due, sent, closed = (percentile(each, p) for each in (times.due, times.sent, times.closed_loop))
        if due.resolved and due.value is not None and sent.value is not None and closed.value is not None:
            streams = f"{times.streams} stream" + ("s" if times.streams > 1 else "")
            return (
                f"{name} of TTFT: {due.value:.3g} s from when a request was due, {sent.value:.3g} s from its sending."
                f" A closed loop of {streams} that meets the same latencies would print {closed.value:.3g} s"
                " (computed): a stream sends nothing while it waits, so it meets fewer of the slow times."
            )
    return ""
