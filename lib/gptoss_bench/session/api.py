"""Measure one server from a script or a cell: a load in a process of its own, its run when it is over."""
# MERGED: Call the kit's async functions from plain code, also where a loop is running already.

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import nest_asyncio2

from gptoss_bench.runs import Run
from gptoss_bench.session.load_process import LoadProcess, LoadTarget
from gptoss_client import LoadPlan, UsageError


def bench(url: str = "", *, model: str = "", engine: str = "", results: Path | str | None = None, **plan: Any) -> Run:
    """Load the server at `url` and return the run: `bench("http://127.0.0.1:8000", concurrency=8)`.

    For scripts, and for cells too, where it waits inside the running loop. An empty `url` starts `engine` ("vllm",
    "ollama", "transformers"), or the embedded one. An empty `model` is the only one that the server names. `plan` is
    what `Plan` takes. Raises UsageError and RunFailed in one line.
    """
    return run_sync(bench_async(url, model=model, engine=engine, results=results, **plan))


async def bench_async(
    url: str = "", *, model: str = "", engine: str = "", results: Path | str | None = None, **plan: Any
) -> Run:
    """The same, to be awaited. A task that is cancelled stops the load, and completed requests are saved."""
    unknown = sorted(set(plan) - set(LoadPlan.__dataclass_fields__))
    if unknown:
        raise UsageError(f"no such part of a plan: {unknown[0]}; there are {', '.join(LoadPlan.__dataclass_fields__)}")
    if plan.get("duration_s") is not None:
        plan.setdefault("requests", None)
    server = LoadTarget(url=url, model=model, engine=engine)
    return await LoadProcess(LoadPlan(**plan), server, results=Path(results) if results else None).wait()


T = TypeVar("T")


def run_sync(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end and return its result, inside a running loop as well (nest-asyncio's job).

    Inside a running loop the loop is made re-entrant for good: do not measure on it afterwards, await instead.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    nest_asyncio2.apply(loop)
    result: T = loop.run_until_complete(coroutine)
    return result
