"""Say what each of several client processes sent, and judge the client as a whole by the worst of them. Pure."""

from collections.abc import Sequence

import pandas as pd

from gptoss_bench.runs import ClientLoad, ErrorBar, FleetSummary, LoadSummary, Worker, WorkerSummary
from gptoss_bench.stats.row_selection import measured_rows
from gptoss_client import NS_PER_S


def fleet_summary(
    requests: pd.DataFrame, workers: Sequence[Worker], parts: Sequence[LoadSummary | None]
) -> FleetSummary:
    """Return the workers of a load with the counts of their requests.

    Args:
        requests: Merged request table.
        workers: The workers of the manifest.
        parts: The summary of each worker's own run; None where it has none.
    """
    rows = measured_rows(requests) if "shard" in requests else requests.iloc[:0].assign(shard=0)
    found = [
        _worker(rows[rows["shard"] == worker.index], worker, part) for worker, part in zip(workers, parts, strict=True)
    ]
    bounds = sorted((one.clock_bound_s for one in found if one.clock_bound_s is not None), reverse=True)
    late = [one.late_s for one in found if one.late_s is not None]
    return FleetSummary(
        workers=found,
        clock_bound_s=sum(bounds[:2]) if len(bounds) == len(found) else None,
        start_spread_s=max(late) - min(late) if len(late) > 1 else None,
    )


def set_worst_client(client: ClientLoad, workers: Sequence[WorkerSummary], parts: Sequence[LoadSummary | None]) -> None:
    """Set what is known of the client as a whole from its processes: CPU seconds are added, all else is the worst."""
    known = [(worker.shard, part.client) for worker, part in zip(workers, parts, strict=True) if part is not None]
    seconds = [one.cpu_s for _, one in known]
    client.cpu_s = None if None in seconds or len(known) < len(workers) else sum(filter(None, seconds))
    client.cpu_share = max((one.cpu_share for _, one in known if one.cpu_share is not None), default=None)
    client.error_bar = max((one.error_bar for _, one in known if one.error_bar is not None), key=_badness, default=None)
    client.bound = [f"worker {shard}: {reason}" for shard, one in known for reason in one.bound]
    unknown = [f"worker {shard}: {one.bound_unknown}" for shard, one in known if one.bound_unknown]
    client.bound_unknown = "; ".join(unknown) or None


def _worker(rows: pd.DataFrame, worker: Worker, part: LoadSummary | None) -> WorkerSummary:
    counts = rows["outcome"].value_counts()
    sent = rows[rows["sent_ns"].notna()]
    first = sent.sort_values("sent_ns")[:1].astype({"sent_ns": "int64"})
    late_s = ((first["sent_ns"] - first["scheduled_ns"]) / NS_PER_S).tolist()
    clock = worker.clock
    return WorkerSummary(
        shard=worker.index,
        slots=worker.slots,
        requests=len(rows),
        **{name: int(counts.get(name, 0)) for name in ("completed", "failed", "cancelled", "lost")},
        events_s=part.client.events_s if part else None,
        cpu_share=part.client.cpu_share if part else None,
        late_s=late_s[0] if late_s else None,
        clock_offset_s=clock.offset_ns / NS_PER_S if clock else None,
        clock_bound_s=clock.bound_ns / NS_PER_S if clock else None,
        clock_drift_ppm=clock.drift_ppm if clock else None,
        bound=part.client.bound if part else [],
        gone=worker.lost,
    )


def _badness(bar: ErrorBar) -> tuple[bool, bool, float]:
    """Return a key by which the worst floor of the client's error is the largest: unknown, then not trusted."""
    p99 = bar.itl_s.p99 if bar.itl_s else None
    return bar.why is not None, bar.trusted is False, p99 or 0.0
