"""A small real HTTP server that sends scripted responses byte for byte, including faults."""

import asyncio
import json
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from gptoss_client.trace import Endpoint

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"

Answer = Callable[["Exchange"], Awaitable[None]]


class Exchange:
    """One received request, and methods to answer it."""

    def __init__(self, head: bytes, body: bytes, writer: asyncio.StreamWriter, number: int) -> None:
        self.head, self.body, self.writer, self.number = head, body, writer, number

    async def send(self, *parts: bytes) -> None:
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()

    def reset(self) -> None:
        """Close with an RST instead of a FIN."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


class Scripted:
    """The running server: its endpoint, the requests it received, and the most that were in flight at once."""

    def __init__(self, answer: Answer, tls: ssl.SSLContext | None = None) -> None:
        self.answer = answer
        self.tls = tls
        self.documents: dict[str, object] = {}  # of a GET by path, or a function that returns it; else 404
        self.hangs_up_on_get = False
        self.requests: list[tuple[bytes, bytes]] = []
        self.connections = 0
        self.in_flight = 0
        self.most_in_flight = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server

    @property
    def endpoint(self) -> Endpoint:
        port = self._server.sockets[0].getsockname()[1]
        return Endpoint(
            url=f"http{'s' if self.tls else ''}://127.0.0.1:{port}", model="m", dialect="openai", engine="scripted"
        )

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.tls)

    @property
    def open_connections(self) -> int:
        return len(self._writers)

    def die(self) -> None:
        """Stop listening and abort every connection, like a killed process."""
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()

    def _document(self, path: str) -> bytes:
        found = self.documents.get(path)
        content = found() if callable(found) else found
        text = (
            content if isinstance(content, bytes) else json.dumps(content).encode() if path in self.documents else b""
        )
        return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (b"200 OK" if text else b"404 No", len(text), text)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"GET"):  # a query about an unknown server
                    if self.hangs_up_on_get:
                        break
                    writer.write(self._document(head.split()[1].decode()))
                    continue
                [size] = [int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")]
                body = await reader.readexactly(size)
                self.requests.append((head, body))
                self.in_flight += 1
                self.most_in_flight = max(self.most_in_flight, self.in_flight)
                try:
                    await self.answer(Exchange(head, body, writer, len(self.requests)))
                finally:
                    self.in_flight -= 1
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()


@asynccontextmanager
async def scripted(answer: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[Scripted]:
    """Serve `answer` on a free port of 127.0.0.1 until the block ends."""
    server = Scripted(answer, tls)
    await server.start()
    try:
        yield server
    finally:
        server.die()


def chunk(data: bytes) -> bytes:
    """Return data as one HTTP chunk."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def event(**delta: object) -> bytes:
    """Return one SSE message with a chat-completion delta."""
    choice = {"index": 0, "delta": delta, "finish_reason": None}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


def ending(tokens: int, reason: str = "stop", prompt_tokens: int = 7) -> bytes:
    """Return the finish chunk, the usage chunk and [DONE]."""
    finish = {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}
    usage = {"choices": [], "usage": {"prompt_tokens": prompt_tokens, "completion_tokens": tokens}}
    return b"".join(b"data: " + json.dumps(part).encode() + b"\n\n" for part in (finish, usage)) + b"data: [DONE]\n\n"


async def speak(exchange: Exchange) -> None:
    """Send a correct response: a role chunk, one reasoning token, two answer tokens."""
    events = [event(role="assistant", content=""), event(reasoning="so"), event(content="Hello"), event(content=" you")]
    await exchange.send(HEAD, *map(chunk, events), chunk(ending(3)), END)
