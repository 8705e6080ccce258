"""An httpx transport that records when a request was sent and when each piece of its response arrived.

The caller puts an `ExchangeTimestamps` into the request's extensions under "timestamps"; it is filled whatever happens
to the request. All other features of httpx work as usual: auth, base_url, timeouts, hooks. A load uses the `exchange`
of this transport without httpx's client around it.
"""

import ssl
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from operator import sub

import httpx

from gptoss_client.arrivals import body_reads, bounded, exact_or_bounded
from gptoss_client.connection import Connection, Origin, open_connection
from gptoss_client.http1 import BodyTimeouts, Response, request_bytes
from gptoss_client.plan import RESPONSE_LIMIT_MIB
from gptoss_client.timerfd import Beat
from gptoss_client.timestamps import TIMESPEC, WALL_CLOCK, keep_kernel_timestamps_on
from gptoss_client.tls import tls_context

MAX_LAG_NS = 60 * 10**9  # a longer lag, or one below zero, means that the wall clock was set: ignore the timestamps
DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(slots=True)
class ExchangeTimestamps:
    """The timestamps of one request and its response, ns on CLOCK_MONOTONIC, filled while it is under way.

    A piece is the part of the body that one read brought. `source` is the kind of timestamp that a piece has: "kernel"
    (receive timestamp of the last segment of the read), "read" (time of the read, because kernel timestamps are missing
    or their clock was set), "data_received" (first statement of asyncio's callback: the system has
    no epoll) or "client" (there was no connection). `lags_ns` has, for each piece, the time from its arrival in the
    kernel to its read; it is empty if that is unknown. `not_before_ns`, `read_marks` and `beats` are those of `Trace`.
    """

    sent_ns: int | None = None
    connect_ns: int = 0  # a duration; 0 on a connection that was already open
    reused: bool = True
    answered: bool = False  # at least one byte of a response arrived
    pieces: list[tuple[int, bytes]] = field(default_factory=list)
    lags_ns: list[int] = field(default_factory=list)
    done_ns: int | None = None  # arrival of the last byte of a complete response, otherwise None
    source: str = "client"
    not_before_ns: list[int] = field(default_factory=list)
    read_marks: str = ""
    beats: list[Beat] | None = None

    def clear(self) -> None:
        """Reset to the state before an exchange, except for `source`."""
        self.sent_ns = self.done_ns = None
        self.connect_ns, self.reused, self.answered = 0, True, False
        self.pieces, self.lags_ns, self.not_before_ns, self.read_marks = [], [], [], ""


