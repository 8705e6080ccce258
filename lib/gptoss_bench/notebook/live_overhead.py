"""Measure the overhead of the live view: the client's errors in one load without it and with it."""

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path

from gptoss_bench.calibration import (
    TRUSTED_ERROR_SHARE,
    CalibrationLoad,
    read_send_log,
    run_sample,
    serve_reference,
    summarise_level,
)
from gptoss_bench.engines import ServerChoice
from gptoss_bench.notebook.follower import POLL_S, RunFollower
from gptoss_bench.notebook.live_view import render_live_view
from gptoss_bench.runs import CalibrationLevel
from gptoss_bench.session import LoadProcess, showing_progress

UNWATCHED, WATCHED = "no live view", "live view, twice a second"
OVERHEAD_COLUMNS = ["client", "streams", "tokens_s", "ttft_error_p50_ms", "ttft_error_p99_ms", "itl_error_p99_ms"]
OVERHEAD_COLUMNS += ["lag_p99_ms", "cpu_share", "trusted"]


async def measure_overhead(
    streams: int, tokens_s: float, *, tokens: int = 40, waves: int = 3
) -> list[CalibrationLevel]:
    """Run one load twice against a reference server without and with a live view; return both levels.

    Each load has a process of its own; the live view runs in this one, as in the run panel. Raises UsageError for an
    invalid load and RunFailed for an incomplete one.
    """
    planned = CalibrationLoad(streams, tokens_s, tokens=tokens, waves=waves)
    with tempfile.TemporaryDirectory() as scratch:
        where = Path(scratch)
        async with serve_reference(planned.pace, where) as endpoint:
            runs = {}
            for name in (UNWATCHED, WATCHED):
                load = LoadProcess(planned.plan, ServerChoice(url=endpoint.url), results=where)
                view = asyncio.create_task(_show_live_view(load)) if name == WATCHED else None
                with showing_progress(f"{planned}: {name}"):
                    runs[name] = await load.wait()
                if view is not None:
                    await view
        log = read_send_log(where / "send_log.parquet").events
        cpu_shares = {name: run.load_summary.client.cpu_share or 0.0 for name, run in runs.items()}
        return [
            summarise_level(name, planned, [run_sample(run, log, planned.streams, cpu_shares[name])])
            for name, run in runs.items()
        ]


async def _show_live_view(load: LoadProcess) -> None:
    follower = RunFollower(load.path, load.plan)
    while load.ended is None:
        render_live_view(await asyncio.to_thread(follower.poll), load.run_id)
        await asyncio.sleep(POLL_S)


def errors_agree(levels: Sequence[CalibrationLevel]) -> bool:
    """Return whether the errors of TTFT and ITL differ by at most the trusted share of the ITL.

    They are compared at p99, or at the median where a p99 is not resolved.
    """
    if any(one.itl_p50_ms is None for one in levels):
        return False
    allowed_ms = TRUSTED_ERROR_SHARE * min(one.itl_p50_ms or 0.0 for one in levels)
    for at in ("ttft_error", "itl_error"):
        errors = [getattr(one, at) for one in levels]
        resolved = all(error.p99 is not None for error in errors)
        found_ms = [error.p99 if resolved else error.p50 for error in errors]
        if any(ms is None for ms in found_ms) or max(found_ms) - min(found_ms) > allowed_ms:
            return False
    return True
