"""Search for the capacity of a server: run one level after the other into one run folder, each a load of its own."""

import time
from collections.abc import Callable
from dataclasses import replace

from gptoss_bench.runs import Capacity, CapacityLevel, RunFolder, Slo, derive_tables
from gptoss_bench.stats import CapacitySearch, PlannedLevel, capacity_level, capacity_phase, next_level
from gptoss_bench.telemetry import CpuUsed
from gptoss_client import Endpoint, LoadPlan, Trace, TraceCallback, UnsentRequests, run_load

LevelCallback = Callable[[PlannedLevel, CapacityLevel | None], None]


async def run_capacity_search(
    plan: LoadPlan,
    endpoint: Endpoint,
    folder: RunFolder,
    progress: TraceCallback,
    record_unsent: Callable[[UnsentRequests], None],
    *,
    slo: Slo,
    search: CapacitySearch,
    max_s: float,
    measured: Capacity,
    on_level: LevelCallback | None = None,
) -> str | None:
    """Measure the levels of a search and return None, or why a level is incomplete.

    Nothing is in flight between levels: each begins with an idle server. The search ends before a level that would not
    end within `max_s`.

    Args:
        plan: What each level sends; its rate or concurrency and its duration are those of the level.
        endpoint: Server under load.
        folder: Run folder that gets the traces.
        progress: Called with each trace.
        record_unsent: Keeps requests that were never sent.
        slo: Limits that a good request meets.
        search: How the search proceeds.
        max_s: Longest duration of the search in seconds.
        measured: Gets each level when it has ended.
        on_level: Called with each level before it begins, and with what it says when it has ended.

    Raises:
        UsageError: The run folder cannot be written, or the engine does not support what the plan asks for.
    """
    began_s, first_id = time.monotonic(), 0
    while (planned := next_level(measured.levels, search)) is not None:
        if measured.levels and time.monotonic() - began_s + planned.duration_s > max_s:
            return None
        if on_level:
            on_level(planned, None)
        number = len(measured.levels) + 1
        phase, used, traces = capacity_phase(planned.level, number), CpuUsed(), list[Trace]()

        async def mark(name: str, used: CpuUsed = used) -> None:
            used.stop() if name == "end" else used.start()

        def record(trace: Trace, traces: list[Trace] = traces) -> None:
            traces.append(trace)
            progress(trace)

        level_plan = level_load(plan, planned, search, number)
        reason = await run_load(
            level_plan, endpoint, folder.add, record,
            first_id=first_id, on_phase=mark, phase=phase, record_unsent=record_unsent,
        )  # fmt: skip
        first_id += len(traces)
        level = capacity_level(derive_tables(traces)[0], phase, slo, search.goal.by, used.cpu_share)
        measured.levels.append(level)
        if on_level:
            on_level(planned, level)
        if reason:
            return f"{reason} (the search was at level {planned.level:g})"
    return None


def level_load(plan: LoadPlan, planned: PlannedLevel, search: CapacitySearch, number: int) -> LoadPlan:
    """Return the plan of a level: an open loop with arrivals of its own, or a closed one. Only the first warms up."""
    warmup, seed = plan.warmup if number == 1 else 0, plan.arrival_seed + number
    level = replace(plan, requests=None, duration_s=planned.duration_s, warmup=warmup, arrival_seed=seed)
    if search.goal.by == "concurrency":
        return replace(level, concurrency=round(planned.level), rate=None)
    return replace(level, rate=f"{planned.level:g}")
