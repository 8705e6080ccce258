"""The small shared async client: one request to one `Trace`, whatever happens to it."""

import asyncio
import os
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import httpx

from gptoss_client.errors import UsageError
from gptoss_client.http1 import Timeouts, request_head, with_body
from gptoss_client.requests import request_path
from gptoss_client.trace import Endpoint, Trace
from gptoss_client.transport import ExchangeTimestamps, TimestampingTransport

KEY_VARIABLE = "GPTOSS_API_KEY"  # a key comes from the environment only, and goes into a request header only
CONNECT_TIMEOUT_S = 10.0
REDIRECTS = (301, 302, 303, 307, 308)


@dataclass(frozen=True, slots=True)
class Request:
    """One planned request: which it is, what to send, when its turn came (ns on CLOCK_MONOTONIC)."""

    request_id: int
    phase: str
    prompt_id: int
    scheduled_ns: int
    body: bytes


class Client:
    """One slot of a load: it sends its requests one after the other over a connection of its own."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        timeout_s: float = 600.0,
        first_timeout_s: float | None = None,
        idle_timeout_s: float | None = None,
        verify: ssl.SSLContext | bool = True,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Nothing is opened yet. `transport` replaces the stamping one; its stamps are then taken here.

        `timeout_s` bounds a request from its sending to its end, `first_timeout_s` the wait for its body's first bytes,
        `idle_timeout_s` each wait after that. The latter two are kept by the stamping transport only.
        """
        self._timeout_s = timeout_s
        self._waits = Timeouts(first_timeout_s, idle_timeout_s)
        self._timestamping = TimestampingTransport(verify) if transport is None else None
        self._url = httpx.URL(endpoint.url + request_path(endpoint.dialect))  # parsed once and not for each request
        self._connect_s = min(timeout_s, CONNECT_TIMEOUT_S)
        self._http = httpx.AsyncClient(
            base_url=endpoint.url,
            headers=request_headers(keep_alive=endpoint.keep_alive),
            timeout=httpx.Timeout(timeout_s, connect=self._connect_s),
            transport=transport or self._timestamping,
            trust_env=False,
        )
        self._head = request_head(self._http.build_request("POST", self._url, content=b"{}"))

    async def connect(self) -> bool:
        """Open the connection beforehand, unless it is open. Returns whether it is now: a request says why not."""
        if self._timestamping is not None:
            try:
                await self._timestamping.connect(self._http.base_url, self._http.timeout.connect)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                return False
        return True

    async def ask(self, ask: Request, record: Callable[[Trace], None]) -> Trace:
        """Send one request, read its response to the end, and hand its trace to `record`: once, in every case.

        A failure of the request is told by the trace and not raised. Cancellation is recorded and goes on.
        """
        timestamps, ending = ExchangeTimestamps(), _Ending("cancelled", "cancelled before its end")
        retries = 0
        try:
            ending = await self._attempt(ask, timestamps)
            unanswered = timestamps.reused and timestamps.sent_ns is not None and not timestamps.answered
            # A server may close an idle connection just as we reuse it: nothing was served, so ask once more.
            if ending.kind == "cut" and ending.status is None and unanswered:
                retries, timestamps = 1, ExchangeTimestamps()
                ending = await self._attempt(ask, timestamps)
        finally:
            ended_ns = timestamps.done_ns or ending.done_ns or time.perf_counter_ns()
            trace = Trace(
                request_id=ask.request_id,
                phase=ask.phase,
                prompt_id=ask.prompt_id,
                scheduled_ns=ask.scheduled_ns,
                sent_ns=timestamps.sent_ns,
                connect_s=timestamps.connect_ns / 1e9 if timestamps.sent_ns is not None else None,
                status=ending.status,
                pieces=tuple(timestamps.pieces),
                lags_ns=tuple(timestamps.lags_ns),
                done_ns=ended_ns if timestamps.sent_ns is not None else None,
                ending=ending.kind,
                error=ending.error,
                retries=retries,
                timestamp_source=timestamps.source,
            )
            record(trace)
        return trace

    async def _attempt(self, ask: Request, timestamps: ExchangeTimestamps) -> "_Ending":
        answer = _Answer()
        try:
            async with asyncio.timeout(self._timeout_s):
                if self._timestamping is None or self._url.userinfo:
                    await self._over_httpx(ask, timestamps, answer)
                else:
                    payload, origin = with_body(self._head, ask.body), self._timestamping.origin(self._url)
                    exchange = await self._timestamping.exchange(
                        origin, payload, timestamps, self._waits, connect_s=self._connect_s
                    )
                    answer.status, answer.headers = exchange.response.status, exchange.response.headers
                    await exchange.read()
                refusal, ended_ns = _refusal(answer), time.perf_counter_ns()
                return _Ending("malformed" if refusal else "complete", refusal, answer.status, ended_ns)
        except httpx.TransportError as error:
            return _Ending(_class_of(error), _reason(error), answer.status)
        except TimeoutError:
            return _Ending("timeout", f"not ended within {self._timeout_s:g} s", answer.status)

    async def _over_httpx(self, ask: Request, timestamps: ExchangeTimestamps, answer: "_Answer") -> None:
        """The same through all of httpx, for a transport of the caller's and for a URL that names a user."""
        extensions = {"timestamps": timestamps, "waits": self._waits}
        request = self._http.build_request("POST", self._url, content=ask.body, extensions=extensions)
        async with _streaming(self._http, request) as response:
            answer.status, answer.headers = response.status_code, response.headers.raw
            async for piece in response.aiter_raw():
                if timestamps.source == "client":
                    timestamps.pieces.append((time.perf_counter_ns(), piece))

    async def __aenter__(self) -> Self:
        """Start; connections are opened when they are needed."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Close the connection."""
        await self._http.aclose()


