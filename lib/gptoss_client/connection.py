"""One open connection: sends a request, and records the time and the bytes of each read of its response.

Between systems only the source of the times differs: with epoll a socket of its own, whose reads have the kernel's
timestamps where the system has them, in TLS too; elsewhere asyncio's transport.
"""

import asyncio
import contextlib
import socket
import ssl
import time
from dataclasses import dataclass
from typing import Any, cast

import httpx

from gptoss_client.arrivals import READ_BYTES, ReadSpan
from gptoss_client.deadline import Deadline, sockets_polled
from gptoss_client.event_loop import SocketPoller, WakeUpQueue
from gptoss_client.http1 import BodyTimeouts, Response
from gptoss_client.segments import counts_segments, data_segments, segments_between
from gptoss_client.timerfd import Beat
from gptoss_client.timestamps import TIMESTAMP_ANCILLARY_BYTES, enable_kernel_timestamps
from gptoss_client.tls import connect_reason

_BUFFER = memoryview(bytearray(READ_BYTES))  # shared by all connections: each read is copied out before the next one
_BUFFERS = [_BUFFER]
_PROTOCOL_READ_BYTES = 64 * 1024  # a read of asyncio's transport with more bytes may have left some behind


@dataclass(frozen=True, slots=True)
class Origin:
    """The server that a connection leads to; `tls` is None for http."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None


class Connection:
    """A connection that carries one request at a time; the subclasses hold the socket.

    `timestamp_source` is the kind of timestamp that its reads have. A closed connection is not opened again.
    """

    timestamp_source = "data_received"

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.closed = False
        self._loop = asyncio.get_running_loop()
        self._wake_ups = WakeUpQueue.current()
        self._response: Response | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._sent_ns = 0

    def start(self, payload: bytes, response: Response) -> int:
        """Send a request and parse what arrives into `response`; return the time before the first write (ns)."""
        self._response = response
        self._sent_ns = self._send(payload)
        return self._sent_ns

    async def wait(self, response: Response, timeouts: BodyTimeouts, *, head: bool) -> None:
        """Wait for the head of the response, or for its end. Raises its failure, and httpx.ReadTimeout."""
        polled = False  # whether the sockets were read since the time was over
        while not (response.complete or response.failure or (head and response.has_head)):
            left_s = timeouts.left_s(response, self._sent_ns)
            if left_s is not None and left_s <= 0 and not polled:
                await sockets_polled()
                polled = True
                continue
            polled = False
            if left_s is not None and left_s <= 0:
                begun = timeouts.begun_ns(response) is not None
                what = "no data arrived" if begun else "no first token arrived"
                limit_s = timeouts.idle_s if begun else timeouts.first_s
                raise httpx.ReadTimeout(f"{what} within {limit_s:g} s")
            waiter = self._waiter = self._loop.create_future()
            try:
                async with asyncio.timeout(left_s):
                    await waiter
            except TimeoutError:
                pass  # the loop condition decides: data may have arrived in the meantime
            finally:
                self._waiter = None
        if response.failure is not None and not (head and response.has_head):
            raise response.failure

    def finish(self, response: Response) -> bool:
        """Release a response; return whether the connection may carry another request, otherwise close it."""
        self._response = None
        if not (response.complete or self.closed):
            self._end_span(response)
        response.release()
        if not (response.complete and response.reusable and self._all_sent()):
            self.close()
        return not self.closed

    def take_beats(self) -> list[Beat] | None:
        """Return the heartbeats of the event loop since the last call; None if it has none."""
        return None

    def close(self) -> None:
        """Close immediately; do nothing if it is closed."""
        if not self.closed:
            self.closed = True
            self._close_socket()

    def _received(
        self,
        timestamp: bytes | None,
        read_ns: int,
        data: bytes | memoryview,
        not_before_ns: int,
        size: int,
    ) -> None:
        if self._response is None:
            self.close()  # bytes without a request
        elif self._response.feed(timestamp, read_ns, data, not_before_ns, size):
            if self._response.complete:
                self._end_span(self._response)
            self._wake()

    def _lost(self, error: Exception | None) -> None:
        if self._response is not None and not self.closed:
            self._end_span(self._response)
        self.close()
        if self._response is not None:
            self._response.end(error)
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None:
            self._wake_ups.put(self._waiter)
            self._waiter = None  # a waiter is queued once

    def _end_span(self, response: Response) -> None:
        """Add to a response what is known of the TCP segments of its reads, if anything is."""

    def _send(self, payload: bytes) -> int:
        raise NotImplementedError

    def _all_sent(self) -> bool:
        raise NotImplementedError

    def _close_socket(self) -> None:
        raise NotImplementedError


class SocketConnection(Connection):
    """A connected socket that the poller watches; on Linux each read has the kernel's receive timestamp.

    Raises NotImplementedError if the loop cannot watch sockets.
    """

    timestamp_source = "kernel"

    def __init__(self, origin: Origin, sock: socket.socket, segments: int = 0) -> None:
        """Watch a socket from which exactly `segments` TCP segments were read so far."""
        super().__init__(origin)
        self._sock = sock
        self._read = sock.recvmsg_into
        self._unsent = b""
        self._filled_since_ns = 0  # `not_before_ns` of a read that filled the buffer: it holds for the next one too
        self._counted = segments if counts_segments() else None  # read until the end of the last span of reads
        self._has_filled = False  # whether a read since then filled the buffer
        self._without_data = 0  # reads since then that brought nothing for a response
        self._poller = SocketPoller.current()
        self._poller.add(sock, self._readable)

    def start(self, payload: bytes, response: Response) -> int:
        """Send a request and parse what arrives into `response`; return the time before the first write (ns)."""
        self._poller.begin()
        return super().start(payload, response)

    def finish(self, response: Response) -> bool:
        """Release a response; return whether the connection may carry another request, otherwise close it."""
        self._poller.end()
        return super().finish(response)

    def take_beats(self) -> list[Beat] | None:
        """Return the heartbeats of the event loop since the last call; None if it has none."""
        return self._poller.take_beats()

    def _readable(self) -> None:
        try:
            size, ancillary, _, _ = self._read(_BUFFERS, TIMESTAMP_ANCILLARY_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lost(error)
            return
        read_ns = time.perf_counter_ns()
        if not size:
            self._lost(None)
            return
        poller = self._poller
        not_before_ns = poller.not_before_ns
        if size == READ_BYTES or self._filled_since_ns:
            not_before_ns = self._filled_since_ns or not_before_ns
            self._filled_since_ns = not_before_ns if size == READ_BYTES else 0
            self._has_filled = True
        self._received(ancillary[0][2] if ancillary else None, read_ns, _BUFFER[:size], not_before_ns, size)
        if poller.is_late and self._response is not None and not self.closed:
            self._end_span(self._response)

    def _end_span(self, response: Response) -> None:
        """Compare the growth of the segment count with the number of reads since the last span.

        Each read took one segment or more, so equal numbers mean one each. Within a response the span goes on if a
        segment is left unread, because it may be counted.
        """
        if self._counted is None:
            return
        segments, reads = data_segments(self._sock), len(response.reads)
        count = reads - (response.spans[-1].reads if response.spans else 0) + self._without_data
        if count and (response.complete or self._is_drained()):
            is_one_each = segments_between(self._counted, segments) == count and not self._has_filled
            response.spans.append(ReadSpan(reads, is_one_each))
            self._counted, self._has_filled, self._without_data = segments, False, 0

    def _is_drained(self) -> bool:
        try:
            return not self._sock.recv(1, socket.MSG_PEEK)
        except OSError:  # nothing is there, or the connection is lost
            return True

    def _send(self, payload: bytes) -> int:
        sent_ns = time.perf_counter_ns()
        self._queue(payload)
        return sent_ns

    def _queue(self, data: bytes) -> None:
        self._unsent = self._write(self._unsent + data)
        if self._unsent:
            self._loop.add_writer(self._sock, self._writable)

    def _write(self, data: bytes) -> bytes:
        """Write to the socket; return the bytes that it did not accept."""
        try:
            return data[self._sock.send(data) :]
        except (BlockingIOError, InterruptedError):
            return data
        except OSError:
            return b""  # the next read raises the error, after a response that may have arrived before it

    def _writable(self) -> None:
        self._unsent = self._write(self._unsent)
        if not self._unsent:
            self._loop.remove_writer(self._sock)

    def _all_sent(self) -> bool:
        return not self._unsent

    def _close_socket(self) -> None:
        self._poller.remove(self._sock)
        self._loop.remove_writer(self._sock)
        self._sock.close()


class TlsConnection(SocketConnection):
    """A socket whose TLS is decrypted here, so that the reads of the encrypted bytes have kernel timestamps.

    A record that is complete is decrypted with the read that completes it.
    """

    def __init__(self, origin: Origin, sock: socket.socket, tls: "Tls", segments: int) -> None:
        """Watch a socket whose handshake is done (`Tls.handshake`)."""
        super().__init__(origin, sock, segments)
        self._tls = tls

    def _received(
        self,
        timestamp: bytes | None,
        read_ns: int,
        data: bytes | memoryview,
        not_before_ns: int,
        size: int,
    ) -> None:
        plain, end = self._tls.decrypt(data)
        if plain:
            # Where a TLS record ends within a read is unknown, so its size is not that of the body with its framing.
            super()._received(timestamp, read_ns, plain, not_before_ns, size if size == READ_BYTES else -1)
        else:
            self._without_data += 1
        if end is not None and not self.closed:
            self._lost(None if isinstance(end, ssl.SSLZeroReturnError) else end)
        elif self._tls.outgoing.pending and not self.closed:  # an answer to a key update
            self._queue(self._tls.outgoing.read())

    def _send(self, payload: bytes) -> int:
        return super()._send(self._tls.encrypt(payload))


class Tls:
    """The TLS of one connection, between two buffers of encrypted bytes. Raises ssl.SSLError."""

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=host)

    async def handshake(self, sock: socket.socket) -> int:
        """Do the handshake and return how many TCP segments were read. Raises OSError, of which ssl.SSLError is one."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                await loop.sock_sendall(sock, self.outgoing.read())
                data = await loop.sock_recv(sock, READ_BYTES)
                if not data:
                    raise ConnectionResetError("the server closed the connection in the TLS handshake") from None
                self.incoming.write(data)
            except ssl.SSLError:
                with contextlib.suppress(OSError):
                    sock.send(self.outgoing.read())  # the alert that tells the server
                raise
        await loop.sock_sendall(sock, self.outgoing.read())
        while True:  # until nothing is left unread: then the count is that of what was read
            segments = data_segments(sock) if counts_segments() else 0
            try:
                data = sock.recv(READ_BYTES)
            except (BlockingIOError, InterruptedError):
                return segments
            if not data:  # the next read finds the end again
                return segments
            self.incoming.write(data)

    def encrypt(self, data: bytes) -> bytes:
        """Return the records to send."""
        view = memoryview(data)
        while view:
            view = view[self._tls.write(view) :]
        return self.outgoing.read()

    def decrypt(self, data: bytes | memoryview) -> tuple[bytes, ssl.SSLError | None]:
        """Return what these bytes complete, and the error or the close (ssl.SSLZeroReturnError) behind it."""
        self.incoming.write(data)
        plain = list[bytes]()
        try:
            while some := self._tls.read(READ_BYTES):
                plain.append(some)
        except ssl.SSLWantReadError:
            return b"".join(plain), None
        except ssl.SSLError as error:
            return b"".join(plain), error
        return b"".join(plain), ssl.SSLZeroReturnError()


