"""What an engine is to this kit. Each is one file that has such a class; everything common is in `launch`.

`prepare` before anything starts, `command` and `environment` to start it, then `launch` waits for a token and asks
`describe`; stopping is the same for all. A server that runs already is recognised and described by `describe.py`.
"""
# MERGED: From an engine to a server that is ready, and to nothing left of it: the way in and out of every engine.

import os
import re
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import httpx

from gptoss_bench.engines.process import LOOPBACK, ServerProcess, free_port
from gptoss_bench.engines.questions import asking, with_facts
from gptoss_bench.engines.readiness import wait_for_first_token
from gptoss_bench.engines.registry import ENGINE_SPECS, understood_fields
from gptoss_bench.paths import BUILD
from gptoss_client import Endpoint, UsageError


class Engine(Protocol):
    """One server that the kit can start."""

    @property
    def log_name(self) -> str:
        """The file in the run folder that gets its output."""

    @property
    def cwd(self) -> Path | None:
        """The folder that it is started in; None for the present one."""

    def prepare(self) -> Endpoint:
        """Find the program and the model and return what is known by that; the url is still empty.

        Raises UsageError, in one line with the way out, where the engine is not installed or the model cannot be had.
        """

    def command(self, port: int) -> Sequence[str]:
        """The command line that serves on 127.0.0.1 at `port`; asked for after `prepare`."""

    def environment(self, port: int) -> Mapping[str, str]:
        """Variables that it needs beside ours."""

    async def describe(self, http: httpx.AsyncClient, endpoint: Endpoint, log: str) -> Endpoint:
        """The endpoint with what the ready server says of itself over its API, and in its log where there is one."""


_SECRET = re.compile("KEY|TOKEN|SECRET|PASS|CREDENTIAL", re.IGNORECASE)
_RECORDED_PREFIXES = (
    "CUDA_VISIBLE",
    "OMP_NUM",
    *(prefix for spec in ENGINE_SPECS.values() for prefix in spec.environment_prefixes),
)


@asynccontextmanager
async def launched(
    engine: Engine,
    log_dir: Path,
    *,
    port: int = 0,
    timeout_s: float,
    options: Mapping[str, Any] | None = None,
) -> AsyncIterator[Endpoint]:
    """Start an engine, wait for a token, yield the endpoint, and stop the server on every way out.

    `port` 0 takes any free one. Output goes to the engine's log in `log_dir`; how it was started goes into the facts.
    `options` are those of the load that follows, where they decide how a model is loaded. Raises UsageError, in one
    line, where `prepare` does, where the port is taken or the server does not get ready within `timeout_s`.
    """
    draft = engine.prepare()
    with free_port(port) as chosen:
        command, environment = engine.command(chosen), engine.environment(chosen)
        endpoint = replace(draft, url=f"http://{LOOPBACK}:{chosen}")
        process = ServerProcess(command, log_dir / engine.log_name, environment, engine.cwd)
        try:
            ready_s = await wait_for_first_token(process, endpoint, timeout_s=timeout_s, options=options)
            async with asking(endpoint.url) as http:
                found = await engine.describe(http, endpoint, process.written())
            how = {"command": portable(command), "environment": shown_environment(environment)}
            fields = understood_fields(found.engine)
            yield replace(with_facts(found, how), ready_s=round(ready_s, 3), request_fields=fields)
        finally:
            await process.stop()


def executable(name: str, folder: str, advice: str) -> str:
    """Return the path of a program: on PATH, or in the kit's own environment build/`folder`.

    Raises UsageError with the advice where it is in neither.
    """
    found = shutil.which(name) or shutil.which(name, path=BUILD / folder / "bin")
    if found is None:
        raise UsageError(f"{name} is not on PATH: {advice}, or give the url of a server that runs")
    return found


def portable(command: Sequence[str]) -> str:
    """A command line as a reader of the run needs it: of each path of this machine only the last name."""
    return " ".join(option + sign + _last(value) for option, sign, value in (word.rpartition("=") for word in command))


def _last(value: str) -> str:
    return Path(value).name if Path(value).is_absolute() else value


def shown_environment(given: Mapping[str, str]) -> dict[str, str]:
    """The variables that steer an engine, ours and those that it inherits, without any that may be a secret."""
    inherited = {name: value for name, value in os.environ.items() if name.startswith(_RECORDED_PREFIXES)}
    merged = {**inherited, **given}
    return {name: value for name, value in sorted(merged.items()) if not _SECRET.search(name)}
