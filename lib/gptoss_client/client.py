"""Send one request over a connection of its own and return its `Trace`, whatever happens to it.

The way of a request, with the module of each step:

1. `Client.send` calls `TimestampingTransport.exchange` (`transport`). It takes a free connection or opens one.
2. `Connection.start` (`connection`) reads the clock and writes the request to the socket: `Trace.sent_ns`.
3. `SocketPoller` polls all sockets together (`event_loop`) and calls `SocketConnection._readable`, which reads the
   bytes with the kernel's timestamp and the clock.
4. `Response.feed` (`http1`) parses the read and keeps it. It wakes the task for the head of the response, the first
   bytes of the body and the end only; nothing is decoded.
5. At the end `transport` converts the reads to pieces: the offset of the clocks is in `timestamps`, the interval in
   which each piece arrived comes from `arrivals`.
6. `Client.send` returns the `Trace`. `decoder` and `dialects` make events of its bytes later.
"""

import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import httpx

from gptoss_client.deadline import Deadline
from gptoss_client.errors import UsageError
from gptoss_client.http1 import BodyTimeouts, Response, request_head, with_body
from gptoss_client.outside import API_KEY_VARIABLE, api_key, hide_key_in_pieces, one_line
from gptoss_client.plan import LoadPlan
from gptoss_client.request_bodies import Request, request_headers, request_path
from gptoss_client.trace import Ending, Endpoint, Trace
from gptoss_client.transport import DEFAULT_PORTS, ExchangeTimestamps, TimestampingTransport

REDIRECTS = (301, 302, 303, 307, 308)

TraceCallback = Callable[[Trace], None]


class Client:
    """One slot of a load: an async context manager that sends one request after another over one connection.

    Args:
        endpoint: the server.
        plan: its four timeouts and its response limit apply to each request; nothing else of it is used. Default:
            `LoadPlan()`.
        verify: as for `TimestampingTransport`; share one SSLContext between clients.

    Raises:
        UsageError: the URL of the endpoint or the API key cannot be used.
    """

    def __init__(
        self, endpoint: Endpoint, plan: LoadPlan | None = None, *, verify: ssl.SSLContext | bool = True
    ) -> None:
        plan = plan or LoadPlan()
        self._timeout_s = plan.timeout_s
        self._connect_timeout_s = min(plan.timeout_s, plan.connect_timeout_s)
        self._body_timeouts = BodyTimeouts(plan.first_timeout_s, plan.idle_timeout_s)
        self._limit_mib = plan.response_limit_mib
        self._transport = TimestampingTransport(verify)
        url = _request_url(endpoint)
        self._origin = self._transport.origin(url)
        # Built once: building a request with httpx takes longer than all other steps of sending it.
        self._head = request_head(httpx.Request("POST", url, headers=request_headers(keep_alive=endpoint.keep_alive)))

    async def connect(self) -> bool:
        """Open the connection beforehand; return whether it is open (otherwise a request will record the reason)."""
        try:
            await self._transport.connect(self._origin, self._connect_timeout_s)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            return False
        return True

    async def send(self, request: Request, record: TraceCallback | None = None) -> Trace:
        """Send one request, read its response to the end and return its trace.

        `record` is called with the trace exactly once, also if this is cancelled. A failure of the request is recorded
        in the trace and not raised.
        """
        timestamps, outcome = ExchangeTimestamps(), _Attempt("cancelled", "cancelled before the end of the response")
        retries = 0
        try:
            outcome = await self._attempt(request, timestamps)
            unanswered = timestamps.reused and timestamps.sent_ns is not None and not timestamps.answered
            # A server may close an idle connection just when it is reused: it did not serve the request, so retry once.
            if outcome.ending == "cut" and outcome.status is None and unanswered:
                retries, timestamps = 1, ExchangeTimestamps()
                outcome = await self._attempt(request, timestamps)
        finally:
            done_ns = timestamps.done_ns or time.perf_counter_ns()
            trace = Trace(
                request_id=request.request_id,
                phase=request.phase,
                prompt_id=request.prompt_id,
                scheduled_ns=request.scheduled_ns,
                max_tokens=request.max_tokens,
                conversation=request.conversation,
                turn=request.turn,
                request_sha256=request.sha256,
                sent_ns=timestamps.sent_ns,
                connect_s=timestamps.connect_ns / 1e9 if timestamps.sent_ns is not None else None,
                status=outcome.status,
                pieces=_without_key(timestamps.pieces),
                lags_ns=tuple(timestamps.lags_ns),
                done_ns=done_ns if timestamps.sent_ns is not None else None,
                ending=outcome.ending,
                error=outcome.error,
                retries=retries,
                timestamp_source=timestamps.source,
                not_before_ns=tuple(timestamps.not_before_ns),
                read_marks=timestamps.read_marks,
                beats=None if timestamps.beats is None else tuple(timestamps.beats),
            )
            if record is not None:
                record(trace)
        return trace

    async def _attempt(self, request: Request, timestamps: ExchangeTimestamps) -> "_Attempt":
        status: int | None = None
        response: Response | None = None
        try:
            async with Deadline(self._timeout_s):
                exchange = await self._transport.exchange(
                    self._origin,
                    with_body(self._head, request.body),
                    timestamps,
                    self._body_timeouts,
                    connect_timeout_s=self._connect_timeout_s,
                    limit_mib=self._limit_mib,
                )
                response = exchange.response
                status = response.status
                await exchange.read()
        except httpx.TransportError as error:
            return _Attempt(_ending_of(error), one_line(str(error)) or type(error).__name__, status)
        except TimeoutError:
            if response is None or not response.complete:  # complete: only its wake-up came too late
                return _Attempt("timeout", f"not ended within {self._timeout_s:g} s", status)
        unusable = _unusable_reason(response)
        return _Attempt("malformed" if unusable else "complete", unusable, status)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._transport.aclose()


