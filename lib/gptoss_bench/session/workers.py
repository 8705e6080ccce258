"""Choose how many processes send a load: the number that was asked for, or as many as the load needs."""

import math
import os
from pathlib import Path

from gptoss_bench import paths
from gptoss_bench.engines import ServerChoice, attach
from gptoss_bench.fleet import DaskFleet, Fleet, LocalFleet
from gptoss_bench.runs import machine_facts
from gptoss_bench.session.fleet_load import check_division
from gptoss_bench.session.session import newest_calibration
from gptoss_client import (
    Client,
    Endpoint,
    LoadPlan,
    Request,
    Trace,
    UsageError,
    assemble_reply,
    decode_body,
    request_body,
)

EVENTS_S = 44_000.0  # one process at 80 % of a core: it used 66 % at 36,000 events a second
AUTO = "auto"
MOST = 1024  # processes of one machine


async def choose_fleet(
    workers: str, plan: LoadPlan, server: ServerChoice, results: Path | None = None, *, address: str | None = None
) -> Fleet | None:
    """Return the fleet for a number of workers, "auto", or a cluster; None for one process, which needs no fleet.

    The plan can be divided by it.

    Args:
        address: dask://host:port of a Dask scheduler, each of whose workers is one; None: this machine.
        workers: A whole number from 1 on, or "auto".
        plan: The undivided plan.
        server: The server; "auto" sends it one request, which is not recorded, to learn the rate of one stream.
        results: Results folder with calibrations of this machine; None: the folder `results` of the repository.

    Raises:
        UsageError: The text is neither, "auto" has no server to ask, or the plan cannot be divided so.
    """
    if address is not None:
        if workers != "1":
            raise UsageError("a fleet has as many workers as the cluster: give workers or fleet, not both")
        fleet = DaskFleet.at(address)
        check_division(plan, fleet.count)
        return fleet
    count = check_workers(workers, plan, has_url=bool(server.url))
    if count is None:
        endpoint = await attach(server.url, server.model, server.dialect, options=plan.options)
        count = await _needed(plan, endpoint, results or paths.RESULTS)
        if count > 1:
            check_division(plan, count)
    return None if count == 1 else LocalFleet(count)


def check_workers(workers: str, plan: LoadPlan, *, has_url: bool) -> int | None:
    """Return the number that the text says, None for "auto" unless one process is to hold conversations.

    `has_url`: whether the server runs already. Raises UsageError as `choose_fleet` does.
    """
    if workers == AUTO:
        if not has_url:
            raise UsageError("workers 'auto' asks a running server: give its url, or a number of workers")
        return None if plan.turns is None else 1  # conversations are held by one process
    count = int(workers) if workers.isascii() and workers.isdecimal() and len(workers) <= len(str(MOST)) else 0
    if not 0 < count <= MOST:
        raise UsageError(f"workers must be a whole number from 1 to {MOST} or 'auto', not {workers[:40]!r}")
    if count > 1:
        check_division(plan, count)
    return count


async def _needed(plan: LoadPlan, endpoint: Endpoint, results: Path) -> int:
    """Return the least number of processes that surely carry the load, at most one a core and one a slot.

    A stream under load is no faster than one alone, so that the streams together bring at most the events per second
    of one alone times their number.
    """
    traces = list[Trace]()
    async with Client(endpoint, plan) as client:
        await client.send(Request(request_body(plan, endpoint, 0)), traces.append)
    events_s = _events_s(traces[0]) * (plan.max_in_flight if plan.is_open else plan.concurrency)
    if plan.is_open:
        due_s = plan.arrival_offsets()
        events_s = min(events_s, plan.max_tokens * len(due_s) / max(due_s[-1], 1.0))
    calibrated = newest_calibration(results, machine_facts()).levels
    carried = [level.events_s for level in calibrated if level.trusted and level.kind == "plain"]
    count = math.ceil(events_s / max(carried, default=EVENTS_S))
    slots = plan.max_in_flight if plan.is_open else plan.concurrency
    return max(1, min(count, os.cpu_count() or 1, slots))


def _events_s(trace: Trace) -> float:
    """Return the events per second of one stream, 0.0 where it has fewer than two."""
    if len(trace.pieces) < 2:
        return 0.0
    events = assemble_reply(decode_body(data for _, data in trace.pieces)).events
    return (events - 1) / max((trace.pieces[-1][0] - trace.pieces[0][0]) / 1e9, 1e-6)
