"""Read the server's own /metrics before and after the measured phase, while no request of ours is in flight."""

import asyncio
from collections.abc import Mapping

import httpx

from gptoss_bench.asking import NoAnswer, ask, question_client
from gptoss_bench.runs import ServerMetrics
from gptoss_bench.telemetry.prometheus_metrics import Scrape, read_metrics, window
from gptoss_client import Endpoint, UsageError, tls_context

STILL_S = 0.05
TRIES, PAUSE_S = 5, 0.2  # a server may count its last request a moment after it has sent its end


class MetricsWindow:
    """Two readings of the metrics of one server and their difference; an error becomes a message, it is not raised."""

    def __init__(self, endpoint: Endpoint, sources: Mapping[str, str], advice: str = "") -> None:
        """Take the server, the engine of each prefix of metric names, and the advice for a server without /metrics."""
        self._endpoint, self._sources, self._advice = endpoint, sources, advice
        # Making a TLS context costs more CPU than a reading: none for http, one for all readings of https.
        self._tls = tls_context(endpoint.url)
        self._before: Scrape | None = None
        self._words: str | None = "its /metrics was not read before the load"

    async def begin(self) -> None:
        """Read it until the counts are constant: what the server did before is not counted."""
        self._before, self._words = await self._read()
        for _ in range(TRIES):
            if self._before is None:
                return
            await asyncio.sleep(STILL_S)
            last, (self._before, self._words) = self._before, await self._read()
            if self._before is None or self._before.counts == last.counts:
                return

    async def end(self, completed: int) -> ServerMetrics:
        """Read it again; return how the metrics changed, or in `words` why this is unknown.

        Is read again a few times where the server has counted fewer than `completed` requests.
        """
        for attempt in range(TRIES):
            if self._before is None:
                break
            after, self._words = await self._read()
            if after is None:
                break
            found = window(self._before, after)
            counted = found.counts.get("requests")
            if counted is None or counted >= completed or attempt == TRIES - 1:
                return found
            await asyncio.sleep(PAUSE_S)
        return ServerMetrics(words=self._words)

    async def _read(self) -> tuple[Scrape | None, str | None]:
        try:
            async with question_client(self._endpoint.url, verify=self._tls) as http:
                answer = await ask(http, "/metrics")
        except NoAnswer as error:
            return None, f"its /metrics did not answer ({error})"
        if answer.status != httpx.codes.OK:
            advice = f": {self._advice}" if self._advice else ""
            return None, f"it has no /metrics (HTTP {answer.status}){advice}"
        try:
            return read_metrics(answer.text, self._sources), None
        except UsageError as error:
            return None, str(error)
