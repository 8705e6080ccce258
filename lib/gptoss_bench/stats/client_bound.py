"""Decide whether a run is client-bound: whether the client, and not the server, limited it."""

from gptoss_bench.runs import ClientLoad

CLIENT_BOUND_LAG_SHARE = 0.05  # of the median ITL
CLIENT_BOUND_CPU_SHARE = 0.80  # of one core
CLIENT_BOUND_SHARED_READ_SHARE = 0.05  # of the gaps


def client_bound_reasons(client: ClientLoad, gap_s: float | None) -> list[str]:
    """Return the reasons why a run is client-bound; empty if it is not.

    They are: the p99 of the client's lag exceeds CLIENT_BOUND_LAG_SHARE of the median ITL `gap_s`, its CPU use exceeds
    CLIENT_BOUND_CPU_SHARE of a core, or more than CLIENT_BOUND_SHARED_READ_SHARE of the gaps lie within one read of the
    socket, where they cannot be measured.
    """
    found = []
    lag_s = client.lag_s.p99 if client.lag_s else None
    if lag_s is not None and gap_s is not None and lag_s > CLIENT_BOUND_LAG_SHARE * gap_s:
        found.append(f"p99 of its lag is {lag_s * 1e3:.3g} ms, the median ITL {gap_s * 1e3:.3g} ms")
    if client.cpu_share is not None and client.cpu_share > CLIENT_BOUND_CPU_SHARE:
        found.append(f"it was busy {client.cpu_share:.0%} of the time")
    if client.shared_read_share is not None and client.shared_read_share > CLIENT_BOUND_SHARED_READ_SHARE:
        found.append(f"{client.shared_read_share:.0%} of the gaps lay within one read of the socket")
    return found
