"""A server process's misdeeds over real sockets: each path is answered by a function that writes what it likes."""

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from scripted import chunk, ending, event

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
CHAT = "/v1/chat/completions"

Answer = Callable[[socket.socket, bytes], None]


def document(content: object, status: str = "200 OK", *headers: str) -> Answer:
    """Answer with a whole document: bytes as they are, anything else as JSON."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return lambda connection, _: connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)


def stream(*messages: bytes, end: bool = True) -> Answer:
    """Answer with a stream of these messages, each a chunk."""

    def answer(connection: socket.socket, _: bytes) -> None:
        connection.sendall(HEAD + b"".join(map(chunk, messages)) + (b"0\r\n\r\n" if end else b""))

    return answer


def forever(part: bytes, every_s: float = 0.0, head: bytes = HEAD) -> Answer:
    """Answer with the same bytes again and again, until the client has gone."""

    def answer(connection: socket.socket, _: bytes) -> None:
        gone = threading.Event()
        connection.sendall(head)
        with suppress(OSError):
            while not gone.wait(every_s) if every_s else True:
                connection.sendall(part)

    return answer


GOOD = stream(event(role="assistant", content=""), event(content="Hello"), event(content=" you"), ending(3))


def after_first(answer: Answer) -> Answer:
    """Answer the first request well and all others with `answer`."""
    asked: list[bytes] = []

    asked = []

    def choose(connection: socket.socket, request: bytes) -> None:
        asked.append(request)
        (GOOD if len(asked) == 1 else answer)(connection, request)

    return choose


@dataclass
class Hostile:
    """The running server: its address, its answers by path, and the requests that it got."""

    url: str = ""
    answers: dict[str, Answer] = field(default_factory=dict)
    requests: list[bytes] = field(default_factory=list)

    def heads(self, path: str) -> list[bytes]:
        return [one for one in self.requests if one.split(b" ", 2)[1] == path.encode()]


@contextmanager
def hostile(answers: dict[str, Answer] | None = None, tls: ssl.SSLContext | None = None) -> Iterator[Hostile]:
    """Serve on loopback until the block ends. Without other answers it lists a model and answers each chat well."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    port = listener.getsockname()[1]
    server = Hostile(f"http{'s' if tls else ''}://127.0.0.1:{port}")
    server.answers = {"/v1/models": document({"data": [{"id": "m"}]}), CHAT: GOOD, **(answers or {})}

    def serve(connection: socket.socket) -> None:
        with suppress(OSError, ValueError), connection:
            if tls:
                connection = tls.wrap_socket(connection, server_side=True)
            with connection, connection.makefile("rb") as reader:
                request, size = b"", 0
                while (line := reader.readline()).strip():
                    request += line
                    if line.lower().startswith(b"content-length:"):
                        size = int(line[15:])
                if not request:
                    return
                request += b"\r\n" + reader.read(size)
                server.requests.append(request)
                path = request.split(b" ", 2)[1].decode().partition("?")[0]
                server.answers.get(path, document({"detail": "Not Found"}, "404 Not Found"))(connection, request)
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_WR)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield server
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
