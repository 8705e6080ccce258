"""Send one request over a connection of its own and return its `Trace`, whatever happens to it."""

import asyncio
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import httpx

from gptoss_client.http1 import BodyTimeouts, request_head, with_body
from gptoss_client.plan import CONNECT_TIMEOUT_S, TIMEOUT_S
from gptoss_client.requests import Request, request_headers, request_path
from gptoss_client.trace import Ending, Endpoint, Trace
from gptoss_client.transport import ExchangeTimestamps, TimestampingTransport

REDIRECTS = (301, 302, 303, 307, 308)

TraceCallback = Callable[[Trace], None]


class Client:
    """One slot of a load: an async context manager that sends one request after another over one connection.

    Args:
        endpoint: the server.
        timeout_s, connect_timeout_s, first_timeout_s, idle_timeout_s: see `LoadPlan`; the last two need the default
            transport.
        verify: the option of httpx; share one SSLContext between clients.
        transport: replaces the transport that records kernel timestamps; arrivals are then timed in Python.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        timeout_s: float = TIMEOUT_S,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        first_timeout_s: float | None = None,
        idle_timeout_s: float | None = None,
        verify: ssl.SSLContext | bool = True,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._timeout_s = timeout_s
        self._connect_timeout_s = min(timeout_s, connect_timeout_s)
        self._body_timeouts = BodyTimeouts(first_timeout_s, idle_timeout_s)
        self._timestamping = TimestampingTransport(verify) if transport is None else None
        self._url = httpx.URL(endpoint.url + request_path(endpoint.dialect))  # parsed once, not for each request
        self._http = httpx.AsyncClient(
            base_url=endpoint.url,
            headers=request_headers(keep_alive=endpoint.keep_alive),
            timeout=httpx.Timeout(timeout_s, connect=self._connect_timeout_s),
            transport=transport or self._timestamping,
            trust_env=False,
        )
        self._head = request_head(self._http.build_request("POST", self._url, content=b"{}"))

    async def connect(self) -> bool:
        """Open the connection beforehand; return whether it is open (otherwise a request will record the reason)."""
        if self._timestamping is not None:
            try:
                await self._timestamping.connect(self._http.base_url, self._connect_timeout_s)
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
            done_ns = timestamps.done_ns or outcome.done_ns or time.perf_counter_ns()
            trace = Trace(
                request_id=request.request_id,
                phase=request.phase,
                prompt_id=request.prompt_id,
                scheduled_ns=request.scheduled_ns,
                sent_ns=timestamps.sent_ns,
                connect_s=timestamps.connect_ns / 1e9 if timestamps.sent_ns is not None else None,
                status=outcome.status,
                pieces=tuple(timestamps.pieces),
                lags_ns=tuple(timestamps.lags_ns),
                done_ns=done_ns if timestamps.sent_ns is not None else None,
                ending=outcome.ending,
                error=outcome.error,
                retries=retries,
                timestamp_source=timestamps.source,
            )
            if record is not None:
                record(trace)
        return trace

    async def _attempt(self, request: Request, timestamps: ExchangeTimestamps) -> "_Attempt":
        head = _ResponseHead()
        try:
            async with asyncio.timeout(self._timeout_s):
                if self._timestamping is None or self._url.userinfo:
                    await self._send_by_httpx(request, timestamps, head)
                else:
                    payload, origin = with_body(self._head, request.body), self._timestamping.origin(self._url)
                    exchange = await self._timestamping.exchange(
                        origin, payload, timestamps, self._body_timeouts, connect_timeout_s=self._connect_timeout_s
                    )
                    head.status, head.headers = exchange.response.status, exchange.response.headers
                    await exchange.read()
                unusable, done_ns = _unusable_reason(head), time.perf_counter_ns()
                return _Attempt("malformed" if unusable else "complete", unusable, head.status, done_ns)
        except httpx.TransportError as error:
            return _Attempt(_ending_of(error), _one_line(error), head.status)
        except TimeoutError:
            return _Attempt("timeout", f"not ended within {self._timeout_s:g} s", head.status)

    async def _send_by_httpx(self, request: Request, timestamps: ExchangeTimestamps, head: "_ResponseHead") -> None:
        """Send through httpx's own client: for a transport of the caller, and for a URL with a user name."""
        extensions = {"timestamps": timestamps, "body_timeouts": self._body_timeouts}
        built = self._http.build_request("POST", self._url, content=request.body, extensions=extensions)
        response = await self._http.send(built, stream=True)
        try:
            head.status, head.headers = response.status_code, response.headers.raw
            async for piece in response.aiter_raw():
                if timestamps.source == "client":
                    timestamps.pieces.append((time.perf_counter_ns(), piece))
        finally:
            await response.aclose()
            # httpx makes a cycle of a response and its stream, and cycles are not collected during a load.
            del response.stream

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._http.aclose()


@dataclass(frozen=True, slots=True)
class _Attempt:
    ending: Ending
    error: str | None
    status: int | None = None
    done_ns: int | None = None


@dataclass(slots=True)
class _ResponseHead:
    status: int | None = None
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)


def _ending_of(error: httpx.TransportError) -> Ending:
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return "connect"
    if isinstance(error, httpx.TimeoutException):
        return "timeout"
    # httpx distinguishes an early end from a message that is not HTTP only by the text of the exception.
    cut = not isinstance(error, httpx.ProtocolError) or "disconnected" in str(error) or "closed conn" in str(error)
    return "cut" if cut else "malformed"


def _unusable_reason(head: _ResponseHead) -> str | None:
    """Return why a complete response cannot be used, None if it can."""
    headers = {name.lower(): value.decode("latin-1") for name, value in head.headers}
    coding = headers.get(b"content-encoding", "identity")
    if coding not in ("", "identity"):
        return f"response uses Content-Encoding {coding}, but identity was requested"
    if head.status in REDIRECTS and b"location" in headers:
        return f"redirected to {headers[b'location']}: use that address, redirects are not followed"
    return None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
