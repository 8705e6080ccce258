"""The levels of a sweep, one closed loop after the other, into the same run folder."""

from gptoss_bench.runs import RunFolder
from gptoss_bench.stats import level_plans, phase_of
from gptoss_bench.telemetry import CpuUsed
from gptoss_client import Endpoint, LoadPlan, TraceCallback, run_load


async def run_sweep(
    plan: LoadPlan,
    endpoint: Endpoint,
    folder: RunFolder,
    progress: TraceCallback,
    *,
    first_id: int,
    cpu_shares: dict[int, float | None],
) -> str | None:
    """Make the levels of the plan's sweep; `cpu_shares` gets the client's share of a core for each that has ended.

    Requests are numbered on from `first_id`, so that distinct prompts stay distinct over all levels. Nothing is decoded
    between levels. Returns None, or in words why the sweep is not whole: a level that was not begun is then in no
    table. Raises UsageError where the disk refuses.
    """
    for level in level_plans(plan):
        used = CpuUsed()

        async def mark(phase: str, used: CpuUsed = used) -> None:
            used.stop() if phase == "end" else used.start()

        name = phase_of(level.concurrency)
        reason = await run_load(level, endpoint, folder.add, progress, first_id=first_id, on_phase=mark, phase=name)
        first_id += level.requests or 0
        cpu_shares[level.concurrency] = used.cpu_share
        if reason:
            return f"{reason} (the sweep was at concurrency {level.concurrency})"
    return None
