"""HTTP/1 as bytes: build a request, and parse a response read by read. Uses no socket."""

import time
from dataclasses import dataclass

import httptools
import httpx

from gptoss_client.arrivals import Read, ReadSpan
from gptoss_client.last_event import LastEvent
from gptoss_client.plan import RESPONSE_LIMIT_MIB

HEAD_LIMIT = 64 * 1024  # bytes of a response head, including interim responses and trailers
FRAMING = (b"content-length", b"transfer-encoding")
_HEAD_TOO_LONG = f"the response head is longer than {HEAD_LIMIT // 1024} KiB"


def request_bytes(request: httpx.Request) -> bytes:
    """Return the whole request; its content must have been read. Raises httpx.LocalProtocolError as `request_head`."""
    head = request_head(request)
    framed = any(name.lower() in FRAMING for name, _ in request.headers.raw)
    return with_body(head, request.content) if framed or request.content else head + b"\r\n"


def request_head(request: httpx.Request) -> bytes:
    """Return the request line and all headers except those that frame the body.

    Raises httpx.LocalProtocolError if a header contains a line break or a zero byte.
    """
    lines = [b"%s %s HTTP/1.1" % (request.method.encode(), request.url.raw_path)]
    lines += [name + b": " + value for name, value in request.headers.raw if name.lower() not in FRAMING]
    if any(byte in line for line in lines for byte in (b"\r", b"\n", b"\0")):
        raise httpx.LocalProtocolError("a request header contains a line break or a zero byte")
    return b"\r\n".join([*lines, b""])


def with_body(head: bytes, body: bytes) -> bytes:
    """Return the request to send: a head from `request_head`, the length of the body, and the body."""
    return b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body)


