"""Helpers for tests with real servers: start one for a whole module, query it, and check that its processes ended."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from gptoss_bench.engines.launch_options import ServerChoice
from gptoss_bench.engines.open import open_engine
from gptoss_bench.engines.supervisor import descendants
from gptoss_bench.runs.folder import Run
from gptoss_bench.session.session import serving
from gptoss_client.client import Client
from gptoss_client.decoder import decode_body
from gptoss_client.dialects import Reply, assemble_reply
from gptoss_client.errors import UsageError
from gptoss_client.plan import LoadPlan
from gptoss_client.request_bodies import Request
from gptoss_client.trace import Endpoint, Trace

PATIENCE_S = 240.0  # only a failing test waits this long


@contextmanager
def held(server: AbstractAsyncContextManager[Endpoint]) -> Iterator[Endpoint]:
    """Start a server, yield its endpoint, stop it. It is a separate process: no loop runs in between."""
    loop = asyncio.new_event_loop()
    try:
        yield loop.run_until_complete(server.__aenter__())
    finally:
        loop.run_until_complete(server.__aexit__(None, None, None))
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


def measured_on_tiny(plan: LoadPlan, folder: Path) -> Run:
    """Start the embedded engine with two slots, run a plan as a run below `folder`, and return it."""

    async def measured() -> Run:
        async with open_engine(ServerChoice(embedded=True), log_dir=folder, slots=2) as endpoint:
            server = ServerChoice(url=endpoint.url, model=endpoint.model)
            async with serving("load", server, plan=plan, results_dir=str(folder)) as session:
                await session.load(plan)
                return session.finish()

    return asyncio.run(measured())


def said_by(endpoint: Endpoint, body: bytes) -> Reply:
    """Send one streaming request with the kit's client and return the reply."""

    async def trace() -> Trace:
        async with Client(endpoint, LoadPlan(timeout_s=PATIENCE_S)) as client:
            return await client.send(Request(body))

    return assemble_reply(decode_body(data for _, data in asyncio.run(trace()).pieces))


async def entered(server) -> Endpoint:
    """Start a server, stop it as soon as it is ready, and return its endpoint."""
    async with server as endpoint:
        return endpoint


def usage_error_of(coroutine: Coroutine[Any, Any, object]) -> str:
    """Run a coroutine that must raise UsageError, and return its message."""
    with pytest.raises(UsageError) as caught:
        asyncio.run(coroutine)
    text = str(caught.value)
    assert "\n" not in text
    return text


def post(endpoint: Endpoint, path: str, question: object) -> httpx.Response:
    return httpx.post(f"{endpoint.url}{path}", json=question, timeout=PATIENCE_S, trust_env=False)


def get(endpoint: Endpoint, path: str) -> Any:
    return httpx.get(f"{endpoint.url}{path}", timeout=PATIENCE_S, trust_env=False).json()


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE_S:g} s: {what}"
        time.sleep(0.02)


def below(process: int, least: int = 1) -> list[int]:
    """Return the descendants of a process as soon as there are at least `least`."""
    wait_until(lambda: len(list(descendants(process))) >= least, f"{least} processes started")
    return list(descendants(process))


def command_of(process: int) -> str:
    return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode()


def wait_until_gone(processes: list[int]) -> None:
    assert processes
    wait_until(lambda: not any(map(_alive, processes)), f"{processes} ended")


def _alive(process: int) -> bool:
    """Return whether a process runs; a zombie has ended, only its parent has not waited for it yet."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@contextmanager
def script(source: str, *arguments: object, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Run Python source in a separate process with piped stdout; kill it when the block ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", source, *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
