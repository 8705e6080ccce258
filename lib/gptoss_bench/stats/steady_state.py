"""Find the window of a load in which its rates count, and the concurrency delivered in it: tables in, ns out. Pure."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from gptoss_bench.stats.row_selection import measured_rows
from gptoss_client import LoadShard, UsageError

Window = tuple[int, int]


def steady_window(
    requests: pd.DataFrame, events: pd.DataFrame, *, concurrency: int | None = None, phase: str = "measure"
) -> Window | None:
    """Return (start_ns, end_ns) of the steady part of a closed loop; None where there is none.

    The start is the first token of the last slot to get one: of the first C requests (by send time) that got a token,
    the latest first token. The end is when the first slot has no request left: of N requests sent, the (N - C + 1)-th
    to end; of conversations, which a slot holds one after the other, the end of as many of them. There is no window for
    fewer than 2 C requests sent, fewer than C with a token or C conversations, or an end before the start.

    Args:
        requests: Request table; only rows of `phase` are used.
        events: Event table of the same requests.
        concurrency: Number of slots C; by default the maximum number of requests in flight.
        phase: The phase of the load.
    """
    rows = measured_rows(requests, phase)
    sent = _sent_requests(rows)
    slots = concurrency or _peak_in_flight(sent)
    first_output = _first_outputs(measured_rows(events, phase))
    first = sent.loc[sent.index.isin(first_output.index)].index[:slots]
    if len(sent) < max(2 * slots, 1) or len(first) < slots:
        return None
    start = int(first_output.loc[first].max())
    ends = _conversation_ends(rows) if rows["conversation"].notna().any() else sent["end"].to_numpy()
    if len(ends) < slots:
        return None
    end = int(np.sort(ends)[len(ends) - slots])
    return (start, end) if start < end else None


def fleet_window(
    requests: pd.DataFrame, events: pd.DataFrame, *, concurrency: int, phase: str = "measure"
) -> Window | None:
    """Return the part of a closed loop in which every worker that was not lost was steady; None where there is none.

    `requests` has a column `shard`. A worker has its share of the slots, and so a steady window of its own.
    """
    shards = sorted(requests["shard"].unique())
    windows = []
    for shard in shards:
        own = requests[requests["shard"] == shard]
        if (own["outcome"] == "lost").any():
            continue
        slots = LoadShard(int(shard), len(shards)).share(concurrency)
        seen = events[events["request_id"].isin(own["request_id"])]
        windows.append(steady_window(own, seen, concurrency=slots, phase=phase))
    found = [window for window in windows if window is not None]
    if not found or len(found) < len(windows):
        return None
    start, end = max(start for start, _ in found), min(end for _, end in found)
    return (start, end) if start < end else None


def planned_window(requests: pd.DataFrame) -> Window | None:
    """Return (start_ns, end_ns) from the first to the last planned arrival of an open loop; None for fewer than two.

    Of conversations it is the arrival of the first turn. Requests that were never sent because the load was stopped do
    not count.
    """
    arrives = requests["turn"].isna() | (requests["turn"] == 1)
    due_ns = requests.loc[was_due(requests) & arrives, "scheduled_ns"]
    return (int(due_ns.min()), int(due_ns.max())) if due_ns.nunique() > 1 else None


def was_due(requests: pd.DataFrame) -> "pd.Series[bool]":
    """Return which requests of an open loop became due: all but those that a stopped load never sent."""
    return requests["sent_ns"].notna() | (requests["failure"] == "over_limit") | (requests["outcome"] == "lost")


def concurrency_delivered(requests: pd.DataFrame, start_ns: int, end_ns: int) -> float:
    """Return the mean number of requests in flight (sent_ns to done_ns) between two timestamps.

    A request that was sent and has no later timestamp adds no time. Raises UsageError if the end is not after the
    start.
    """
    if end_ns <= start_ns:
        raise UsageError("no concurrency in an empty interval: give an end after the start")
    sent = _sent_requests(requests)
    inside = sent["end"].clip(upper=end_ns) - sent["start"].clip(lower=start_ns)
    return float(inside.clip(lower=0).sum() / (end_ns - start_ns))


def _conversation_ends(rows: pd.DataFrame) -> npt.NDArray[Any]:
    """Return when the last request of each conversation ended (ns)."""
    sent = rows[rows["sent_ns"].notna()]
    end = sent["done_ns"].fillna(sent["sent_ns"]).astype("int64")
    return end.groupby(sent["conversation"]).max().to_numpy()


def _first_outputs(events: pd.DataFrame) -> pd.Series:
    """Return the arrival (ns) of the first output-bearing event, by request id."""
    output = events["output"].to_numpy()
    ids, timestamps = events["request_id"].to_numpy()[output], events["arrival_ns"].to_numpy()[output]
    starts = np.flatnonzero(np.diff(ids, prepend=ids[:1] - 1))  # events of a request adjoin: reduce these runs first
    firsts = np.minimum.reduceat(timestamps, starts) if len(starts) else timestamps
    return pd.Series(firsts, index=pd.Index(ids[starts])).groupby(level=0).min()


def _sent_requests(requests: pd.DataFrame) -> pd.DataFrame:
    """Return start and end (int64 ns) of the requests that were sent, by request id, in order of sending."""
    rows = requests[requests["sent_ns"].notna()]
    end = rows["done_ns"].fillna(rows["sent_ns"])
    timestamps = {"start": rows["sent_ns"].astype("int64").to_numpy(), "end": end.astype("int64").to_numpy()}
    by_id = pd.DataFrame(timestamps, index=pd.Index(rows["request_id"])).sort_index()
    return by_id.sort_values("start", kind="stable")


def _peak_in_flight(sent: pd.DataFrame) -> int:
    """Return the maximum number of requests in flight; an end counts before a start at the same time."""
    timestamps = np.concatenate([sent["end"].to_numpy(), sent["start"].to_numpy()])
    steps = np.repeat([-1, 1], len(sent))
    return int(np.cumsum(steps[np.argsort(timestamps, kind="stable")]).max(initial=0))
