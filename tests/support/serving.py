"""For tests with real servers: hold one for a whole module, ask it, and see whether its processes are gone."""

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

from gptoss_bench.engines.supervisor import descendants
from gptoss_client.client import Client
from gptoss_client.decoder import decode_body
from gptoss_client.dialects import Reply, assemble_reply
from gptoss_client.errors import UsageError
from gptoss_client.requests import Request
from gptoss_client.trace import Endpoint, Trace

PATIENCE_S = 60.0  # generous: only a test that fails waits that long


@contextmanager
def held(server: AbstractAsyncContextManager[Endpoint]) -> Iterator[Endpoint]:
    """Start a server, yield its endpoint, stop it. It is a process of its own and needs no loop in between."""
    loop = asyncio.new_event_loop()
    try:
        yield loop.run_until_complete(server.__aenter__())
    finally:
        loop.run_until_complete(server.__aexit__(None, None, None))
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


def said_by(endpoint: Endpoint, body: bytes) -> Reply:
    """The reply to one streaming request, through the kit's own client."""

    async def trace() -> Trace:
        async with Client(endpoint, timeout_s=PATIENCE_S) as client:
            return await client.send(Request(body))

    return assemble_reply(decode_body(data for _, data in asyncio.run(trace()).pieces))


async def entered(server) -> Endpoint:
    """What a server is, once it was ready; it is stopped again."""
    async with server as endpoint:
        return endpoint


def usage_error_of(coroutine: Coroutine[Any, Any, object]) -> str:
    """The one line that a coroutine ends with."""
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
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.02)


def below(process: int, least: int = 1) -> list[int]:
    """The processes below one, as soon as there are `least` of them."""
    wait_until(lambda: len(list(descendants(process))) >= least, f"{least} processes were started")
    return list(descendants(process))


def command_of(process: int) -> str:
    return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode()


def wait_until_gone(processes: list[int]) -> None:
    assert processes
    wait_until(lambda: not any(map(_alive, processes)), f"{processes} were gone")


def _alive(process: int) -> bool:
    """A zombie is dead; who started it has only not asked yet."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@contextmanager
def script(source: str, *arguments: object, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Run Python source as a process of its own; its stdout is read by the test, and at the end it is killed."""
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
