"""HTTP/1 as bytes: a request to send, and a response that comes in read by read. Knows no socket and no clock."""
# MERGED: How long a request waits for its first bytes, and for more of them.

import time
from collections.abc import Iterator
from dataclasses import dataclass

import httptools
import httpx

HEAD_LIMIT = 64 * 1024  # bytes of a response head, interim responses and trailers included
OK = 200
FRAMING = (b"content-length", b"transfer-encoding")

Read = tuple[bytes | None, int, int]


def request_bytes(request: httpx.Request) -> bytes:
    """The whole request, whose content has been read. Raises httpx.LocalProtocolError where HTTP cannot carry it."""
    head = request_head(request)
    framed = any(name.lower() in FRAMING for name, _ in request.headers.raw)
    return with_body(head, request.content) if framed or request.content else head + b"\r\n"


def request_head(request: httpx.Request) -> bytes:
    """The request line and all headers but those that frame the body. Raises httpx.LocalProtocolError as above."""
    lines = [b"%s %s HTTP/1.1" % (request.method.encode(), request.url.raw_path)]
    lines += [name + b": " + value for name, value in request.headers.raw if name.lower() not in FRAMING]
    if any(byte in line for line in lines for byte in (b"\r", b"\n", b"\0")):
        raise httpx.LocalProtocolError("a header of the request holds a line break or a zero byte")
    return b"\r\n".join([*lines, b""])


def with_body(head: bytes, body: bytes) -> bytes:
    """A request that is ready to be sent, of `request_head` and the body that it frames."""
    return b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body)


class Response:
    """One response, as its bytes come in.

    `parts` are the bytes of the body, un-chunked; `reads` says of each read what came with it (the kernel's stamp as it
    is, our own clock in ns) and how many parts there were after it. `failure` is what httpx would raise. The parser
    calls the methods named on_….
    """

    __slots__ = (
        "_bodiless", "_extra", "_feed", "_parser", "_size", "complete", "failure", "has_head", "headers", "on_body",
        "parts", "reads", "reusable", "status",
    )  # fmt: skip

    def __init__(self, method: str = "POST") -> None:
        """Nothing came yet. The answer to a HEAD has no body, whatever it says."""
        self.parts: list[bytes] = []
        self.reads: list[Read] = []
        self.headers: list[tuple[bytes, bytes]] = []
        self.status = 0
        self.has_head = self.complete = self.reusable = False
        self.failure: httpx.TransportError | None = None
        self.on_body = self.parts.append
        self._bodiless = method == "HEAD"
        self._size = 0
        self._extra: int | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._feed = self._parser.feed_data

    def feed(self, timestamp: bytes | None, read_ns: int, data: bytes | memoryview) -> bool:
        """Take in one read. Returns whether the head, the first of the body or the end came with it, or a failure."""
        if self.complete or self.failure:
            self.reusable = False  # bytes that belong to nothing
            return False
        had_head, had_body = self.has_head, bool(self.parts)
        try:
            self._feed(data)
        except httptools.HttpParserUpgrade:
            self._fail("the server switches to another protocol, which was not asked for")
        except httptools.HttpParserError as error:
            if self.complete:
                self.reusable = False
            else:
                self._fail(str(error.__context__ or error))
        if self._extra is not None:
            del self.parts[self._extra :]
        self.reads.append((timestamp, read_ns, len(self.parts)))
        if had_head:
            return self.complete or self.failure is not None or not had_body
        if not self.has_head:
            self._count(len(data))
        return self.has_head or self.failure is not None

    def end(self, error: Exception | None = None) -> None:
        """The connection ended: with a body that lasts until then this is its end, else the response is cut."""
        if self.complete or self.failure:
            self.reusable = False
        elif error is None and self.has_head and not self._framed():
            self.complete = True
        else:
            where = "in its body" if self.has_head else "in its head" if self.reads else "before its answer"
            why = f": {error}" if error else ""
            self.failure = httpx.ReadError(f"the server closed the connection {where}{why}")

    def release(self) -> None:
        """Let go of the parser: it and this hold each other, and nobody collects cycles while a load runs."""
        del self._parser, self._feed

    def bodies(self) -> Iterator[tuple[bytes | None, int, bytes]]:
        """(kernel's stamp, own clock in ns, bytes) of each read that brought some of the body."""
        begin = 0
        for timestamp, read_ns, end in self.reads:
            if end > begin:
                yield timestamp, read_ns, self.parts[begin] if end == begin + 1 else b"".join(self.parts[begin:end])
                begin = end

    def on_message_begin(self) -> None:
        """Behind the end: a second response that nobody asked for."""
        if self.complete:
            self.reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; those after the body are trailers, and count only towards the limit."""
        if self.complete:
            return
        self._size += len(name) + len(value) + 4
        if self._size > HEAD_LIMIT:
            raise ValueError(_TOO_LONG)
        if not self.has_head:
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is whole: of the response, or of an interim one (100, 102, 103) before it."""
        if self.complete:
            return
        if self._parser.get_http_version() not in ("1.0", "1.1"):
            raise ValueError(f"the answer is HTTP/{self._parser.get_http_version()}, which was not asked for")
        self.status = self._parser.get_status_code()
        self.has_head = self.status >= OK
        if not self.has_head:
            self.headers.clear()
        elif self._bodiless:
            self.complete, self._extra = True, 0

    def on_message_complete(self) -> None:
        """The terminating chunk, or the last byte that was announced."""
        if self.has_head and not self.complete:
            self.complete, self._extra = True, len(self.parts)
            self.reusable = self._parser.should_keep_alive()

    def _framed(self) -> bool:
        """Whether the head says where the body ends."""
        named = {name.lower(): value.lower() for name, value in self.headers}
        coding = named.get(b"transfer-encoding")
        return b"content-length" in named if coding is None else coding.strip().endswith(b"chunked")

    def _count(self, size: int) -> None:
        self._size += size
        if self._size > HEAD_LIMIT:
            self._fail(_TOO_LONG)

    def _fail(self, words: str) -> None:
        if self.failure is None:
            self.failure = httpx.RemoteProtocolError(words)


_TOO_LONG = f"the head of the answer is longer than {HEAD_LIMIT // 1024} KiB"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """The longest waits for the first bytes of a response's body, and for anything after those (s); None: no limit."""

    first_s: float | None = None
    idle_s: float | None = None

    def left_s(self, response: Response, sent_ns: int) -> float | None:
        """How much of the present wait is left; below 0 it is over."""
        limit_s, since_ns = (self.idle_s, response.reads[-1][1]) if response.parts else (self.first_s, sent_ns)
        return None if limit_s is None else limit_s - (time.perf_counter_ns() - since_ns) / 1e9
