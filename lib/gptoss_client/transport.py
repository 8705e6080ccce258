"""The one place where time meets bytes: an httpx transport that stamps when a request left and when each piece came.

A caller puts a `Stamps` into the request's extensions under "timestamps" and finds it filled, whatever became of the
request. Everything else of httpx stays as it is: auth, base_url, timeouts, hooks. The read timeout bounds each wait for
bytes; `Waits` under "waits" tell the first token's from the others'.
"""

import ssl
import struct
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import httpx

from gptoss_client.connection import Connection, Origin, open_connection
from gptoss_client.http1 import Response, Timeouts, request_bytes
from gptoss_client.timestamps import WALL, keep_timestamping

TIMESPEC = struct.Struct("@qq")
LONGEST_LAG_NS = 60 * 10**9  # beyond that, or before zero, the wall clock was stepped and the stamp says nothing
PORTS = {"http": 80, "https": 443}


@dataclass(slots=True)
class ExchangeTimestamps:
    """Filled while one request is under way; all stamps are ns on CLOCK_MONOTONIC.

    `source` says what a piece's stamp is: "kernel" (the receive stamp of the last segment that was read with it),
    "read" (the kernel gave none for some of them, or its clock was stepped: the moment of the read), "data_received"
    (the first statement of asyncio's callback: TLS, or a loop that watches no sockets) or "client" (by the caller).
    A piece is what one read brought of the body. `lags_ns` holds for each how long it lay in the kernel before it was
    read; empty where that is not known.
    """

    sent_ns: int | None = None
    connect_ns: int = 0  # duration; stays 0 on a connection that was open
    reused: bool = True
    answered: bool = False  # some byte of a response came
    pieces: list[tuple[int, bytes]] = field(default_factory=list)
    lags_ns: list[int] = field(default_factory=list)
    done_ns: int | None = None  # what completed the response; None where nothing did
    source: str = "client"

    def clear(self) -> None:
        """Forget an exchange, for the next one."""
        self.sent_ns = self.done_ns = None
        self.connect_ns, self.reused, self.answered = 0, True, False
        self.pieces, self.lags_ns = [], []