@dataclass(frozen=True, slots=True)
class _Ending:
    kind: str
    error: str | None
    status: int | None = None
    done_ns: int | None = None


@dataclass(slots=True)
class _Answer:
    status: int | None = None
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)


class _streaming:
    """Like `AsyncClient.stream`, for a request that was built beforehand."""

    def __init__(self, http: httpx.AsyncClient, request: httpx.Request) -> None:
        self._http, self._request = http, request

    async def __aenter__(self) -> httpx.Response:
        self._response = await self._http.send(self._request, stream=True)
        return self._response

    async def __aexit__(self, *_: object) -> None:
        await self._response.aclose()
        # httpx ties a response and its stream into a cycle, and nobody collects cycles while a load runs.
        del self._response.stream


def request_headers(*, keep_alive: bool = True) -> dict[str, str]:
    """The headers of every request, with the key from the environment where there is one.

    Raises UsageError where the key could not be sent; the message does not show it.
    """
    headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
    if not keep_alive:
        headers["Connection"] = "close"
    if key := os.environ.get(KEY_VARIABLE, "").strip():
        if not key.isascii() or not key.isprintable():
            raise UsageError(f"the key in {KEY_VARIABLE} has characters that HTTP cannot carry: set it again")
        headers["Authorization"] = f"Bearer {key}"
    return headers


def _class_of(error: httpx.TransportError) -> str:
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return "connect"
    if isinstance(error, httpx.TimeoutException):
        return "timeout"
    # httpx tells an early end and a message that is not HTTP apart by their words only.
    cut = not isinstance(error, httpx.ProtocolError) or "disconnected" in str(error) or "closed conn" in str(error)
    return "cut" if cut else "malformed"


def _refusal(answer: _Answer) -> str | None:
    """Why an answer that is whole is none that we can read."""
    headers = {name.lower(): value.decode("latin-1") for name, value in answer.headers}
    coding = headers.get(b"content-encoding", "identity")
    if coding not in ("", "identity"):
        return f"the body is in Content-Encoding {coding}, though it was asked for as it is"
    if answer.status in REDIRECTS and b"location" in headers:
        return f"redirected to {headers[b'location']}: give that address, redirects are not followed"
    return None


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
