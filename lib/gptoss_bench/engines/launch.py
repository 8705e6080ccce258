"""From a command to a server that is ready, and to nothing left of it: the way in and out of every engine."""

import shutil
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from gptoss_bench.endpoint import Endpoint
from gptoss_bench.engines.describe import describe
from gptoss_bench.engines.process import LOOPBACK, ServerProcess, free_port
from gptoss_bench.engines.ready import wait_for_first_token
from gptoss_bench.errors import UsageError


@asynccontextmanager
async def launched(
    command: Callable[[int], Sequence[str]],
    draft: Endpoint,
    log: Path,
    *,
    port: int = 0,
    environment: Callable[[int], Mapping[str, str]] = lambda _port: {},
    timeout_s: float,
) -> AsyncIterator[Endpoint]:
    """Start `command(port)`, wait for a token, yield the endpoint, and stop the server on every way out.

    `draft` says what is known beforehand; its url is filled in here, and what the server says of itself is added.
    `port` 0 takes any free one. Output goes to `log`. Raises UsageError, in one line, where the port is taken or the
    server does not get ready within `timeout_s`.
    """
    with free_port(port) as chosen:
        endpoint = replace(draft, url=f"http://{LOOPBACK}:{chosen}")
        process = ServerProcess(command(chosen), log, environment(chosen))
        try:
            ready_s = await wait_for_first_token(process, endpoint, timeout_s=timeout_s)
            yield replace(await describe(endpoint), ready_s=round(ready_s, 3))
        finally:
            await process.stop()


def executable(name: str, advice: str) -> str:
    """Return the path of a program. Raises UsageError with the advice where it is not on PATH."""
    found = shutil.which(name)
    if found is None:
        raise UsageError(f"{name} is not on PATH: {advice}, or give the url of a server that runs")
    return found
