"""The client measured: the kit's own load and stock httpx against a truth server, one load after the other."""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from gptoss_bench import calibrate, truth_log
from gptoss_bench.calibrate import Level
from gptoss_bench.endpoint import Endpoint
from gptoss_bench.engines.truth_server import serve_truth
from gptoss_bench.error_bar import CPU_SHARE
from gptoss_bench.errors import RunFailed, UsageError
from gptoss_bench.load import run_load
from gptoss_bench.plan import Plan
from gptoss_bench.stock import run_stock
from gptoss_bench.store import RunFolder
from gptoss_bench.truth_plan import TruthPlan

OURS, STOCK = "gptoss_bench", "stock httpx"


async def measure(
    streams: int, tokens_s: float, *, tokens: int = 40, waves: int = 1, stock: bool = True
) -> tuple[list[Level], Endpoint]:
    """Ours, and with `stock` stock httpx, under one load, one after the other against one server of TTFT 200 ms.

    Each sends a wave of warm-up and `waves` measured waves of `streams` requests. Returns ours first, and the server
    as it described itself. Raises UsageError where the load makes no sense, RunFailed where it is not whole.
    """
    if tokens_s <= 0:
        raise UsageError(f"the tokens/s of a stream must be above 0, not {tokens_s}")
    pace = TruthPlan(itl_s=1 / tokens_s, tokens=tokens)
    plan = Plan(concurrency=streams, requests=streams * waves, warmup=streams, max_tokens=tokens, timeout_s=120)
    with tempfile.TemporaryDirectory() as scratch:
        where = Path(scratch)
        async with serve_truth(pace, where) as endpoint:
            folder = RunFolder.create(where, "ruler-level", parameters={})
            began = (time.perf_counter(), time.process_time())
            done = await run_load(plan, endpoint, folder.add)
            our_share = _cpu_share(*began)
            began = (time.perf_counter(), time.process_time())
            beside = await run_stock(plan, endpoint) if stock else None
            stock_share = _cpu_share(*began)
        if done.reason is not None:
            raise RunFailed(done.reason)
        run = folder.finish({})
        log = truth_log.read(where / "truth.parquet").events
        numbers = calibrate.streams_of(run.traces())
        requests = run.requests[run.requests["phase"] == "measure"]
        chunks = run.chunks[run.chunks["phase"] == "measure"]
        numbers = numbers[numbers.index.isin(requests["request_id"])]
    planned = (streams, tokens_s)
    found = [_level(OURS, planned, (requests, chunks, numbers), log, our_share)]
    if beside is not None:
        found.append(_level(STOCK, planned, beside, log, stock_share))
    return found, endpoint


async def measure_all(
    levels: Sequence[Sequence[float]], *, tokens: int = 40, stock_streams: int = 256
) -> tuple[list[Level], Endpoint]:
    """Both clients at each of `levels`, pairs of (streams, tokens/s of each), and the server without its pace.

    It ends before its time where our client needs more of a core than it may. Stock httpx is left out of loads of more
    than `stock_streams` streams: its pool takes minutes for them. The server carries no label: what is measured here is
    the client, and that is real.
    """
    if not levels or any(len(pair) != 2 for pair in levels):
        raise UsageError(f"levels must be pairs of [streams, tokens_per_s], not {levels!r}")
    found: list[Level] = []
    for streams, tokens_s in levels:
        both, endpoint = await measure(int(streams), float(tokens_s), tokens=tokens, stock=streams <= stock_streams)
        found += both
        if both[0].cpu_share > CPU_SHARE:
            break
    return found, replace(endpoint, label=None, facts={})


def _level(
    client: str,
    planned: tuple[int, float],
    tables: tuple[pd.DataFrame, pd.DataFrame, pd.Series],
    log: pd.DataFrame,
    cpu_share: float,
) -> Level:
    requests, chunks, numbers = tables
    found = calibrate.matched(chunks, numbers, log)
    errors_s = calibrate.ttft_errors(requests, numbers, log)
    return calibrate.level(client, planned, requests, found=found, errors_s=errors_s, cpu_share=cpu_share)


def _cpu_share(began_s: float, cpu_s: float) -> float:
    return (time.process_time() - cpu_s) / (time.perf_counter() - began_s)
