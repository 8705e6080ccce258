"""Measure the overhead of the live view: the client's errors in one load without it and with it."""

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from gptoss_bench.calibration import (
    TRUSTED_ERROR_SHARE,
    CalibrationLevel,
    ReferencePlan,
    match_events,
    read_send_log,
    serve_reference,
    stream_numbers,
    summarise_level,
    ttft_errors_s,
)
from gptoss_bench.engines import ServerChoice
from gptoss_bench.notebook.follower import POLL_S, RunFollower
from gptoss_bench.notebook.live_view import render_live_view
from gptoss_bench.runs import Run
from gptoss_bench.session import LoadProcess
from gptoss_client import LoadPlan, UsageError

UNWATCHED, WATCHED = "no live view", "live view, twice a second"
OVERHEAD_COLUMNS = ["client", "streams", "tokens_s", "ttft_error_p50_ms", "ttft_error_p99_ms", "itl_error_p99_ms"]
OVERHEAD_COLUMNS += ["lag_p99_ms", "cpu_share", "trusted"]


async def measure_overhead(
    streams: int, tokens_s: float, *, tokens: int = 40, waves: int = 3
) -> list[CalibrationLevel]:
    """Run one load twice against a reference server of TTFT 200 ms, without and with a live view; return both levels.

    Each load has a process of its own; the live view runs in this one, as in the run panel. Raises UsageError for an
    invalid load and RunFailed for an incomplete one.
    """
    if tokens_s <= 0:
        raise UsageError(f"tokens/s of a stream must be above 0, not {tokens_s}")
    pace = ReferencePlan(itl_s=1 / tokens_s, tokens=tokens)
    plan = LoadPlan(concurrency=streams, requests=streams * waves, warmup=streams, max_tokens=tokens, timeout_s=120)
    with tempfile.TemporaryDirectory() as scratch:
        where = Path(scratch)
        async with serve_reference(pace, where) as endpoint:
            runs = {}
            for name in (UNWATCHED, WATCHED):
                load = LoadProcess(plan, ServerChoice(url=endpoint.url), results=where)
                view = asyncio.create_task(_show_live_view(load)) if name == WATCHED else None
                runs[name] = await load.wait()
                if view is not None:
                    await view
        log = read_send_log(where / "send_log.parquet").events
        return [level_of_run(run, log, name, tokens_s) for name, run in runs.items()]


async def _show_live_view(load: LoadProcess) -> None:
    follower = RunFollower(load.path, load.plan)
    while load.ended is None:
        render_live_view(await asyncio.to_thread(follower.poll), load.run_id)
        await asyncio.sleep(POLL_S)


def level_of_run(run: Run, log: pd.DataFrame, name: str, tokens_s: float) -> CalibrationLevel:
    """Return the errors of the measured phase of a run, against the send log of its reference server."""
    requests, events = (table[table["phase"] == "measure"] for table in (run.requests, run.events))
    streams = stream_numbers(run.traces())
    streams = streams[streams.index.isin(requests["request_id"])]
    return summarise_level(
        name,
        (run.manifest["parameters"]["concurrency"], tokens_s),
        requests,
        matched=match_events(events, streams, log),
        ttft_errors=ttft_errors_s(requests, streams, log),
        cpu_share=run.summary["client"]["cpu_share"],
    )


def errors_agree(levels: Sequence[CalibrationLevel]) -> bool:
    """Return whether the p99 errors of TTFT and ITL differ by at most the trusted share of the ITL."""
    if any(one.itl_p50_ms is None for one in levels):
        return False
    allowed_ms = TRUSTED_ERROR_SHARE * min(one.itl_p50_ms or 0.0 for one in levels)
    for at in ("ttft_error", "itl_error"):
        found_ms = [getattr(one, at).p99 for one in levels]
        if any(ms is None for ms in found_ms) or max(found_ms) - min(found_ms) > allowed_ms:
            return False
    return True
