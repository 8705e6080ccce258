"""The kit's own paced server as a child process: the truth against which the client is measured."""

import sys
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, fields
from pathlib import Path

import httpx

from gptoss_bench.calibration.reference.plan import ReferencePlan
from gptoss_bench.calibration.reference.stream import MODEL
from gptoss_bench.engines import REFERENCE_SERVER, describe_reference, launched
from gptoss_client import Endpoint


@dataclass(frozen=True, slots=True)
class ReferenceEngine:
    """The paced server with `plan`, its log send_log.parquet in `log_dir`."""

    plan: ReferencePlan
    log_dir: Path
    dialect: str = "openai"
    log_name: str = "reference-server.log"
    cwd: Path | None = None

    def prepare(self) -> Endpoint:
        """It is part of the kit: nothing can be missing."""
        return Endpoint(url="", model=MODEL, dialect=self.dialect, engine=REFERENCE_SERVER)

    def command(self, port: int) -> list[str]:
        """The server as a child of this Python."""
        files = [f"--port={port}", f"--log={self.log_dir / 'send_log.parquet'}"]
        return [sys.executable, "-m", "gptoss_bench", "reference-server", *files, *reference_options(self.plan)]

    def environment(self, port: int) -> dict[str, str]:
        """None is needed."""
        return {}

    async def describe(self, http: httpx.AsyncClient, endpoint: Endpoint, log: str = "") -> Endpoint:
        """As one that runs already."""
        return await describe_reference(http, endpoint)


def serve_reference(
    plan: ReferencePlan, log_dir: Path, *, dialect: str = "openai", port: int = 0, timeout_s: float = 60.0
) -> AbstractAsyncContextManager[Endpoint]:
    """Serve `plan` for the length of the block; send_log.parquet is in `log_dir` once it has ended.

    The token that shows it ready is stream 0. Raises UsageError where the port is taken or no token comes back.
    """
    return launched(ReferenceEngine(plan, log_dir, dialect), log_dir, port=port, timeout_s=timeout_s)


def reference_options(plan: ReferencePlan) -> list[str]:
    """The plan as options of the command `truth-server`; what is as by default is left out."""
    texts = []
    for entry in fields(plan):
        value = getattr(plan, entry.name)
        if value != entry.default:
            flag = f"--{entry.name.replace('_', '-')}"
            texts.append(flag if isinstance(value, bool) else f"{flag}={value}")
    return texts
