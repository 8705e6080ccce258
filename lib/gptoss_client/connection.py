"""One open connection: sends a request, and records the time and the bytes of each read of its response."""

import asyncio
import os
import socket
import ssl
import time
from dataclasses import dataclass
from typing import Any

import httpx

from gptoss_client.event_loop import SocketPoller, WakeUpQueue
from gptoss_client.http1 import BodyTimeouts, Response
from gptoss_client.timestamps import TIMESTAMP_ANCILLARY_BYTES, enable_kernel_timestamps
from gptoss_client.tls import connect_reason

_BUFFER = memoryview(bytearray(256 * 1024))  # shared by all connections: each read is copied out before the next one
_BUFFERS = [_BUFFER]
_yield_cpu = getattr(os, "sched_yield", lambda: None)


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
        while not (response.complete or response.failure or (head and response.has_head)):
            left_s = timeouts.left_s(response, self._sent_ns)
            if left_s is not None and left_s <= 0:
                what = "no data arrived" if response.parts else "no first token arrived"
                limit_s = timeouts.idle_s if response.parts else timeouts.first_s
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
        response.release()
        if not (response.complete and response.reusable and self._all_sent()):
            self.close()
        return not self.closed

    def close(self) -> None:
        """Close immediately; do nothing if it is closed."""
        if not self.closed:
            self.closed = True
            self._close_socket()

    def _received(self, timestamp: bytes | None, read_ns: int, data: bytes | memoryview) -> None:
        if self._response is None:
            self.close()  # bytes without a request
        elif self._response.feed(timestamp, read_ns, data):
            self._wake()

    def _lost(self, error: Exception | None) -> None:
        self.close()
        if self._response is not None:
            self._response.end(error)
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None:
            self._wake_ups.put(self._waiter)
            self._waiter = None  # a waiter is queued once

    def _send(self, payload: bytes) -> int:
        raise NotImplementedError

    def _all_sent(self) -> bool:
        raise NotImplementedError

    def _close_socket(self) -> None:
        raise NotImplementedError


class PlainConnection(Connection):
    """A connected socket that the poller watches; on Linux each read has the kernel's receive timestamp.

    Raises NotImplementedError if the loop cannot watch sockets.
    """

    timestamp_source = "kernel"

    def __init__(self, origin: Origin, sock: socket.socket) -> None:
        super().__init__(origin)
        self._sock = sock
        self._read = sock.recvmsg_into
        self._unsent = b""
        self._poller = SocketPoller.current()
        self._poller.add(sock, self._readable)

    def _readable(self) -> None:
        try:
            size, ancillary, _, _ = self._read(_BUFFERS, TIMESTAMP_ANCILLARY_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lost(error)
            return
        read_ns = time.perf_counter_ns()
        if size:
            self._received(ancillary[0][2] if ancillary else None, read_ns, _BUFFER[:size])
        else:
            self._lost(None)

    def _send(self, payload: bytes) -> int:
        sent_ns = time.perf_counter_ns()
        self._unsent = self._write(payload)
        _yield_cpu()  # a server on this machine may have been woken on this core and wait for it
        if self._unsent:
            self._loop.add_writer(self._sock, self._writable)
        return sent_ns

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


class ProtocolConnection(asyncio.Protocol, Connection):
    """A connection through asyncio's own transport: TLS, or a loop that cannot watch sockets."""

    _transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Record the read time before any other work."""
        read_ns = time.perf_counter_ns()
        self._received(None, read_ns, data)

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
        async with asyncio.timeout(timeout_s):
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
        if origin.tls is None:
            try:
                enable_kernel_timestamps(sock)
                return PlainConnection(origin, sock)
            except (NotImplementedError, AttributeError):
                pass  # the loop cannot watch sockets, or the system has no recvmsg
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