class TimestampingTransport(httpx.AsyncBaseTransport):
    """A transport with its own connections: a list of free ones and no queue, so a slot never waits for a pool.

    `verify` is an SSLContext, True for the one of `tls_context`, or False; share one between transports, because
    creating one takes milliseconds.
    A request without "timestamps" uses httpx's own transport.
    """

    def __init__(self, verify: ssl.SSLContext | bool = True) -> None:
        keep_kernel_timestamps_on()
        self._verify = verify
        self._tls = verify if isinstance(verify, ssl.SSLContext) else None
        self._free: list[Connection] = []
        self._plain_transport: httpx.AsyncHTTPTransport | None = None

    async def connect(self, origin: Origin, timeout_s: float | None) -> None:
        """Open a connection to the server unless one is free. Raises httpx.ConnectError and ConnectTimeout."""
        connection = self._take_free(origin) or await open_connection(origin, timeout_s)
        self._free.append(connection)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and fill its "timestamps" extension if there is one. Raises what httpx raises.

        The body of a timestamped response is delivered in one part after its end: until then no task is woken.
        """
        timestamps = request.extensions.get("timestamps")
        if timestamps is None:
            return await self._without_timestamps().handle_async_request(request)
        await request.aread()
        timeouts = request.extensions.get("timeout", {})
        read_s = timeouts.get("read")
        exchange = await self.exchange(
            self.origin(request.url),
            request_bytes(request),
            timestamps,
            BodyTimeouts(read_s, read_s, by_events=False),
            method=request.method,
            connect_timeout_s=timeouts.get("connect"),
        )
        response = exchange.response
        return httpx.Response(response.status, headers=response.headers, stream=exchange)

    async def exchange(
        self,
        origin: Origin,
        payload: bytes,
        timestamps: ExchangeTimestamps,
        timeouts: BodyTimeouts,
        *,
        method: str = "POST",
        connect_timeout_s: float | None = None,
        limit_mib: int = RESPONSE_LIMIT_MIB,
    ) -> "Exchange":
        """Send a request that was built beforehand (`http1.with_body`) and wait for the head of its response."""
        timestamps.clear()  # an auth flow may send the same request again: the last exchange counts
        connection = self._take_free(origin)
        if connection is None:
            timestamps.reused = False
            began_ns = time.perf_counter_ns()
            connection = await open_connection(origin, connect_timeout_s)
            timestamps.connect_ns = time.perf_counter_ns() - began_ns
        exchange = Exchange(connection, Response(method, limit_mib), timestamps, self._free, timeouts)
        await exchange.start(payload)
        return exchange

    async def aclose(self) -> None:
        """Close the free connections; the others close with their responses."""
        while self._free:
            self._free.pop().close()
        if self._plain_transport is not None:
            await self._plain_transport.aclose()

    def origin(self, url: httpx.URL) -> Origin:
        """Return the server that a request to this URL is sent to. Raises httpx.UnsupportedProtocol."""
        if url.scheme not in DEFAULT_PORTS:
            raise httpx.UnsupportedProtocol(f"the URL scheme must be http or https, not {url.scheme!r}")
        if url.scheme == "https" and self._tls is None:
            made = tls_context() if self._verify else httpx.create_ssl_context(verify=False)
            assert isinstance(made, ssl.SSLContext)
            self._tls = made
        return Origin(url.host, url.port or DEFAULT_PORTS[url.scheme], self._tls if url.scheme == "https" else None)

    def _take_free(self, origin: Origin) -> Connection | None:
        self._free[:] = [connection for connection in self._free if not connection.closed]
        for at, connection in enumerate(self._free):
            if connection.origin == origin:
                return self._free.pop(at)
        return None

    def _without_timestamps(self) -> httpx.AsyncHTTPTransport:
        if self._plain_transport is None:
            verify = tls_context() if self._verify is True else self._verify
            self._plain_transport = httpx.AsyncHTTPTransport(verify=verify, trust_env=False)
        return self._plain_transport


class Exchange(httpx.AsyncByteStream):
    """One request and its response, until the connection is free again (back in `free`) or closed."""

    def __init__(
        self,
        connection: Connection,
        response: Response,
        timestamps: ExchangeTimestamps,
        free: list[Connection],
        timeouts: BodyTimeouts,
    ) -> None:
        self.response = response
        self._connection, self._timestamps, self._free, self._timeouts = connection, timestamps, free, timeouts
        self._ended = False

    async def start(self, payload: bytes) -> None:
        """Send the request and wait for the head of the response. Raises the failure of the response."""
        try:
            self._timestamps.sent_ns = self._connection.start(payload, self.response)
            await self._connection.wait(self.response, self._timeouts, head=True)
        except BaseException:
            self._end()
            raise

    async def read(self) -> None:
        """Wait for the end of the response. Raises its failure."""
        try:
            if not self._ended:
                await self._connection.wait(self.response, self._timeouts, head=False)
        finally:
            self._end()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        await self.read()
        yield b"".join(self.response.parts)

    async def aclose(self) -> None:
        """Release the exchange; close the connection if the response is incomplete."""
        self._end()

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            is_free = self._connection.finish(self.response)
            _fill(self._timestamps, self.response, self._connection.timestamp_source)
            self._timestamps.beats = self._connection.take_beats()
            if is_free:
                self._free.append(self._connection)


def _fill(timestamps: ExchangeTimestamps, response: Response, source: str) -> None:
    """Convert the reads of a response to pieces on one clock: kernel timestamps if all reads have one."""
    WALL_CLOCK.remeasure()
    reads, parts, sent_ns = response.reads, response.parts, timestamps.sent_ns or 0
    with_body = body_reads(reads)
    bodies = [parts[begin] if end == begin + 1 else b"".join(parts[begin:end]) for _, begin, end in with_body]
    times_ns = [reads[at][1] for at, _, _ in with_body]
    timestamps.answered = bool(reads)
    timestamps.source = "read" if source == "kernel" and reads else source
    if source == "kernel" and reads and sent_ns >= WALL_CLOCK.stepped_ns:
        raw = [reads[at][0] for at, _, _ in with_body]
        arrivals = _arrivals([*raw, reads[-1][0]], [*times_ns, reads[-1][1]])
        if arrivals is not None:
            timestamps.source = "kernel"
            last_ns = arrivals.pop()
            timestamps.pieces = list(zip(arrivals, bodies, strict=True))
            timestamps.lags_ns = list(map(sub, times_ns, arrivals))
            bounds = exact_or_bounded(reads, parts, response.spans, arrivals, sent_ns)
            timestamps.not_before_ns, timestamps.read_marks = bounds
            timestamps.done_ns = last_ns if response.complete else None
            return
    timestamps.pieces = list(zip(times_ns, bodies, strict=True))
    timestamps.not_before_ns, timestamps.read_marks = bounded(reads, sent_ns)
    timestamps.done_ns = reads[-1][1] if response.complete else None


def _arrivals(raw: Sequence[bytes | None], read_ns: Sequence[int]) -> list[int] | None:
    """Return kernel timestamps (ns, monotonic) as read; None if one is missing or the wall clock was set."""
    some = [timestamp for timestamp in raw if timestamp is not None]
    if len(some) < len(raw):
        return None
    offset_ns = WALL_CLOCK.offset_ns
    found = [seconds * 10**9 + ns - offset_ns for seconds, ns in TIMESPEC.iter_unpack(b"".join(some))]
    lags_ns = list(map(sub, read_ns, found))
    return found if min(lags_ns) >= 0 and max(lags_ns) < MAX_LAG_NS else None
