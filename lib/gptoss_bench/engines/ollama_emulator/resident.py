"""Load the model of the Ollama emulator at its first request and unload it after its keep-alive time."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from gptoss_bench.engines.llama_cpp import serve_tiny
from gptoss_bench.engines.ollama_emulator.messages import Refused
from gptoss_client import Endpoint


class Resident:
    """The embedded llama.cpp server, which is loaded or not. Use it on one event loop."""

    def __init__(self, log_dir: Path, slots: int, max_queue: int = 512) -> None:
        """Take the folder of the log, the number of slots and OLLAMA_MAX_QUEUE; load nothing yet."""
        self.endpoint: Endpoint | None = None
        self.context = 0
        self.expires_at = 0.0  # seconds of the wall clock
        self._log_dir = log_dir
        self._slots, self._max_queue = slots, max_queue
        self._loading = 0  # requests that wait for the model
        self._server = AsyncExitStack()
        self._users = 0
        self._change = asyncio.Condition()
        self._expiry: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def loaded(self, context: int, keep_s: float) -> AsyncIterator[Endpoint]:
        """Yield the server with `context` tokens per slot, loaded if necessary; keep it for `keep_s` seconds after.

        A request with another context waits until no request uses the loaded one. Raises UsageError if loading fails,
        Refused if more than OLLAMA_MAX_QUEUE requests wait while no model is loaded; a loaded one queues all.
        """
        if self.endpoint is None and self._loading > self._max_queue:
            raise Refused(503, "server busy, please try again.  maximum pending requests exceeded")
        self._loading += 1
        try:
            endpoint = await self._load(context)
        finally:
            self._loading -= 1
        try:
            yield endpoint
        finally:
            async with self._change:
                self._users -= 1
                self._change.notify_all()
                self._keep(keep_s)

    async def _load(self, context: int) -> Endpoint:
        """Return the server with this context, and count one more user of it."""
        async with self._change:
            await self._change.wait_for(lambda: self.context in (0, context) or not self._users)
            if self.endpoint is not None and (self.context != context or not await _listens(self.endpoint)):
                await self._drop()
            if self.endpoint is None:
                server = serve_tiny(self._log_dir, slots=self._slots, context=context)
                self.endpoint = await self._server.enter_async_context(server)
                self.context = context
            self._users += 1
            return self.endpoint

    async def drop(self) -> None:
        """Unload the model as soon as no request uses it."""
        async with self._change:
            await self._change.wait_for(lambda: not self._users)
            await self._drop()

    async def close(self) -> None:
        """Stop the server at once, also if requests use it."""
        await self._server.aclose()

    async def _drop(self) -> None:
        self.endpoint, self.context = None, 0
        await self._server.aclose()
        self._change.notify_all()

    def _keep(self, keep_s: float) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
        self.expires_at = time.time() + min(keep_s, 10 * 365 * 86400)
        self._expiry = asyncio.create_task(self._expire(keep_s))

    async def _expire(self, keep_s: float) -> None:
        await asyncio.sleep(min(keep_s, 1e8))
        async with self._change:
            if not self._users and time.time() >= self.expires_at:
                self._expiry = None  # this task must not cancel itself
                await self._drop()


async def _listens(endpoint: Endpoint) -> bool:
    """Return whether the server's port accepts a connection; that of a server that died does not."""
    address = urlsplit(endpoint.url)
    try:
        _, writer = await asyncio.open_connection(address.hostname, address.port)
    except OSError:
        return False
    writer.close()
    return True