class ProtocolConnection(asyncio.Protocol, Connection):
    """A connection through asyncio's own transport, for a loop that cannot watch sockets."""

    _transport: asyncio.Transport
    _previous_ns = 0  # time of the previous read, or of the one before the last that may have left bytes behind

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        """Record the read time before any other work."""
        read_ns = time.perf_counter_ns()
        not_before_ns = self._previous_ns
        if len(data) < _PROTOCOL_READ_BYTES:
            self._previous_ns = read_ns
        self._received(None, read_ns, data, not_before_ns, len(data))

    def connection_lost(self, exc: Exception | None) -> None:
        """Handle loss of the connection, closed by either peer."""
        self._lost(exc)

    def _send(self, payload: bytes) -> int:
        sent_ns = time.perf_counter_ns()
        self._transport.write(payload)
        return sent_ns

    def _all_sent(self) -> bool:
        return self._transport.get_write_buffer_size() == 0

    def _close_socket(self) -> None:
        self._transport.abort()


async def open_connection(origin: Origin, timeout_s: float | None) -> Connection:
    """Connect to the first address that accepts. Raises httpx.ConnectError and httpx.ConnectTimeout."""
    failure: OSError | None = None
    try:
        async with Deadline(timeout_s):
            for family, kind, proto, _, address in await _addresses(origin):
                try:
                    return await _connect(origin, socket.socket(family, kind, proto), address)
                except OSError as error:
                    failure = error
    except TimeoutError as error:
        raise httpx.ConnectTimeout(f"no connection within {timeout_s:g} s") from error
    except OSError as error:
        failure = error
    raise httpx.ConnectError(connect_reason(failure) if failure else "the name has no address") from failure


async def _addresses(origin: Origin) -> list[Any]:
    """Resolve the host; a numeric address needs no name server and no thread."""
    try:
        return socket.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        loop = asyncio.get_running_loop()
        return await loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)


async def _connect(origin: Origin, sock: socket.socket, address: Any) -> Connection:
    loop = asyncio.get_running_loop()
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await loop.sock_connect(sock, address)
        if origin.tls is not None:
            origin.tls.set_alpn_protocols(["http/1.1"])
        if SocketPoller.is_available():
            enable_kernel_timestamps(sock)
            if origin.tls is None:
                return SocketConnection(origin, sock)
            tls = Tls(origin.tls, origin.host)
            return TlsConnection(origin, sock, tls, await tls.handshake(sock))
        _, protocol = await loop.create_connection(
            lambda: ProtocolConnection(origin),
            sock=sock,
            ssl=origin.tls,
            server_hostname=origin.host if origin.tls else None,
        )
        return protocol
    except BaseException:
        sock.close()
        raise
