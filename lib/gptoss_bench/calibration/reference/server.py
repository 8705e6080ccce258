"""A paced server that knows when each of its tokens left: one loop, raw sockets, a heap of what is due.

It stamps CLOCK_MONOTONIC immediately before and after each send() and keeps the stamps in memory; nothing else
happens between a due time and its bytes. The reply was made when the request came.
"""

import contextlib
import gc
import heapq
import select
import selectors
import signal
import socket
import time
from collections import deque
from dataclasses import asdict

from gptoss_bench.calibration.reference.plan import ReferencePlan
from gptoss_bench.calibration.reference.requests import ABOUT, arrival_ns, exact_timer, first_request
from gptoss_bench.calibration.reference.stream import SentStream, StreamRequest, composed_reply, document
from gptoss_client import TIMESTAMP_ANCILLARY_BYTES, enable_kernel_timestamps

LOOPBACK = "127.0.0.1"
AT_A_TIME = 16  # due writes sent before the sockets are looked at again
_READ_BYTES = 65536


class _Connection:
    """One client: what it sent and was not read yet, and the stream that it is being sent."""

    __slots__ = ("buffer", "busy", "close", "send", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.send = sock.send
        self.buffer = b""
        self.busy = False
        self.close = False


class _Stream:
    """One reply under way: its writes, when each is due, and the stamps of those that went out."""

    __slots__ = ("at", "connection", "due_ns", "end", "parts", "sent")

    def __init__(self, connection: _Connection, parts: list[bytes], sent: SentStream, end: bool) -> None:
        self.connection = connection
        self.parts = parts
        self.due_ns = sent.due_ns
        self.sent = sent
        self.at = 0
        self.end = end  # the connection, when all is sent


class ReferenceServer:
    """Listens from the start on; `serve` runs until `stop`, or a signal, and `streams` holds what was sent."""

    def __init__(self, plan: ReferencePlan, port: int = 0) -> None:
        """Listen on 127.0.0.1. Raises OSError where the port is taken."""
        self.plan = plan
        self.streams: list[SentStream] = []
        self._selector = selectors.DefaultSelector()
        self._heap: list[tuple[int, int, _Stream]] = []
        self._accept_ns: deque[int] = deque()
        self._number = 0
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
        """Make `serve` return; may be called from a signal handler."""
        self._running = False
        with contextlib.suppress(OSError):
            self._waker.send(b"\0")

    def serve(self) -> None:
        """Serve until `stop`. The garbage collector rests, and on Linux the timer does not round."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _received, _frame: self.stop())
        exact_timer()
        gc.collect()
        gc.freeze()
        gc.disable()
        try:
            while self._running:
                self._send_due()
                # select() takes microseconds where epoll takes milliseconds, and it can wait for an epoll.
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
        for _ in range(AT_A_TIME):
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
                self._ended(stream, hang_up=True)
                continue
            after = clock()
            if taken < len(part):  # the rest goes out when the client has read, and is stamped then
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
                self._ended(stream, hang_up=stream.end)

    def _ended(self, stream: _Stream, *, hang_up: bool) -> None:
        self.streams.append(stream.sent)
        connection = stream.connection
        connection.busy = False
        if hang_up:
            self._hang_up(connection)
        elif connection.buffer:
            self._take(connection, time.perf_counter_ns())

    def _hang_up(self, connection: _Connection) -> None:
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
                self._unblock(key.data, mask)
            else:
                self._read(key.data)
            self._send_due()  # a crowd of requests does not hold up those who came before

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._selector.register(sock, selectors.EVENT_READ, _Connection(sock))

    def _unblock(self, stream: _Stream, mask: int) -> None:
        if mask & selectors.EVENT_WRITE:
            self._selector.modify(stream.connection.sock, selectors.EVENT_READ, stream.connection)
            heapq.heappush(self._heap, (stream.due_ns[stream.at], stream.sent.number, stream))
            return
        self._read(stream.connection)
        if stream.connection.sock.fileno() < 0:
            self._ended(stream, hang_up=False)

    def _read(self, connection: _Connection) -> None:
        try:
            data, ancillary, _, _ = connection.sock.recvmsg(_READ_BYTES, TIMESTAMP_ANCILLARY_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data, ancillary = b"", []
        if not data:  # a stream under way finds out when it sends
            self._hang_up(connection)
            return
        connection.buffer += data
        if not connection.busy:
            self._take(connection, arrival_ns(ancillary))

    def _take(self, connection: _Connection, asked_ns: int) -> None:
        """Answer the request that the buffer holds, if it is whole."""
        try:
            request, connection.buffer = first_request(connection.buffer)
        except ValueError:
            self._answer(connection, document({"error": "this is no request"}, 400, close=True), close=True)
            return
        if request is None:
            return
        if request.wanted is not None:
            self._begin(connection, request.wanted, asked_ns)
            return
        state: dict[str, object] = {"plan": asdict(self.plan), "streams": self._number}
        content = ABOUT.get(request.path, state if request.path == "/reference" else None)
        status = 404 if content is None else 200
        response = document(content or {"error": "nothing is here"}, status, request.close)
        self._answer(connection, response, request.close)

    def _begin(self, connection: _Connection, wanted: StreamRequest, asked_ns: int) -> None:
        number, self._number = self._number, self._number + 1
        parts, sent = composed_reply(self.plan, wanted, number, asked_ns, self._epoch_ns)
        connection.busy = True
        stream = _Stream(connection, parts, sent, wanted.close or sent.fault == "cut")
        heapq.heappush(self._heap, (sent.due_ns[0], number, stream))

    def _answer(self, connection: _Connection, response: bytes, close: bool) -> None:
        try:
            connection.send(response)
        except OSError:
            close = True
        if close:
            self._hang_up(connection)
        elif connection.buffer:
            self._take(connection, time.perf_counter_ns())
