"""The one place where time meets bytes: an httpx transport that stamps when a request left and when each piece came.

A caller puts a `Stamps` into the request's extensions under "stamps" and finds it filled, whatever became of the
request. Everything else of httpx stays as it is: auth, base_url, timeouts, hooks.
"""

import ssl
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

SOURCE = "httpx"  # the stamp is taken when httpx hands the piece over, after its task switch


@dataclass(slots=True)
class Stamps:
    """Filled while one request is under way; all stamps are ns on CLOCK_MONOTONIC."""

    sent_ns: int | None = None
    connect_ns: int = 0  # duration; stays 0 on a connection that was open
    reused: bool = True
    pieces: list[tuple[int, bytes]] = field(default_factory=list)
    source: str = "client"


class StampingTransport(httpx.AsyncBaseTransport):
    """One connection at a time over httpx's own transport: a slot of a closed loop never waits for a pool."""

    def __init__(self, verify: ssl.SSLContext | bool = True) -> None:
        """`verify` as httpx takes it; share one SSLContext between slots, for making one takes milliseconds."""
        limits = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=None)
        self._inner = httpx.AsyncHTTPTransport(verify=verify, trust_env=False, limits=limits)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send, stamping into request.extensions["stamps"] where the caller put one. Raises what httpx raises."""
        stamps = request.extensions.get("stamps")
        if stamps is None:
            return await self._inner.handle_async_request(request)
        stamps.source = SOURCE
        request.extensions["trace"] = _tracer(stamps)
        response = await self._inner.handle_async_request(request)
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = _StampedStream(response.stream, stamps.pieces)
        return response

    async def aclose(self) -> None:
        """Close the connection."""
        await self._inner.aclose()


class _StampedStream(httpx.AsyncByteStream):
    def __init__(self, inner: httpx.AsyncByteStream, pieces: list[tuple[int, bytes]]) -> None:
        self._inner = inner
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        now, keep = time.perf_counter_ns, self._pieces.append
        async for piece in self._inner:
            keep((now(), piece))
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
