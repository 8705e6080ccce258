"""Run the calibration: the kit's client and stock httpx against a reference server, load by load, again and again."""

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from gptoss_bench.calibration.accuracy import (
    KIT_CLIENT,
    STOCK_CLIENT,
    LevelSample,
    compare_with_log,
    run_sample,
    summarise_level,
)
from gptoss_bench.calibration.contention import busy_cores
from gptoss_bench.calibration.loads import MANY_STREAMS, CalibrationLoad
from gptoss_bench.calibration.reference.engine import serve_reference
from gptoss_bench.calibration.reference.send_log import read_send_log
from gptoss_bench.calibration.stock_httpx import run_stock_httpx
from gptoss_bench.calibration.tls_certificate import NO_OPENSSL, can_make_certificate, make_certificate, trusting
from gptoss_bench.runs import CalibrationLevel, Condition, RunFolder
from gptoss_bench.stats import CLIENT_BOUND_CPU_SHARE
from gptoss_client import Endpoint, RunFailed, run_load

LATE_READ_S, READING_S = 0.05, 0.2  # of a "late-reader" load: the loop is blocked, then reads
OVERHEAD_S = 2.0  # of a load beside its waves, for the estimate of the time left: server, tables


async def measure_load(load: CalibrationLoad, *, stock: bool = False) -> tuple[dict[str, LevelSample], Endpoint]:
    """Measure the kit's client and then, with `stock`, stock httpx under one load against one server.

    Return the sample of each client, and the server as it describes itself. Raises RunFailed if the load is incomplete.
    """
    with tempfile.TemporaryDirectory() as scratch:
        where = Path(scratch)
        certificate = make_certificate(where) if load.kind == "tls" else None
        async with serve_reference(load.pace, where, certificate=certificate) as endpoint:
            folder = RunFolder.create(where, "calibration-level", parameters={})
            with _special(load, endpoint, certificate) as special:
                async with _late_reader(load):
                    began = (time.perf_counter(), time.process_time())
                    reason = await run_load(load.plan, special, folder.add)
                    kit_share = _cpu_share(*began)
            began = (time.perf_counter(), time.process_time())
            stock_tables = await run_stock_httpx(load.plan, endpoint) if stock else None
            stock_share = _cpu_share(*began)
        if reason is not None:
            raise RunFailed(reason)
        run = folder.finish()
        log = read_send_log(where / "send_log.parquet").events
        found = {KIT_CLIENT: run_sample(run, log, load.streams, kit_share)}
    if stock_tables is not None:
        found[STOCK_CLIENT] = compare_with_log(stock_tables, log, stock_share)
    return found, endpoint


async def measure_levels(
    loads: Sequence[CalibrationLoad],
    *,
    repeats: int = 3,
    stock_streams: int = 256,
    quick: bool = False,
    report_progress: Callable[[str], None] = lambda _line: None,
) -> tuple[list[CalibrationLevel], Endpoint]:
    """Measure `loads` with idle CPUs and beside busy processes, one per core; return all levels and the server.

    A repeat is one pass over everything, so that a disturbance of the machine does not fall on all repeats of one
    level. Stock httpx is measured in the first pass only, with idle CPUs, under plain loads of up to `stock_streams`
    streams. Once the kit's client has used more than 80 % of a core, busier loads of that condition are left out.
    The returned endpoint has no label and no facts: the subject of the measurement is the client, which is real.

    Args:
        loads: The loads, by rising number of streams.
        repeats: Number of passes.
        stock_streams: 0: leave stock httpx out.
        quick: One pass, medians only, no stock httpx, and up to MANY_STREAMS streams beside busy processes.
        report_progress: Called with a line before each load: what comes, and about how many seconds are left.
    """
    name = "quick calibration" if quick else "calibration"
    if quick:
        repeats, stock_streams = 1, 0
    loads = [load for load in loads if load.kind not in skipped_kinds()]
    beside = [load for load in loads if load.streams <= MANY_STREAMS or not quick]
    passes: list[tuple[Condition, Sequence[CalibrationLoad]]] = [("idle", loads), ("contended", beside)]
    samples: dict[tuple[str, Condition, CalibrationLoad], list[LevelSample]] = {}
    most_streams: dict[Condition, float] = {}
    time_left = _TimeLeft(repeats * (_planned_s(loads) + _planned_s(beside)))
    for repeat in range(repeats):
        for condition, planned in passes:
            with busy_cores() if condition == "contended" and planned else contextlib.nullcontext():
                for load in planned:
                    if load.streams > most_streams.get(condition, float("inf")):
                        time_left.spent(load)
                        continue
                    report_progress(f"{name} {repeat + 1}/{repeats}, {condition}, {load}: {time_left}")
                    stock = repeat == 0 and condition == "idle" and load.kind == "plain"
                    found, endpoint = await measure_load(load, stock=stock and load.streams <= stock_streams)
                    time_left.spent(load)
                    for client, sample in found.items():
                        samples.setdefault((client, condition, load), []).append(sample)
                    if found[KIT_CLIENT].cpu_share > CLIENT_BOUND_CPU_SHARE:
                        most_streams[condition] = load.streams
    levels = [
        summarise_level(client, load, several, condition=condition, quick=quick)
        for (client, condition, load), several in samples.items()
    ]
    return levels, replace(endpoint, label=None, facts={})


def skipped_kinds() -> dict[str, str]:
    """Return the kinds of load that this machine cannot measure, with the reason."""
    return {} if can_make_certificate() else {"tls": NO_OPENSSL}


@contextlib.contextmanager
def _special(load: CalibrationLoad, endpoint: Endpoint, certificate: Path | None) -> Iterator[Endpoint]:
    """Yield the endpoint as the client of this kind of load sees it."""
    if load.kind == "new-connections":
        endpoint = replace(endpoint, keep_alive=False)
    if certificate is None:
        yield endpoint
        return
    with trusting(certificate):
        yield replace(endpoint, url=endpoint.url.replace("http:", "https:", 1))


@contextlib.asynccontextmanager
async def _late_reader(load: CalibrationLoad) -> AsyncIterator[None]:
    """Block the event loop again and again in a "late-reader" load, so that segments wait and are merged."""

    async def block() -> None:
        while True:
            await asyncio.sleep(READING_S)
            time.sleep(LATE_READ_S)  # noqa: ASYNC251 - the delay is the subject

    task = asyncio.create_task(block()) if load.kind == "late-reader" else None
    try:
        yield
    finally:
        if task is not None:
            task.cancel()


class _TimeLeft:
    """The seconds left of a planned sequence of loads, by how much longer than planned the past ones took."""

    def __init__(self, planned_s: float) -> None:
        self._began_s, self._planned_s, self._done_s = time.monotonic(), planned_s, 0.0

    def spent(self, load: CalibrationLoad) -> None:
        self._done_s += _planned_s([load])

    def __str__(self) -> str:
        slower = (time.monotonic() - self._began_s) / self._done_s if self._done_s else 1.0
        return f"about {slower * (self._planned_s - self._done_s):.0f} s left"


def _planned_s(loads: Sequence[CalibrationLoad]) -> float:
    return sum(OVERHEAD_S + (1 + load.waves) * load.wave_s for load in loads)


def _cpu_share(began_s: float, cpu_s: float) -> float:
    return (time.process_time() - cpu_s) / (time.perf_counter() - began_s)
