"""Just enough of an HTTP/1.1 server for the front that speaks Ollama's API: JSON in, JSON or a stream of lines out."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

LARGEST_BODY = 32 * 2**20
_HEAD_LIMIT = 64 * 2**10
_ENDINGS = (
    asyncio.IncompleteReadError,
    asyncio.LimitOverrunError,
    asyncio.CancelledError,
    ConnectionError,
    ValueError,
)


@dataclass(slots=True)
class Exchange:
    """One request, and the ways of answering it: `json` and `text` at once, `begin`, `send` … `end` piece by piece."""

    method: str
    path: str
    raw: bytes
    writer: asyncio.StreamWriter
    begun: bool = field(default=False, init=False)

    def question(self) -> dict[str, Any]:
        """Return the body as a JSON object. Raises ValueError where it is none."""
        body = json.loads(self.raw or b"{}")
        if not isinstance(body, dict):
            raise ValueError("the body is no JSON object")
        return body

    async def json(self, status: int, answer: object) -> None:
        """Answer with one JSON document."""
        await self._whole(status, compact(answer), "application/json; charset=utf-8")

    async def text(self, status: int, answer: str) -> None:
        """Answer with plain text."""
        await self._whole(status, answer.encode(), "text/plain; charset=utf-8")

    async def begin(self, content_type: str) -> None:
        """Open a response that comes in pieces."""
        self.begun = True
        self.writer.write(_head(200, content_type, "Transfer-Encoding: chunked"))
        await self.writer.drain()

    async def send(self, piece: bytes) -> None:
        """Send one piece now, as one HTTP chunk."""
        self.writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        await self.writer.drain()

    async def end(self) -> None:
        """Say that the response is whole."""
        self.writer.write(b"0\r\n\r\n")
        await self.writer.drain()

    async def _whole(self, status: int, body: bytes, content_type: str) -> None:
        self.begun = True
        shown = b"" if self.method == "HEAD" else body
        self.writer.write(_head(status, content_type, f"Content-Length: {len(body)}") + shown)
        await self.writer.drain()


def compact(answer: object) -> bytes:
    """Return JSON without blanks."""
    return json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode()


async def listen(host: str, port: int, answer: Callable[[Exchange], Awaitable[None]]) -> asyncio.Server:
    """Serve `answer` at `host`:`port`; a connection is kept until its client closes it."""

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Cancelled is only what the end of the whole server does; a connection has nothing left to do then.
        with contextlib.suppress(*_ENDINGS):
            while await _one(reader, writer, answer):
                pass
        with contextlib.suppress(ConnectionError):
            writer.close()
            await writer.wait_closed()

    return await asyncio.start_server(connection, host, port, limit=_HEAD_LIMIT, backlog=512)


async def _one(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Callable[[Exchange], Awaitable[None]]
) -> bool:
    """Answer one request; return whether the connection can be used again."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    size = int(headers.get("content-length") or 0)
    if not 0 <= size <= LARGEST_BODY:
        raise ValueError("a body of that size is not read")
    exchange = Exchange(method, target.partition("?")[0], await reader.readexactly(size), writer)
    await answer(exchange)
    return headers.get("connection", "").lower() != "close"


def _head(status: int, content_type: str, *more: str) -> bytes:
    lines = (f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", f"Content-Type: {content_type}", *more, "", "")
    return "\r\n".join(lines).encode("latin-1")
