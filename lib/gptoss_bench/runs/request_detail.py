"""Show one request of a run event by event, down to its bytes."""

from itertools import pairwise

import pandas as pd

from gptoss_bench.runs.event_tokens import count_so_far
from gptoss_bench.runs.folder import Run
from gptoss_client import NS_PER_S, Trace, UsageError, decode_body, printable_text


def request_events(run: Run, request_id: int) -> pd.DataFrame:
    """Return one row per event, with kind, part of the reply (reasoning or answer), text, tokens so far, and two times.

    `at_s` is the time since the request was sent, `gap_s` that since the previous event.
    `lag_s` is how much later the client read it, `piece` the number of the piece of bytes that completed it, and `raw`
    those bytes, null where the row before has the same piece. Raises UsageError if the run has no such request.
    """
    trace = _trace(run, request_id)
    bodies = [data for _, data in trace.pieces]
    start_ns = trace.sent_ns if trace.sent_ns is not None else trace.scheduled_ns
    reported = -1
    rows = []
    for event in decode_body(bodies):
        at = min(event.piece, len(bodies) - 1)
        rows.append(
            {
                "at_s": (trace.pieces[at][0] - start_ns) / NS_PER_S,
                "kind": event.kind,
                "part": "reasoning" if event.reasoning else "answer" if event.answer else "",
                "text": printable_text(
                    event.reasoning or event.answer or event.tool or event.error or event.finish_reason or ""
                ),
                "tokens": count_so_far(event),
                "lag_s": trace.lags_ns[at] / NS_PER_S if trace.lags_ns else None,
                "piece": at,
                "raw": b"".join(bodies[reported + 1 : at + 1]).decode("utf-8", "backslashreplace"),
            }
        )
        reported = max(reported, at)
    table = pd.DataFrame(rows, columns=["at_s", "kind", "part", "text", "tokens", "lag_s", "piece", "raw"])
    times = [0.0, *table["at_s"]]
    table.insert(1, "gap_s", [later - earlier for earlier, later in pairwise(times)])
    return table.astype({"tokens": "Int32", "lag_s": "float64"})


def request_stalls(run: Run, request_id: int) -> pd.DataFrame:
    """Return the stalls of the client during a request, as `from_s` and `to_s` since it was sent; empty if unknown.

    Raises UsageError if the run has no such request.
    """
    trace = _trace(run, request_id)
    if run.pauses is None or trace.sent_ns is None or trace.done_ns is None:
        return pd.DataFrame({"from_s": [], "to_s": []}, dtype="float64")
    stalls, sent_ns, done_ns = run.pauses.stalls, trace.sent_ns, trace.done_ns
    during = stalls[(stalls["from_ns"] < done_ns) & (stalls["to_ns"] > sent_ns)]
    seconds = (during[["from_ns", "to_ns"]].clip(lower=sent_ns, upper=done_ns) - sent_ns) / NS_PER_S
    return seconds.set_axis(["from_s", "to_s"], axis="columns")


def response_body(run: Run, request_id: int) -> bytes:
    """Return the response body as received. Raises UsageError if the run has no such request."""
    return b"".join(data for _, data in _trace(run, request_id).pieces)


def _trace(run: Run, request_id: int) -> Trace:
    for trace in run.traces():
        if trace.request_id == request_id:
            return trace
    raise UsageError(f"run {run.run_id} keeps no bytes of a request {request_id}")
