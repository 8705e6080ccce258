"""Run the calibration: the kit's client and stock httpx against a reference server, load by load."""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from gptoss_bench.calibration.accuracy import (
    KIT_CLIENT,
    STOCK_CLIENT,
    compare_with_log,
    measured_tables,
)
from gptoss_bench.calibration.reference.engine import serve_reference
from gptoss_bench.calibration.reference.plan import ReferencePlan
from gptoss_bench.calibration.reference.send_log import read_send_log
from gptoss_bench.calibration.stock_httpx import run_stock_httpx
from gptoss_bench.runs import CalibrationLevel, RunFolder
from gptoss_bench.stats import CLIENT_BOUND_CPU_SHARE
from gptoss_client import Endpoint, LoadPlan, RunFailed, UsageError, run_load


def calibration_plans(streams: int, tokens_s: float, *, tokens: int, waves: int) -> tuple[ReferencePlan, LoadPlan]:
    """Return what the reference server does and what the client sends at one level. Raises UsageError if invalid.

    `tokens_s` is the tokens/s of each stream, `waves` the number of measured waves of `streams` requests, after one
    wave of warm-up. The server's TTFT is 200 ms.
    """
    if tokens_s <= 0:
        raise UsageError(f"tokens/s of a stream must be above 0, not {tokens_s}")
    load = LoadPlan(concurrency=streams, requests=streams * waves, warmup=streams, max_tokens=tokens, timeout_s=120)
    return ReferencePlan(itl_s=1 / tokens_s, tokens=tokens), load


async def measure_level(
    streams: int, tokens_s: float, *, tokens: int = 40, waves: int = 1, stock: bool = True
) -> tuple[list[CalibrationLevel], Endpoint]:
    """Measure the kit's client and then, with `stock`, stock httpx under one load against one server.

    Args:
        streams: Concurrent requests; the server's TTFT is 200 ms.
        tokens_s: Tokens/s of each stream.
        tokens: Tokens of each reply.
        waves: Measured waves of `streams` requests, after one wave of warm-up.
        stock: Whether to measure stock httpx too.

    Returns:
        The levels, the kit's first, and the server as it describes itself.

    Raises:
        UsageError: The load is not valid.
        RunFailed: The load is incomplete.
    """
    pace, plan = calibration_plans(streams, tokens_s, tokens=tokens, waves=waves)
    with tempfile.TemporaryDirectory() as scratch:
        where = Path(scratch)
        async with serve_reference(pace, where) as endpoint:
            folder = RunFolder.create(where, "calibration-level", parameters={})
            began = (time.perf_counter(), time.process_time())
            reason = await run_load(plan, endpoint, folder.add)
            kit_share = _cpu_share(*began)
            began = (time.perf_counter(), time.process_time())
            stock_tables = await run_stock_httpx(plan, endpoint) if stock else None
            stock_share = _cpu_share(*began)
        if reason is not None:
            raise RunFailed(reason)
        run = folder.finish()
        log = read_send_log(where / "send_log.parquet").events
        tables = measured_tables(run)
    planned = (streams, tokens_s)
    found = [compare_with_log(KIT_CLIENT, planned, tables, log, kit_share)]
    if stock_tables is not None:
        found.append(compare_with_log(STOCK_CLIENT, planned, stock_tables, log, stock_share))
    return found, endpoint


async def measure_levels(
    levels: Sequence[Sequence[float]], *, tokens: int = 40, stock_streams: int = 256
) -> tuple[list[CalibrationLevel], Endpoint]:
    """Measure both clients at each of `levels`, pairs of (streams, tokens/s of each); return the levels and the server.

    The calibration stops early when the kit's client uses more than 80 % of a core. Stock httpx is left out above
    `stock_streams` streams, where its pool takes minutes. The returned endpoint has no label and no facts: the subject
    of the measurement is the client, which is real.
    """
    if not levels or any(len(pair) != 2 for pair in levels):
        raise UsageError(f"levels must be pairs of [streams, tokens_per_s], not {levels!r}")
    found: list[CalibrationLevel] = []
    for streams, tokens_s in levels:
        both, endpoint = await measure_level(
            int(streams), float(tokens_s), tokens=tokens, stock=streams <= stock_streams
        )
        found += both
        if both[0].cpu_share > CLIENT_BOUND_CPU_SHARE:
            break
    return found, replace(endpoint, label=None, facts={})


def _cpu_share(began_s: float, cpu_s: float) -> float:
    return (time.process_time() - cpu_s) / (time.perf_counter() - began_s)