class TimestampingTransport(httpx.AsyncBaseTransport):
    """Connections of its own with a free list and no queue: a slot of a closed loop never waits for a pool.

    A request without stamps goes over httpx's own transport.
    """

    def __init__(self, verify: ssl.SSLContext | bool = True) -> None:
        """`verify` as httpx takes it; share one SSLContext between slots, for making one takes milliseconds."""
        keep_timestamping()
        self._verify = verify
        self._tls = verify if isinstance(verify, ssl.SSLContext) else None
        self._free: list[Connection] = []
        self._without_timestamps: httpx.AsyncHTTPTransport | None = None

    async def connect(self, url: httpx.URL, timeout_s: float | None) -> None:
        """Open a connection to that server unless one is free. Raises httpx.ConnectError and ConnectTimeout."""
        origin = self.origin(url)
        connection = self._take(origin) or await open_connection(origin, timeout_s)
        self._free.append(connection)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send, stamping into request.extensions["timestamps"] where the caller put one. Raises what httpx raises.

        The body of a stamped response is handed over in one part, once it is whole: until then nobody is woken.
        """
        timestamps = request.extensions.get("timestamps")
        if timestamps is None:
            return await self._httpx().handle_async_request(request)
        await request.aread()
        timeouts = request.extensions.get("timeout", {})
        waits = request.extensions.get("waits") or Timeouts(timeouts.get("read"), timeouts.get("read"))
        payload, origin = request_bytes(request), self.origin(request.url)
        exchange = await self.exchange(
            origin, payload, timestamps, waits, method=request.method, connect_s=timeouts.get("connect")
        )
        response = exchange.response
        return httpx.Response(response.status, headers=response.headers, stream=exchange)

    async def exchange(
        self,
        origin: Origin,
        payload: bytes,
        timestamps: ExchangeTimestamps,
        waits: Timeouts,
        *,
        method: str = "POST",
        connect_s: float | None = None,
    ) -> "Exchange":
        """Send a request that was built beforehand (http1.with_body) and wait for the head of its response.

        This is all that a load needs of httpx, whose own part of a request takes longer than the rest of it.
        """
        timestamps.clear()  # an auth flow sends the same request again: the last exchange counts
        connection = self._take(origin)
        if connection is None:
            timestamps.reused = False
            began_ns = time.perf_counter_ns()
            connection = await open_connection(origin, connect_s)
            timestamps.connect_ns = time.perf_counter_ns() - began_ns
        exchange = Exchange(connection, Response(method), timestamps, self._free, waits)
        await exchange.start(payload)
        return exchange

    async def aclose(self) -> None:
        """Close the connections that are free; the others close with their responses."""
        while self._free:
            self._free.pop().close()
        if self._without_timestamps is not None:
            await self._without_timestamps.aclose()

    def _take(self, origin: Origin) -> Connection | None:
        self._free[:] = [connection for connection in self._free if not connection.closed]
        for at, connection in enumerate(self._free):
            if connection.origin == origin:
                return self._free.pop(at)
        return None

    def origin(self, url: httpx.URL) -> Origin:
        """Where a request for that URL goes. Raises httpx.UnsupportedProtocol."""
        if url.scheme not in PORTS:
            raise httpx.UnsupportedProtocol(f"{url.scheme or 'no scheme'} is neither http nor https")
        if url.scheme == "https" and self._tls is None:
            self._tls = httpx.create_ssl_context(verify=self._verify, trust_env=False)
        return Origin(url.host, url.port or PORTS[url.scheme], self._tls if url.scheme == "https" else None)

    def _httpx(self) -> httpx.AsyncHTTPTransport:
        if self._without_timestamps is None:
            self._without_timestamps = httpx.AsyncHTTPTransport(verify=self._verify, trust_env=False)
        return self._without_timestamps


class Exchange(httpx.AsyncByteStream):
    """A request and its response, from the sending until the connection is free again or closed."""

    def __init__(
        self,
        connection: Connection,
        response: Response,
        timestamps: ExchangeTimestamps,
        free: list[Connection],
        waits: Timeouts,
    ) -> None:
        """Nothing is sent yet. `free` gets the connection back where another request may follow."""
        self.response = response
        self._connection, self._timestamps, self._free, self._waits = connection, timestamps, free, waits
        self._ended = False

    async def start(self, payload: bytes) -> None:
        """Send, and wait for the head."""
        try:
            self._timestamps.sent_ns = self._connection.start(payload, self.response)
            await self._connection.wait(self.response, self._waits, head=True)
        except BaseException:
            self._end()
            raise

    async def read(self) -> None:
        """Wait for the end of the response. Raises its failure."""
        try:
            if not self._ended:
                await self._connection.wait(self.response, self._waits, head=False)
        finally:
            self._end()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The body in one part."""
        await self.read()
        yield b"".join(self.response.parts)

    async def aclose(self) -> None:
        """Let go of it, at its end or before."""
        self._end()

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            _fill(self._timestamps, self.response, self._connection.source)
            if self._connection.finish(self.response):
                self._free.append(self._connection)


def _fill(timestamps: ExchangeTimestamps, response: Response, source: str) -> None:
    """Turn the reads of a response into pieces on one clock: the kernel's where all of them have its stamp."""
    WALL.retake()
    offset_ns = WALL.offset_ns
    timestamps.answered = bool(response.reads)
    reads = list(response.bodies())
    timestamps.source = source
    timestamps.pieces = [(read_ns, data) for _, read_ns, data in reads]
    if response.complete:
        timestamps.done_ns = response.reads[-1][1]
    if source != "kernel" or not response.reads:
        return
    timestamps.source = "read"
    raw = [timestamp for timestamp, _, _ in [*reads, response.reads[-1]] if timestamp is not None]
    if len(raw) <= len(reads) or (timestamps.sent_ns or 0) < WALL.stepped_ns:
        return
    arrivals = [seconds * 10**9 + ns - offset_ns for seconds, ns in TIMESPEC.iter_unpack(b"".join(raw))]
    own = [read_ns for _, read_ns, _ in reads]
    lags = [read_ns - arrival_ns for read_ns, arrival_ns in zip(own, arrivals, strict=False)]
    if all(0 <= lag < LONGEST_LAG_NS for lag in lags):
        timestamps.source = "kernel"
        timestamps.pieces = [(at, data) for at, (_, _, data) in zip(arrivals, reads, strict=False)]
        timestamps.lags_ns = lags
        if response.complete:
            timestamps.done_ns = arrivals[-1]
