"""Helpers for tests of loads that several workers send: run one against a scripted server, and read what it wrote."""

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from gptoss_bench.engines.launch_options import ServerChoice
from gptoss_bench.fleet.placement import Fleet
from gptoss_bench.runs.folder import Run
from gptoss_bench.session.fleet_load import load_fleet
from gptoss_bench.session.session import serving
from gptoss_client.errors import RunFailed
from gptoss_client.plan import LoadPlan
from scripted import Answer, Exchange, Scripted, scripted, speak

During = Callable[[Scripted, Path], Awaitable[None]]


async def slowly(exchange: Exchange) -> None:
    await asyncio.sleep(0.05)
    await speak(exchange)


async def fleet_run(
    results: Path, plan: LoadPlan, fleet: Fleet, answer: Answer = speak, during: During | None = None
) -> tuple[Run, Scripted]:
    """Send a plan with a fleet, also if the run is incomplete; `during` goes on beside the load."""
    async with scripted(answer) as server:
        choice = ServerChoice(url=server.endpoint.url, model="m", dialect="openai")
        async with serving("load", choice, plan=plan, results_dir=str(results)) as session:
            beside = asyncio.ensure_future(during(server, session.folder.path)) if during else None
            try:
                await load_fleet(session, plan, fleet)
                session.finish()
            except RunFailed:
                pass
            if beside is not None:
                await beside
        return Run.load(session.folder.path), server


def worker_pid(path: Path, index: int) -> int:
    """Return the process of a local worker, by the folder that it writes."""
    place = str(path.absolute() / "shards" / str(index) / "raw.bin")
    for process in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            for number in os.listdir(f"/proc/{process}/fd"):
                with contextlib.suppress(OSError):
                    if os.readlink(f"/proc/{process}/fd/{number}") == place:
                        return int(process)
    raise AssertionError(f"no process writes {place}")
