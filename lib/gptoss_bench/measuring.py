"""Measure one server from a script or a cell: a load in a process of its own, its run when it is over."""

from pathlib import Path
from typing import Any

from gptoss_bench.errors import UsageError
from gptoss_bench.load_process import LoadProcess, Server
from gptoss_bench.plan import Plan
from gptoss_bench.store import Run
from gptoss_bench.sync import run_sync


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
    """The same, to be awaited. A task that is cancelled stops the load, and what has ended is kept."""
    unknown = sorted(set(plan) - set(Plan.__dataclass_fields__))
    if unknown:
        raise UsageError(f"no such part of a plan: {unknown[0]}; there are {', '.join(Plan.__dataclass_fields__)}")
    if plan.get("duration_s") is not None:
        plan.setdefault("requests", None)
    server = Server(url=url, model=model, engine=engine)
    return await LoadProcess(Plan(**plan), server, results=Path(results) if results else None).wait()
