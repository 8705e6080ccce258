"""Start the reference server as a child process, by the interface of an engine."""

import sys
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, fields
from pathlib import Path

import httpx

from gptoss_bench.calibration.reference.plan import ReferencePlan
from gptoss_bench.calibration.reference.stream import MODEL
from gptoss_bench.engines import REFERENCE_SERVER, describe_reference, launched
from gptoss_client import Endpoint

START_S = 60.0  # limit of the wait for its first token


@dataclass(frozen=True, slots=True)
class ReferenceEngine:
    """The reference server with `plan`; its log is send_log.parquet in `log_dir`. With `certificate` also over TLS."""

    plan: ReferencePlan
    log_dir: Path
    dialect: str = "openai"
    certificate: Path | None = None
    log_name: str = "reference-server.log"
    cwd: Path | None = None

    def prepare(self) -> Endpoint:
        """Return the endpoint; the server is part of the kit, so no prerequisite is checked."""
        return Endpoint(url="", model=MODEL, dialect=self.dialect, engine=REFERENCE_SERVER)

    def command(self, port: int) -> list[str]:
        """Return the command line, with the interpreter of this process."""
        files = [f"--port={port}", f"--log={self.log_dir / 'send_log.parquet'}"]
        tls = [] if self.certificate is None else [f"--certificate={self.certificate}"]
        return [sys.executable, "-m", "gptoss_bench", "reference-server", *files, *tls, *reference_options(self.plan)]

    def environment(self, port: int) -> dict[str, str]:
        """Return no additional environment variables."""
        return {}

    async def describe(self, http: httpx.AsyncClient, endpoint: Endpoint, log: str = "") -> Endpoint:
        """Return the endpoint as the running server describes it."""
        return await describe_reference(http, endpoint)


def serve_reference(
    plan: ReferencePlan,
    log_dir: Path,
    *,
    dialect: str = "openai",
    certificate: Path | None = None,
) -> AbstractAsyncContextManager[Endpoint]:
    """Serve `plan` until the end of the block, which writes send_log.parquet to `log_dir`.

    Stream 0 is the readiness check. With a certificate (PEM, with its key) the port serves https as well. Raises
    UsageError if no token is received within START_S.
    """
    return launched(ReferenceEngine(plan, log_dir, dialect, certificate), log_dir, timeout_s=START_S)


def reference_options(plan: ReferencePlan) -> list[str]:
    """Return the plan as options of the command `reference-server`, without those at their default."""
    options = []
    for entry in fields(plan):
        value = getattr(plan, entry.name)
        if value != entry.default:
            flag = f"--{entry.name.replace('_', '-')}"
            options.append(flag if isinstance(value, bool) else f"{flag}={value}")
    return options
