"""The one place where time meets bytes: an httpx transport that stamps when a request left and when each piece came.

A caller puts a `Stamps` into the request's extensions under "stamps" and finds it filled, whatever became of the
request. Everything else of httpx stays as it is: auth, base_url, timeouts, hooks.
"""

import ssl
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpcore
import httpx

from gptoss_bench import sockets
from gptoss_bench.sockets import LastRead, StampedBackend


@dataclass(slots=True)
class Stamps:
    """Filled while one request is under way; all stamps are ns on CLOCK_MONOTONIC.

    `source` says what a piece's stamp is: "kernel" (the receive stamp of the segment that completed it), "read" (the
    kernel gave none for some of them: the moment of the read), "httpx" (the moment at which httpx handed the piece
    over, after its task switch) or "client" (taken by the caller itself).
    `lags_ns` holds for each piece how long it lay in the kernel before it was read; empty where that is not known.
    """

    sent_ns: int | None = None
    connect_ns: int = 0  # duration; stays 0 on a connection that was open
    reused: bool = True
    pieces: list[tuple[int, bytes]] = field(default_factory=list)
    lags_ns: list[int] = field(default_factory=list)
    source: str = "client"


class StampingTransport(httpx.AsyncBaseTransport):
    """One connection at a time over httpx's own transport: a slot of a closed loop never waits for a pool."""

    def __init__(self, verify: ssl.SSLContext | bool = True) -> None:
        """`verify` as httpx takes it; share one SSLContext between slots, for making one takes milliseconds."""
        limits = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=None)
        self._over_tls = httpx.AsyncHTTPTransport(verify=verify, trust_env=False, limits=limits)
        self._last_read: LastRead | None = None
        self._plain = self._over_tls
        if sockets.AVAILABLE:
            self._last_read = LastRead()
            self._plain = httpx.AsyncHTTPTransport(verify=verify, trust_env=False, limits=limits)
            # httpx has no argument for the network that its pool stands on.
            self._plain._pool = httpcore.AsyncConnectionPool(
                max_connections=1, max_keepalive_connections=1, network_backend=StampedBackend(self._last_read)
            )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send, stamping into request.extensions["stamps"] where the caller put one. Raises what httpx raises."""
        plain = request.url.scheme == "http"
        inner = self._plain if plain else self._over_tls
        stamps = request.extensions.get("stamps")
        if stamps is None:
            return await inner.handle_async_request(request)
        last_read = self._last_read if plain else None
        stamps.source = "httpx"
        if last_read is not None:
            last_read.begin()
        request.extensions["trace"] = _tracer(stamps)
        response = await inner.handle_async_request(request)
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = _StampedStream(response.stream, stamps, last_read)
        return response

    async def aclose(self) -> None:
        """Close the connections."""
        await self._over_tls.aclose()
        await self._plain.aclose()


class _StampedStream(httpx.AsyncByteStream):
    def __init__(self, inner: httpx.AsyncByteStream, stamps: Stamps, last_read: LastRead | None) -> None:
        self._inner = inner
        self._stamps = stamps
        self._last_read = last_read

    async def __aiter__(self) -> AsyncIterator[bytes]:
        keep, keep_lag, last = self._stamps.pieces.append, self._stamps.lags_ns.append, self._last_read
        if last is None:
            async for piece in self._inner:
                keep((time.perf_counter_ns(), piece))
                yield piece
            return
        self._stamps.source = "kernel"
        # httpcore reads again only when it has handed over all that the latest read completed.
        async for piece in self._inner:
            keep((last.arrival_ns, piece))
            keep_lag(last.read_ns - last.arrival_ns)
            if not last.kernel:
                self._stamps.source = "read"
            yield piece

    async def aclose(self) -> None:
        await self._inner.aclose()


def _tracer(stamps: Stamps) -> Any:
    """Listen to httpcore: it says when a connection is made and when the first byte is about to be written."""
    started_ns = 0

    async def listen(name: str, info: Mapping[str, Any]) -> None:
        nonlocal started_ns
        if name == "http11.send_request_headers.started":
            stamps.sent_ns = time.perf_counter_ns()
        elif name == "connection.connect_tcp.started":
            stamps.reused = False
            started_ns = time.perf_counter_ns()
        elif name in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            stamps.connect_ns = time.perf_counter_ns() - started_ns

    return listen