class Response:
    """One response, parsed read by read.

    `parts` are the bytes of the body without chunk framing, `reads` one entry per read, `spans` what the connection
    knows of their TCP segments. `failure` is the exception that httpx would raise. `reusable`: the connection may carry
    another request. The parser calls the `on_…` methods. A response that is longer than `limit_mib` on the wire fails.
    """

    __slots__ = (
        "_bodiless", "_bytes_left", "_feed", "_limit_mib", "_parser", "_part_count", "_size", "complete", "failure",
        "has_head", "headers", "last_event", "on_body", "parts", "reads", "reusable", "spans", "status",
    )  # fmt: skip

    def __init__(self, method: str = "POST", limit_mib: int = RESPONSE_LIMIT_MIB) -> None:
        self.parts: list[bytes] = []
        self.reads: list[Read] = []
        self.spans: list[ReadSpan] = []
        self.headers: list[tuple[bytes, bytes]] = []
        self.status = 0
        self.has_head = self.complete = self.reusable = False
        self.failure: httpx.TransportError | None = None
        self.on_body = self.parts.append
        self.last_event = LastEvent()
        self._bodiless = method == "HEAD"  # its response has no body, whatever its headers announce
        self._size = 0
        self._limit_mib, self._bytes_left = limit_mib, limit_mib << 20
        self._part_count: int | None = None  # of the complete body: parts behind it do not belong to this response
        self._parser = httptools.HttpResponseParser(self)
        self._feed = self._parser.feed_data

    def feed(
        self,
        timestamp: bytes | None,
        read_ns: int,
        data: bytes | memoryview,
        not_before_ns: int,
        size: int,
    ) -> bool:
        """Parse one read; return whether it brought the head, the first body bytes, the end or a failure.

        Args:
            timestamp: Kernel timestamp as read.
            read_ns: Time of the read.
            data: Its bytes.
            not_before_ns: The last time at which they were known to be absent.
            size: Number of bytes that were read; with TLS not that of `data`.
        """
        if self.complete or self.failure:
            self.reusable = False  # bytes behind the end of the response
            return False
        self._bytes_left -= len(data)
        if self._bytes_left < 0:
            self._fail(f"the response is longer than {self._limit_mib} MiB")
            return True
        had_head, had_body = self.has_head, bool(self.parts)
        try:
            self._feed(data)
        except httptools.HttpParserUpgrade:
            self._fail("the server switches to another protocol, which was not requested")
        except httptools.HttpParserError as error:
            if self.complete:
                self.reusable = False
            else:
                self._fail(str(error.__context__ or error))
        if self._part_count is not None:
            del self.parts[self._part_count :]
        self.reads.append((timestamp, read_ns, len(self.parts), not_before_ns, size))
        if had_head:
            return self.complete or self.failure is not None or not had_body
        if not self.has_head:
            self._count(len(data))
        return self.has_head or self.failure is not None

    def end(self, error: Exception | None = None) -> None:
        """Handle the end of the connection: the end of a body without announced length, else a cut response."""
        if self.complete or self.failure:
            self.reusable = False
        elif error is None and self.has_head and not self._has_announced_end():
            self.complete = True
        else:
            where = "in the response head" if self.reads else "before it responded"
            where = "in the response body" if self.has_head else where
            why = f": {error}" if error else ""
            self.failure = httpx.ReadError(f"the server closed the connection {where}{why}")

    def release(self) -> None:
        """Drop the parser: it and this object refer to each other, and cycles are not collected during a load."""
        del self._parser, self._feed

    def on_message_begin(self) -> None:
        """Detect a second response, which was not requested."""
        if self.complete:
            self.reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; trailers (after the body) only count towards HEAD_LIMIT."""
        if self.complete:
            return
        self._size += len(name) + len(value) + 4
        if self._size > HEAD_LIMIT:
            raise ValueError(_HEAD_TOO_LONG)
        if not self.has_head:
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Keep the head of the response; drop that of an interim response (100, 102, 103)."""
        if self.complete:
            return
        if self._parser.get_http_version() not in ("1.0", "1.1"):
            raise ValueError(f"the response is HTTP/{self._parser.get_http_version()}, which was not requested")
        self.status = self._parser.get_status_code()
        self.has_head = self.status >= 200
        if not self.has_head:
            self.headers.clear()
        elif self._bodiless:
            self.complete, self._part_count = True, 0

    def on_message_complete(self) -> None:
        """Handle the terminating chunk, or the last byte of the announced length."""
        if self.has_head and not self.complete:
            self.complete, self._part_count = True, len(self.parts)
            self.reusable = self._parser.should_keep_alive()

    def _has_announced_end(self) -> bool:
        headers = {name.lower(): value.lower() for name, value in self.headers}
        coding = headers.get(b"transfer-encoding")
        return b"content-length" in headers if coding is None else coding.strip().endswith(b"chunked")

    def _count(self, size: int) -> None:
        self._size += size
        if self._size > HEAD_LIMIT:
            self._fail(_HEAD_TOO_LONG)

    def _fail(self, message: str) -> None:
        if self.failure is None:
            self.failure = httpx.RemoteProtocolError(message)


@dataclass(frozen=True, slots=True)
class BodyTimeouts:
    """Limits (s) of the wait for the first event of a response and of each later wait for one; None: no limit.

    Without `by_events` they limit the waits for bytes of the body, as httpx does.
    """

    first_s: float | None = None
    idle_s: float | None = None
    by_events: bool = True

    def left_s(self, response: Response, sent_ns: int) -> float | None:
        """Return the time left of the current wait (negative if exceeded), None without a limit.

        The bytes since the last event are scanned only where that wait is over.
        """
        left_s = self._left_s(response, sent_ns)
        if self.by_events and response.parts and (left_s is None or left_s <= 0):
            response.last_event.look(response.parts, response.reads)
            left_s = self._left_s(response, sent_ns)
            if left_s is None and self.begun_ns(response) is None:
                return self.idle_s  # look again then: the first event does not end the wait
        return left_s

    def begun_ns(self, response: Response) -> int | None:
        """Return when the current wait between two events began, None before the first."""
        if self.by_events:
            return response.last_event.read_ns
        return response.reads[-1][1] if response.parts else None

    def _left_s(self, response: Response, sent_ns: int) -> float | None:
        begun_ns = self.begun_ns(response)
        limit_s, since_ns = (self.first_s, sent_ns) if begun_ns is None else (self.idle_s, begun_ns)
        return None if limit_s is None else limit_s - (time.perf_counter_ns() - since_ns) / 1e9
