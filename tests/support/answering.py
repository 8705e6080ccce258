"""A small real HTTP server on loopback whose requests are answered by one function."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

Answer = Callable[["Exchange"], Awaitable[None]]


class Exchange(RequestHandler):
    """One request, and ways to answer it."""

    def initialize(self, answer: Answer) -> None:
        self._answer = answer

    async def prepare(self) -> None:
        await self._answer(self)

    @property
    def path(self) -> str:
        return self.request.path

    async def json(self, status: int, answer: object) -> None:
        self.set_status(status)
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps(answer).encode())

    async def stream(self, content_type: str, *pieces: bytes) -> None:
        """Send each piece as a chunk of its own."""
        self.set_header("Content-Type", content_type)
        for piece in pieces:
            self.write(piece)
            await self.flush()
        self.finish()


@asynccontextmanager
async def answering(answer: Answer, port: int = 0) -> AsyncIterator[str]:
    """Serve until the block ends and yield the URL."""
    application = Application([(".*", Exchange, {"answer": answer})], log_function=lambda handler: None)
    server, sockets = HTTPServer(application), bind_sockets(port, "127.0.0.1")
    server.add_sockets(sockets)
    try:
        yield f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
    finally:
        server.stop()
        await server.close_all_connections()
