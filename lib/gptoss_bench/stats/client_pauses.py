"""Compute from tables how long the client stood still, how late its event loop was, and how long its slots idled."""

import pandas as pd

from gptoss_bench.runs import Pauses, Percentiles, Stalls
from gptoss_bench.stats.percentiles import REPORTED_PERCENTILES, percentile
from gptoss_bench.stats.row_selection import measured_rows
from gptoss_bench.stats.steady_state import Window
from gptoss_client import NS_PER_S


def slot_idle_share(requests: pd.DataFrame, window: Window | None, slots: int) -> float | None:
    """Return the share of the slots' time in the window between the end of a response and the next send.

    Opening a connection is not in it. None without a window, and in a run that did not record when a response ended
    (its `reordered` is null too).
    """
    if window is None or requests["reordered"].isna().all():
        return None
    sent = requests[requests["sent_ns"].notna()]
    end_ns = sent["sent_ns"].astype("int64") - (sent["connect_s"] * NS_PER_S).round().astype("int64")
    idle_ns = end_ns.clip(upper=window[1]) - sent["scheduled_ns"].clip(lower=window[0])
    return float(idle_ns.clip(lower=0).sum() / (slots * (window[1] - window[0])))


def packed_share(completed: pd.DataFrame) -> float | None:
    """Return the share of gaps whose two events came in one TCP segment; None without a gap, or if it is unknown."""
    known = completed[completed["packed"].notna()]
    gaps = int((known["output_events"] - 1).clip(lower=0).sum())
    return int(known["packed"].sum()) / gaps if gaps else None


def measured_stalls(pauses: Pauses, requests: pd.DataFrame, phase: str = "measure") -> Stalls:
    """Return number and length of the stalls between the first send and the last end of a phase."""
    begin_ns, end_ns = _span(requests, phase)
    lengths = pauses.stalls["to_ns"].clip(upper=end_ns) - pauses.stalls["from_ns"].clip(lower=begin_ns)
    seconds = lengths[lengths > 0] / NS_PER_S
    return Stalls(
        count=len(seconds), total_s=float(seconds.sum()), longest_s=float(seconds.max()) if len(seconds) else 0.0
    )


def heartbeat_lateness(pauses: Pauses, requests: pd.DataFrame, phase: str = "measure") -> Percentiles | None:
    """Return how late the event loop handled the heartbeats of a phase (s); None without one."""
    begin_ns, end_ns = _span(requests, phase)
    late = pauses.heartbeats.loc[pauses.heartbeats["due_ns"].between(begin_ns, end_ns), "late_ns"] / NS_PER_S
    if late.empty:
        return None
    return Percentiles(**{name: percentile(late, p).value for name, p in REPORTED_PERCENTILES.items()})


def _span(requests: pd.DataFrame, phase: str) -> tuple[int, int]:
    """Return first send and last end of a phase (ns); an empty span if nothing was sent."""
    rows = measured_rows(requests, phase)
    sent, done = (rows[name].dropna() for name in ("sent_ns", "done_ns"))
    return (int(sent.min()), int(done.max())) if len(sent) and len(done) else (0, 0)
