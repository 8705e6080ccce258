"""The three witnesses of a run beside the client: the server's metrics, the GPUs and the machine, phase by phase."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from gptoss_bench import samples
from gptoss_bench.endpoint import Endpoint
from gptoss_bench.server_witness import ServerWitness
from gptoss_bench.store import RunFolder
from gptoss_bench.telemetry import Telemetry

PHASES = {"warmup": samples.WARMUP, "measure": samples.INFERENCE, "end": samples.ENDED}  # of a load
TABLES = ("gpu", "host", "server")


class Witnesses:
    """What they saw so far. None of them can make a run fail: what they lack is said in words."""

    def __init__(self, telemetry: Telemetry) -> None:
        """Use `watching` to get one that samples."""
        self.telemetry = telemetry
        self._server: ServerWitness | None = None
        self._metrics: dict[str, Any] = {"words": "nothing was measured yet"}

    async def ready(self, endpoint: Endpoint) -> None:
        """The engine is: whose processes to look at, and the phase "after load"."""
        self.telemetry.watch(endpoint)
        self._server = ServerWitness(endpoint)
        await self.phase(samples.AFTER)

    async def phase(self, name: str) -> None:
        """A phase that begins now and lasts at least as long as it takes to be seen."""
        self.telemetry.mark(name)
        await self.telemetry.settle()

    async def load_phase(self, name: str, completed: int) -> None:
        """A phase of the load (`load.OnPhase`); `completed` requests were measured by now."""
        if name == "measure" and self._server is not None:
            await self._server.begin()
        self.telemetry.mark(PHASES[name])
        if name == "end" and self._server is not None:
            await self.telemetry.settle()  # a sample on each side of the window
            self._metrics = await self._server.end(completed)

    def told(self) -> dict[str, Any]:
        """What the summary keeps: "telemetry" and "server_metrics"."""
        return {"telemetry": self.telemetry.describe(), "server_metrics": self._metrics}


@asynccontextmanager
async def watching(folder: RunFolder, *, attached: bool) -> AsyncIterator[Witnesses]:
    """Sample for the length of the block; the tables then lie in the run folder.

    The phase is "before load" until an engine is started; one that is `attached` to has loaded its model already.
    """
    telemetry = Telemetry(folder.path)
    try:
        await telemetry.start(samples.AFTER if attached else samples.BEFORE)
        yield Witnesses(telemetry)
    finally:
        await telemetry.stop()
        for name in TABLES:
            folder.table(name, telemetry.tables[name])
        telemetry.remove()
