"""One open connection: a request goes out, and each read of its response is stamped and kept."""
# MERGED: From an origin to an open connection: its addresses one after the other, and the stamps asked for.

import asyncio
import os
import socket
import ssl
import time
from dataclasses import dataclass
from typing import Any

import httpx

from gptoss_client.event_loop import SocketPoller, WakeUpQueue
from gptoss_client.http1 import Response, Timeouts
from gptoss_client.timestamps import ANCILLARY_BYTES, request_timestamps

_BUFFER = memoryview(bytearray(256 * 1024))  # one for all: what is read is taken out of it before anyone reads again
_BUFFERS = [_BUFFER]
EARLY_PARTS = 2  # of a body: a chunk that tells the role only, and the first token
_let_others_run = getattr(os, "sched_yield", lambda: None)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a connection leads; `tls` is None for http."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None


class Connection:
    """One request at a time. `source` says what the stamps of its reads are; a closed one stays closed."""

    source = "data_received"

    def __init__(self, origin: Origin) -> None:
        """The subclasses hold the socket."""
        self.origin = origin
        self.closed = False
        self._loop = asyncio.get_running_loop()
        self._turns = WakeUpQueue.here()
        self._response: Response | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._sent_ns = 0

    def start(self, payload: bytes, response: Response) -> int:
        """Send; what comes goes into `response`. Returns the moment before the first byte was written (ns)."""
        self._response = response
        self._sent_ns = self._send(payload)
        return self._sent_ns

    async def wait(self, response: Response, waits: Timeouts, *, head: bool) -> None:
        """Until the head of the response came, or its end. Raises its failure, and httpx.ReadTimeout."""
        while not (response.complete or response.failure or (head and response.has_head)):
            left_s = waits.left_s(response, self._sent_ns)
            if left_s is not None and left_s <= 0:
                what = "nothing came" if response.parts else "no first token came"
                raise httpx.ReadTimeout(f"{what} for {waits.idle_s if response.parts else waits.first_s:g} s")
            waiter = self._waiter = self._loop.create_future()
            try:
                async with asyncio.timeout(left_s):
                    await waiter
            except TimeoutError:
                pass  # whether the wait is over is seen above: something may have come meanwhile
            finally:
                self._waiter = None
        if response.failure is not None and not (head and response.has_head):
            raise response.failure

    def finish(self, response: Response) -> bool:
        """Let go of a response, whole or not. Returns whether another request may follow; else it is closed now."""
        self._response = None
        response.release()
        if not (response.complete and response.reusable and self._all_sent()):
            self.close()
        return not self.closed

    def close(self) -> None:
        """Close at once; twice does no harm."""
        if not self.closed:
            self.closed = True
            self._shut()

    def _received(self, timestamp: bytes | None, read_ns: int, data: bytes | memoryview) -> None:
        if self._response is None:
            self.close()  # bytes that nobody asked for
        elif self._response.feed(timestamp, read_ns, data):
            self._wake()

    def _lost(self, error: Exception | None) -> None:
        self.close()
        if self._response is not None:
            self._response.end(error)
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None:
            self._turns.queue(self._waiter)
            self._waiter = None  # woken once

    def _send(self, payload: bytes) -> int:
        raise NotImplementedError

    def _all_sent(self) -> bool:
        raise NotImplementedError

    def _shut(self) -> None:
        raise NotImplementedError


class PlainConnection(Connection):
    """A socket that the loop watches: each read has the kernel's receive stamp where there is one (Linux)."""

    source = "kernel"

    def __init__(self, origin: Origin, sock: socket.socket) -> None:
        """Over a connected socket. Raises NotImplementedError where the loop watches none."""
        super().__init__(origin)
        self._sock = sock
        self._read = sock.recvmsg_into
        self._rest = b""
        self._watch = SocketPoller.here()
        self._watch.add(sock, self._readable)
        self._first = False  # whether this is among those that are read first

    def _readable(self) -> None:
        try:
            size, ancillary, _, _ = self._read(_BUFFERS, ANCILLARY_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lost(error)
            return
        read_ns = time.perf_counter_ns()
        if size:
            self._received(ancillary[0][2] if ancillary else None, read_ns, _BUFFER[:size])
            if self._first and self._response and len(self._response.parts) >= EARLY_PARTS and not self.closed:
                self._hurry(False)
        else:
            self._lost(None)

    def _send(self, payload: bytes) -> int:
        self._hurry(True)
        sent_ns = time.perf_counter_ns()
        self._rest = self._sent(payload)
        _let_others_run()  # a server on this machine may have been woken on this core, and would wait for its turn
        if self._rest:
            self._loop.add_writer(self._sock, self._writable)
        return sent_ns

    def _hurry(self, first: bool) -> None:
        if self._first != first:
            self._first = first
            self._watch.put(self._sock, first=first)

    def _sent(self, data: bytes) -> bytes:
        """What the socket did not take."""
        try:
            return data[self._sock.send(data) :]
        except (BlockingIOError, InterruptedError):
            return data
        except OSError:
            return b""  # reading tells why, and an answer that came before is not lost

    def _writable(self) -> None:
        self._rest = self._sent(self._rest)
        if not self._rest:
            self._loop.remove_writer(self._sock)

    def _all_sent(self) -> bool:
        return not self._rest

    def _shut(self) -> None:
        self._watch.remove(self._sock, first=self._first)
        self._loop.remove_writer(self._sock)
        self._sock.close()


class ProtocolConnection(asyncio.Protocol, Connection):
    """What TLS goes through, and a loop that watches no sockets."""

    _transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Open."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Stamp first of all."""
        read_ns = time.perf_counter_ns()
        self._received(None, read_ns, data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Ended, by either side."""
        self._lost(exc)

    def _send(self, payload: bytes) -> int:
        sent_ns = time.perf_counter_ns()
        self._transport.write(payload)
        return sent_ns

    def _all_sent(self) -> bool:
        return self._transport.get_write_buffer_size() == 0

    def _shut(self) -> None:
        self._transport.abort()


async def open_connection(origin: Origin, timeout_s: float | None) -> Connection:
    """Connect to the first address that answers. Raises httpx.ConnectError and httpx.ConnectTimeout."""
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
    raise httpx.ConnectError(str(failure)) from failure


async def _addresses(origin: Origin) -> list[Any]:
    """A number is no question for a name server, and for none of its threads."""
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
                request_timestamps(sock)
                return PlainConnection(origin, sock)
            except (NotImplementedError, AttributeError):
                pass  # no loop that watches sockets, or no recvmsg
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