@dataclass(frozen=True, slots=True)
class _Attempt:
    ending: Ending
    error: str | None
    status: int | None = None


def _request_url(endpoint: Endpoint) -> httpx.URL:
    """Return the URL that requests are posted to. Raises UsageError, which shows no credentials."""
    try:
        url = httpx.URL(endpoint.url + request_path(endpoint.dialect))
    except (httpx.InvalidURL, UnicodeError):  # it is not repeated: a part that looks like a port may be a password
        raise UsageError("the URL of the server is not valid: it is like http://HOST:PORT") from None
    if url.userinfo:
        raise UsageError(f"the URL of the server contains credentials: put the key into {API_KEY_VARIABLE} instead")
    if url.scheme not in DEFAULT_PORTS or not url.host or not 0 < (url.port or 80) < 2**16:
        raise UsageError("the URL of the server must be like http://HOST:PORT or https://HOST")
    return url


def _ending_of(error: httpx.TransportError) -> Ending:
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return "connect"
    if isinstance(error, httpx.TimeoutException):
        return "timeout"
    return "malformed" if isinstance(error, httpx.ProtocolError) else "cut"


def _unusable_reason(response: Response) -> str | None:
    """Return why a complete response cannot be used, None if it can."""
    headers = {name.lower(): value.decode("latin-1") for name, value in response.headers}
    coding = headers.get(b"content-encoding", "identity")
    if coding not in ("", "identity"):
        return one_line(f"response uses Content-Encoding {coding}, but identity was requested")
    if response.status in REDIRECTS and b"location" in headers:
        address = one_line(headers[b"location"], 200)
        return f"redirected to {address}: use that address, redirects are not followed"
    return None


def _without_key(pieces: Sequence[tuple[int, bytes]]) -> tuple[tuple[int, bytes], ...]:
    """Return the pieces of a body without the API key, which a server may repeat."""
    if not api_key():
        return tuple(pieces)
    hidden = hide_key_in_pieces([data for _, data in pieces])
    return tuple((arrival_ns, data) for (arrival_ns, _), data in zip(pieces, hidden, strict=True))
