"""Run the levels of a sweep one after the other, each a closed loop, into one run folder."""

from gptoss_bench.runs import RunFolder
from gptoss_bench.stats import sweep_phase, sweep_plans
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
    """Run the levels of the plan's sweep and return None, or why the sweep is incomplete.

    Levels that were not started are in no table. Nothing is decoded between levels.

    Args:
        plan: Plan with the sweep.
        endpoint: Server under load.
        folder: Run folder that gets the traces.
        progress: Called with each trace.
        first_id: Id of the first request; ids continue over all levels, so that distinct prompts stay distinct.
        cpu_shares: Gets the client's share of one core by concurrency, for each level that has ended.

    Raises:
        UsageError: The run folder cannot be written.
    """
    for level in sweep_plans(plan):
        used = CpuUsed()

        async def mark(phase: str, used: CpuUsed = used) -> None:
            used.stop() if phase == "end" else used.start()

        name = sweep_phase(level.concurrency)
        reason = await run_load(level, endpoint, folder.add, progress, first_id=first_id, on_phase=mark, phase=name)
        first_id += level.requests or 0
        cpu_shares[level.concurrency] = used.cpu_share
        if reason:
            return f"{reason} (the sweep was at concurrency {level.concurrency})"
    return None
