"""Start an engine, wait until it returns a token, add what it reports, and stop it on exit.

`Engine` is what an engine's module has to provide. `attached_server` handles a server that runs already.
"""

import os
import re
import shutil
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from importlib.metadata import distributions
from pathlib import Path
from typing import Protocol

import httpx

from gptoss_bench.asking import question_client
from gptoss_bench.engines.known_model import label_unknown_model
from gptoss_bench.engines.launch_options import LAST_CORE
from gptoss_bench.engines.process import LOOPBACK, ServerProcess, free_port
from gptoss_bench.engines.readiness import ended_text, wait_for_first_token
from gptoss_bench.engines.registry import ENGINE_SPECS, understood_fields
from gptoss_bench.engines.server_facts import add_facts
from gptoss_bench.paths import BUILD
from gptoss_client import Endpoint, JsonValue, UsageError, hide_secrets


class Engine(Protocol):
    """A server that the kit can start: `prepare`, then `command` and `environment`, then `describe`."""

    @property
    def log_name(self) -> str:
        """Return the name of its log in the run folder."""

    @property
    def cwd(self) -> Path | None:
        """Return its working directory; None for the current one."""

    def prepare(self) -> Endpoint:
        """Find the program and the model; return an endpoint that has no URL yet.

        Raises UsageError with advice where the engine is not installed or the model is not available.
        """

    def command(self, port: int) -> Sequence[str]:
        """Return the command line that serves on 127.0.0.1 at `port`; called after `prepare`."""

    def environment(self, port: int) -> Mapping[str, str]:
        """Return the environment variables that it needs in addition to ours."""

    async def describe(self, http: httpx.AsyncClient, endpoint: Endpoint, log: str) -> Endpoint:
        """Return the endpoint with what the ready server reports by its API and its log."""


ENDING_S = 5.0  # a server that ends closes its socket a moment before its process is gone
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
    timeout_s: float,
    options: Mapping[str, JsonValue] | None = None,
    cores: str = "",
) -> AsyncIterator[Endpoint]:
    """Start an engine, wait for a token, yield the endpoint, and stop the server on exit.

    Args:
        engine: what to start.
        log_dir: folder for the engine's log.
        timeout_s: limit of the wait for the token.
        options: request options of the load that follows; Ollama loads the model by them.
        cores: cores of the engine, as in `ServerChoice`; `taskset` is then part of the recorded command.

    Raises:
        UsageError: a core is not there, `prepare` failed, no token came within `timeout_s`, or the
            server ended.
    """
    draft = engine.prepare()
    with free_port() as chosen:
        command, environment = [*_on_cores(cores), *engine.command(chosen)], engine.environment(chosen)
        endpoint = replace(draft, url=f"http://{LOOPBACK}:{chosen}")
        process = ServerProcess(command, log_dir / engine.log_name, environment, engine.cwd)
        try:
            ready_s = await wait_for_first_token(process, endpoint, timeout_s=timeout_s, options=options)
            try:
                async with question_client(endpoint.url) as http:
                    found = await engine.describe(http, endpoint, process.written())
            except UsageError:
                if await process.ends_within(ENDING_S):
                    raise UsageError(ended_text(process, endpoint, "after its first token")) from None
                raise
            how: dict[str, JsonValue] = {
                "command": portable_command(command),
                "environment": dict(recorded_environment(environment)),
            }
            fields = understood_fields(found.engine)
            yield replace(label_unknown_model(add_facts(found, how)), ready_s=round(ready_s, 3), request_fields=fields)
        finally:
            await process.stop()


def _on_cores(cores: str) -> list[str]:
    """Return the words before a command that keep it on these cores; none where `last` is the only core, or off Linux.

    Raises UsageError where a core is not there.
    """
    usable = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" and shutil.which("taskset") else []
    if cores == LAST_CORE:
        return ["taskset", "--cpu-list", str(usable[-1])] if len(usable) > 1 else []
    if not cores:
        return []
    if not usable:
        raise UsageError(f"engine_cores {cores!r} needs Linux and the program taskset: leave it empty")
    for part in cores.split(","):
        first, _, last = part.partition("-")
        if missing := sorted(set(range(int(first), int(last or first) + 1)) - set(usable)):
            raise UsageError(f"engine_cores {cores!r}: no core {missing[0]} here, the last is {usable[-1]}")
    return ["taskset", "--cpu-list", cores]


def executable(name: str, folder: str, advice: str) -> str:
    """Return the path of a program, on PATH or in build/`folder`. Raises UsageError if missing."""
    found = shutil.which(name) or shutil.which(name, path=BUILD / folder / "bin")
    if found is None:
        raise UsageError(f"{name} is not on PATH: {advice}, or give the url of a running server")
    return found


def version_beside(program: Path, package: str) -> str | None:
    """Return the version of a package in the environment of a program; None if it is not there.

    It starts nothing: an engine imports torch before it reports its version.
    """
    folders = [str(folder) for folder in program.parent.parent.glob("lib/python3*/site-packages")]
    return next((found.version for found in distributions(name=package, path=folders)), None)


def portable_command(command: Sequence[str]) -> str:
    """Return a command line as text, with absolute paths reduced to their last component."""
    parts = (text.rpartition("=") for text in command)
    return hide_secrets(" ".join(option + sign + _last(value) for option, sign, value in parts))


def _last(value: str) -> str:
    return Path(value).name if Path(value).is_absolute() else value


def recorded_environment(given: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that configure an engine, given and inherited, without those that may hold a secret."""
    inherited = {name: value for name, value in os.environ.items() if name.startswith(_RECORDED_PREFIXES)}
    merged = {**inherited, **given}
    return {name: hide_secrets(value) for name, value in sorted(merged.items()) if not _SECRET.search(name)}
