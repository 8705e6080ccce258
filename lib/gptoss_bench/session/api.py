"""Measure one server from a script or a notebook cell: the load runs in a child process, its run is returned."""

import asyncio
import time
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import nest_asyncio2

from gptoss_bench.engines import ServerChoice
from gptoss_bench.fleet import Fleet
from gptoss_bench.runs import Run, WorkerProgress
from gptoss_bench.session.fleet_load import check_division, load_fleet
from gptoss_bench.session.load_process import SCENARIO, LoadProcess
from gptoss_bench.session.progress import TERMINAL_S, ProgressDisplay, RunProgress, clock
from gptoss_bench.session.session import serving
from gptoss_bench.session.worker_rows import workers_text
from gptoss_bench.session.workers import choose_fleet
from gptoss_bench.validation import choices_text
from gptoss_client import LoadPlan, UsageError

T = TypeVar("T")


def bench(
    url: str = "",
    *,
    model: str = "",
    engine: str = "",
    results: Path | str | None = None,
    workers: int | Literal["auto"] = 1,
    fleet: Fleet | None = None,
    **plan: Any,
) -> Run:
    """Load the server at `url` and return the run: `bench("http://127.0.0.1:8000", concurrency=8)`.

    It works in scripts and in notebook cells, where it blocks the cell; it shows what the load does.

    Args:
        url: Server to attach to. Empty: start `engine`.
        model: Served model. Empty: the only model that the server lists.
        engine: "vllm", "ollama" or "transformers". Empty: the embedded engine.
        results: Results folder. None: the folder `results` of the repository.
        workers: Processes of this machine that send the load together; "auto": as many as it needs.
        fleet: Where the processes run, if not on this machine, such as `DaskFleet(client)`; `workers` is then unused.
        **plan: Fields of `LoadPlan`, such as `concurrency=8`, `requests=64`, `rate=20`, `max_tokens=128`.

    Raises:
        UsageError: An argument is not valid.
        RunFailed: The load is incomplete.
    """
    return run_sync(bench_async(url, model=model, engine=engine, results=results, workers=workers, fleet=fleet, **plan))


async def bench_async(
    url: str = "",
    *,
    model: str = "",
    engine: str = "",
    results: Path | str | None = None,
    workers: int | Literal["auto"] = 1,
    fleet: Fleet | None = None,
    **plan: Any,
) -> Run:
    """Load a server and return the run, with the arguments of `bench`.

    Cancelling the task stops the load; completed requests are saved.
    """
    unknown = sorted(set(plan) - set(LoadPlan.__dataclass_fields__))
    if unknown:
        known = choices_text(unknown[0], LoadPlan.__dataclass_fields__)
        raise UsageError(f"bench has no argument and LoadPlan no field {unknown[0]!r}; {known}")
    if plan.get("duration_s") is not None or plan.get("replay") is not None:
        plan.setdefault("requests", None)
    server = ServerChoice(url=url, model=model, engine=engine)
    load_plan, folder = LoadPlan(**plan), Path(results) if results else None
    if fleet is not None:
        check_division(load_plan, fleet.count)
    fleet = fleet or await choose_fleet(str(workers), load_plan, server, folder)
    if fleet is not None:
        return await _bench_fleet(load_plan, server, fleet, folder)
    load = LoadProcess(load_plan, server, results=folder)
    progress, display = RunProgress(load.path), ProgressDisplay()
    waiting, began_s = asyncio.ensure_future(load.wait()), time.monotonic()
    try:
        while not (await asyncio.wait([waiting], timeout=TERMINAL_S))[0]:
            display.update(f"{clock(time.monotonic() - began_s)}  {progress.text()}")
        run = waiting.result()
        display.update(f"{load.run_id}: complete after {clock(time.monotonic() - began_s)}")
        return run
    finally:
        if not waiting.done():
            waiting.cancel()
        display.close()


async def _bench_fleet(plan: LoadPlan, server: ServerChoice, fleet: Fleet, results: Path | None) -> Run:
    """Load a server with the workers of a fleet, which are processes of their own, and return the run."""
    display, began_s = ProgressDisplay(), time.monotonic()

    def show(workers: Sequence[WorkerProgress]) -> None:
        display.update(f"{clock(time.monotonic() - began_s)}  {workers_text(workers)}", workers)

    try:
        async with serving(SCENARIO, server, plan=plan, results_dir=str(results or "")) as session:
            await load_fleet(session, plan, fleet, show)
        run = session.finish()
        display.update(f"{run.run_id}: complete after {clock(time.monotonic() - began_s)}")
        return run
    finally:
        display.close()


def run_sync(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to completion and return its result, also inside a running event loop.

    A running loop is made re-entrant permanently: do not measure on it afterwards, use `await` instead.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        loop = None
    if loop is None:  # not in the except clause, where the traceback of a wrong argument would begin with this one
        return asyncio.run(coroutine)
    nest_asyncio2.apply(loop)
    result: T = loop.run_until_complete(coroutine)
    return result
