"""Serve paced streams and record when each token was sent: one loop, raw sockets, a heap of due writes.

The server reads CLOCK_MONOTONIC immediately before and after each send() and keeps the times in memory; it does nothing
else between a due time and the send. A reply is composed when its request arrives.
"""

import contextlib
import gc
import heapq
import select
import selectors
import signal
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from gptoss_bench.calibration.reference.plan import ReferencePlan, SlotQueue
from gptoss_bench.calibration.reference.requests import (
    DOCUMENTS,
    arrival_ns,
    first_request,
    set_timer_slack,
)
from gptoss_bench.calibration.reference.stream import SentStream, StreamRequest, composed_reply, document
from gptoss_client import TIMESTAMP_ANCILLARY_BYTES, enable_kernel_timestamps

LOOPBACK = "127.0.0.1"
WRITES_PER_TURN = 16  # due writes sent before the sockets are polled again
_READ_BYTES = 65536
_TLS_HANDSHAKE = b"\x16"  # first byte of a connection with TLS, and of no HTTP request


class _Connection:
    """One client connection and the bytes received from it that are not parsed yet."""

    __slots__ = ("buffer", "busy", "send", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.send: Callable[[bytes], int] = sock.send
        self.buffer = b""
        self.busy = False

    def received(self, data: bytes) -> None:
        """Keep bytes that were read from the socket. Raises OSError if they are not what the connection carries."""
        self.buffer += data


class _TlsConnection(_Connection):
    """A connection with TLS: what is read and sent is decrypted and encrypted in memory."""

    __slots__ = ("_incoming", "_outgoing", "_tls")

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        super().__init__(sock)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self.send = self._send

    def received(self, data: bytes) -> None:
        self._incoming.write(data)
        try:
            while plain := self._tls.read(_READ_BYTES):
                self.buffer += plain
        except ssl.SSLWantReadError:
            pass
        self._flush()

    def _send(self, data: bytes) -> int:
        self._tls.write(data)
        self._flush()
        return len(data)

    def _flush(self) -> None:
        """Send all encrypted bytes; wait where the socket is full, which a reply of this server is too short for."""
        while encrypted := self._outgoing.read():
            while encrypted:
                select.select([], [self.sock], [])
                encrypted = encrypted[self.sock.send(encrypted) :]


class _Stream:
    """One reply in progress: its writes, their due times, and the record of those that were sent."""

    __slots__ = ("at", "close", "connection", "due_ns", "parts", "sent")

    def __init__(self, connection: _Connection, parts: list[bytes], sent: SentStream, close: bool) -> None:
        self.connection = connection
        self.parts = parts
        self.due_ns = sent.due_ns
        self.sent = sent
        self.at = 0
        self.close = close  # the connection, after the last write


class ReferenceServer:
    """A server that listens from its creation on; `serve` runs until `stop` or a signal, `streams` is what was sent."""

    def __init__(self, plan: ReferencePlan, port: int = 0, certificate: Path | None = None) -> None:
        """Listen on 127.0.0.1; with a certificate (PEM, with its key) serve TLS as well, on the same port.

        Raises OSError if the port is in use or the certificate cannot be read.
        """
        self.plan = plan
        self._tls: ssl.SSLContext | None = None
        if certificate is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(certificate)
        self.streams: list[SentStream] = []
        self._selector = selectors.DefaultSelector()
        self._heap: list[tuple[int, int, _Stream]] = []
        self._accept_ns: deque[int] = deque()
        self._number = 0
        self._queue = SlotQueue(plan) if plan.slots or plan.random_ttft else None
        self._epoch_ns = time.perf_counter_ns()
        self._running = True
        self._listener = socket.create_server((LOOPBACK, port), backlog=4096)
        self._listener.setblocking(False)
        enable_kernel_timestamps(self._listener)  # accepted sockets inherit it
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._wake, self._waker = socket.socketpair()
        self._waker.setblocking(False)
        self._selector.register(self._wake, selectors.EVENT_READ)
        self.port: int = self._listener.getsockname()[1]

    def stop(self) -> None:
        """Make `serve` return; safe to call from a signal handler."""
        self._running = False
        with contextlib.suppress(OSError):
            self._waker.send(b"\0")

    def serve(self) -> None:
        """Serve until `stop`, with the garbage collector off and, on Linux, exact timers."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _received, _frame: self.stop())
        set_timer_slack()
        gc.collect()
        gc.freeze()
        gc.disable()
        try:
            while self._running:
                self._send_due()
                # epoll rounds a timeout up to ms; select() has µs, and can wait for the epoll itself.
                if select.select([self._selector], [], [], self._wait_s())[0] or self._accept_ns:
                    self._serve_sockets()
        finally:
            gc.enable()
            for _, _, stream in self._heap:
                self.streams.append(stream.sent)
            for key in list(self._selector.get_map().values()):
                key.fileobj.close()  # type: ignore[union-attr]
            self._selector.close()

    def _wait_s(self) -> float | None:
        due = [self._heap[0][0]] if self._heap else []
        if self._accept_ns:
            due.append(self._accept_ns[0])
        return max(0, min(due) - time.perf_counter_ns()) / 1e9 if due else None

    def _send_due(self) -> None:
        heap, clock = self._heap, time.perf_counter_ns
        for _ in range(WRITES_PER_TURN):
            if not heap or heap[0][0] > clock():
                return
            _, number, stream = heap[0]
            connection, at = stream.connection, stream.at
            part = stream.parts[at]
            send = connection.send
            before = clock()
            try:
                taken = send(part)
            except BlockingIOError:
                taken = 0
            except OSError:  # the client has gone
                heapq.heappop(heap)
                self._finish(stream, close=True)
                continue
            after = clock()
            if taken < len(part):  # the rest is sent, and its time taken, when the client has read
                heapq.heappop(heap)
                stream.parts[at] = part[taken:]
                self._selector.modify(connection.sock, selectors.EVENT_READ | selectors.EVENT_WRITE, stream)
                continue
            timestamps = stream.sent.timestamps
            timestamps.append(before)
            timestamps.append(after)
            stream.at = at = at + 1
            if at < len(stream.due_ns):
                heapq.heapreplace(heap, (stream.due_ns[at], number, stream))
            else:
                heapq.heappop(heap)
                self._finish(stream, close=stream.close)

    def _finish(self, stream: _Stream, *, close: bool) -> None:
        self.streams.append(stream.sent)
        connection = stream.connection
        connection.busy = False
        if close:
            self._close(connection)
        elif connection.buffer:
            self._handle(connection, time.perf_counter_ns())

    def _close(self, connection: _Connection) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(connection.sock)
        connection.sock.close()
        connection.buffer = b""

    def _serve_sockets(self) -> None:
        while self._accept_ns and self._accept_ns[0] <= time.perf_counter_ns():
            self._accept_ns.popleft()
            self._accept()
            if not self._accept_ns:
                self._selector.register(self._listener, selectors.EVENT_READ)
        for key, mask in self._selector.select(0):
            if key.fileobj is self._listener:
                if self.plan.accept_s:
                    self._selector.unregister(self._listener)
                    self._accept_ns.append(time.perf_counter_ns() + round(self.plan.accept_s * 1e9))
                else:
                    self._accept()
            elif key.fileobj is self._wake:
                return
            elif isinstance(key.data, _Stream):
                self._resume(key.data, mask)
            else:
                self._read(key.data)
            self._send_due()  # many new requests must not delay the streams in progress

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._selector.register(sock, selectors.EVENT_READ, _Connection(sock))

    def _resume(self, stream: _Stream, mask: int) -> None:
        if mask & selectors.EVENT_WRITE:
            self._selector.modify(stream.connection.sock, selectors.EVENT_READ, stream.connection)
            heapq.heappush(self._heap, (stream.due_ns[stream.at], stream.sent.number, stream))
            return
        self._read(stream.connection)
        if stream.connection.sock.fileno() < 0:
            self._finish(stream, close=False)

    def _read(self, connection: _Connection) -> None:
        try:
            data, ancillary, _, _ = connection.sock.recvmsg(_READ_BYTES, TIMESTAMP_ANCILLARY_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data, ancillary = b"", []
        if not data:  # a stream in progress notices it at its next send
            self._close(connection)
            return
        asked_ns = arrival_ns(ancillary)
        if self._tls is not None and type(connection) is _Connection and data[:1] == _TLS_HANDSHAKE:
            connection = _TlsConnection(connection.sock, self._tls)
            self._selector.modify(connection.sock, selectors.EVENT_READ, connection)
        try:
            connection.received(data)
        except OSError:  # ssl.SSLError is one
            self._close(connection)
            return
        if not connection.busy:
            self._handle(connection, asked_ns)

    def _handle(self, connection: _Connection, asked_ns: int) -> None:
        """Handle the request in the buffer, if it is complete."""
        try:
            request, connection.buffer = first_request(connection.buffer)
        except ValueError:
            self._respond(connection, document({"error": "malformed request"}, 400, close=True), close=True)
            return
        if request is None:
            return
        if request.wanted is not None:
            self._begin(connection, request.wanted, asked_ns)
            return
        state: dict[str, object] = {"plan": asdict(self.plan), "streams": self._number}
        content = DOCUMENTS.get(request.path, state if request.path == "/reference" else None)
        status = 404 if content is None else 200
        response = document(content or {"error": "not found"}, status, request.close)
        self._respond(connection, response, request.close)

    def _begin(self, connection: _Connection, wanted: StreamRequest, asked_ns: int) -> None:
        number, self._number = self._number, self._number + 1
        parts, sent = composed_reply(self.plan, wanted, number, asked_ns, epoch_ns=self._epoch_ns, queue=self._queue)
        connection.busy = True
        stream = _Stream(connection, parts, sent, wanted.close or sent.fault == "cut")
        heapq.heappush(self._heap, (sent.due_ns[0], number, stream))

    def _respond(self, connection: _Connection, response: bytes, close: bool) -> None:
        try:
            connection.send(response)
        except OSError:
            close = True
        if close:
            self._close(connection)
        elif connection.buffer:
            self._handle(connection, time.perf_counter_ns())
