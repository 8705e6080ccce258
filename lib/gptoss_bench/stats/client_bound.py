"""Decide whether a run is client-bound: whether the client, and not the server, limited it."""

from typing import NamedTuple

from gptoss_bench.runs import ClientLoad, LoadSummary
from gptoss_bench.stats.client_uncertainty import NO_INTERVALS, UNCERTAIN_SHARE, client_pairs, has_client_pairs

CLIENT_BOUND_CPU_SHARE = 0.80  # of one core
CLIENT_BOUND_IDLE_SHARE = 0.02  # of the slots' time
CLIENT_BOUND_LATE_SHARE = 0.05  # of the median ITL
NO_HEARTBEAT = "unknown for this run: it has neither kernel timestamps nor a heartbeat of the client"


class ClientBound(NamedTuple):
    """The reasons why a run is client-bound, and why this is not known completely, else None."""

    reasons: list[str]
    unknown: str | None


def client_bound(summary: LoadSummary) -> ClientBound:
    """Return whether the client limited a run.

    With kernel timestamps: the p99 of a quantity is uncertain by more than UNCERTAIN_SHARE of it, or slots idled more
    than CLIENT_BOUND_IDLE_SHARE of their time. Without: the p99 of the heartbeat's lateness exceeds
    CLIENT_BOUND_LATE_SHARE of the median ITL. In both cases: the client needed more than CLIENT_BOUND_CPU_SHARE of
    a core. A result without timestamps of this kit's client is never called client-bound.
    """
    client = summary.client
    if client.timestamp_source != "kernel":
        late = client.heartbeat_late_s
        known = client.timestamp_source is None or (late is not None and late.p99 is not None)
        return ClientBound(_late(client, summary.itl_s.p50) + _busy(client), None if known else NO_HEARTBEAT)
    found = [
        f"{pair.text}: known only within these bounds"
        for pair in client_pairs(summary, UNCERTAIN_SHARE)
        if pair.at == "p99"
    ]
    if (idle := summary.slot_idle_share) is not None and idle > CLIENT_BOUND_IDLE_SHARE:
        found.append(f"its slots idled {idle:.1%} of the time")
    return ClientBound(found + _busy(client), None if has_client_pairs(summary) else NO_INTERVALS)


def _late(client: ClientLoad, gap_s: float | None) -> list[str]:
    late_s = client.heartbeat_late_s.p99 if client.heartbeat_late_s else None
    if late_s is None or gap_s is None or late_s <= CLIENT_BOUND_LATE_SHARE * gap_s:
        return []
    return [f"p99 of its lateness is {late_s * 1e3:.3g} ms, the median ITL {gap_s * 1e3:.3g} ms"]


def _busy(client: ClientLoad) -> list[str]:
    share = client.cpu_share
    return [f"it was busy {share:.0%} of the time"] if share is not None and share > CLIENT_BOUND_CPU_SHARE else []
