"""httpcore's network on plain sockets whose reads carry the kernel's receive stamp (Linux, http:// only)."""

import asyncio
import select
import socket
import struct
import sys
import time
from collections.abc import Iterable
from functools import cache
from typing import Any

import httpcore

from gptoss_bench.clock import monotonic_offset_ns

SO_TIMESTAMPNS = 35  # Linux, asm-generic/socket.h; Python does not name it
TIMESPEC = struct.Struct("@qq")
ANCILLARY_BYTES = socket.CMSG_SPACE(TIMESPEC.size)
LONGEST_LAG_NS = 60 * 10**9  # beyond that, or before zero, the wall clock was stepped and the stamp says nothing

AVAILABLE = sys.platform == "linux"


class LastRead:
    """When the latest bytes arrived and when they were read, ns on CLOCK_MONOTONIC; one for each connection's owner."""

    __slots__ = ("arrival_ns", "kernel", "offset_ns", "read_ns")

    def __init__(self) -> None:
        """Nothing was read yet."""
        self.arrival_ns = self.read_ns = 0
        self.kernel = True  # False once a read of this request came without a usable stamp
        self.offset_ns = monotonic_offset_ns()

    def begin(self) -> None:
        """A request starts: take the offset between the clocks anew."""
        self.kernel = True
        self.offset_ns = monotonic_offset_ns()

    def note(self, ancillary: list[tuple[int, int, bytes]]) -> None:
        """Keep the stamp of a read that has just returned; its own time where the kernel gave none."""
        self.read_ns = time.perf_counter_ns()
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS and len(data) >= TIMESPEC.size:
                seconds, nanoseconds = TIMESPEC.unpack_from(data)
                self.arrival_ns = seconds * 10**9 + nanoseconds + self.offset_ns
                if 0 <= self.read_ns - self.arrival_ns < LONGEST_LAG_NS:
                    return
        self.arrival_ns, self.kernel = self.read_ns, False


@cache
def keep_stamping() -> socket.socket:
    """Hold one socket that wants stamps for as long as the process lives.

    The kernel begins to stamp arrivals some time after the first socket asks for it, and ends with the last one.
    """
    return _stamped(socket.socket())


def _stamped(sock: socket.socket) -> socket.socket:
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    return sock


class StampedBackend(httpcore.AsyncNetworkBackend):
    """Opens connections whose reads are noted in one `LastRead`."""

    def __init__(self, last_read: LastRead) -> None:
        """Every connection of this backend notes its reads in `last_read`: use it for one request at a time."""
        self._last_read = last_read
        keep_stamping()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address that answers. Raises httpcore.ConnectError and ConnectTimeout."""
        loop = asyncio.get_running_loop()
        failure: OSError | None = None
        try:
            async with asyncio.timeout(timeout):
                for family, kind, proto, _, address in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
                    sock = socket.socket(family, kind, proto)
                    try:
                        sock.setblocking(False)
                        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                        await loop.sock_connect(_stamped(sock), address)
                    except BaseException as error:
                        sock.close()
                        if not isinstance(error, OSError):
                            raise
                        failure = error
                    else:
                        return _StampedSocket(sock, self._last_read)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(f"no connection within {timeout:g} s") from error
        except OSError as error:
            failure = error
        raise httpcore.ConnectError(str(failure)) from failure

    async def sleep(self, seconds: float) -> None:
        """What httpcore waits with between its own retries."""
        await asyncio.sleep(seconds)


def _set(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


class _StampedSocket(httpcore.AsyncNetworkStream):
    def __init__(self, sock: socket.socket, last_read: LastRead) -> None:
        self._sock = sock
        self._last_read = last_read

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            async with asyncio.timeout(timeout):
                while True:
                    try:
                        data, ancillary, _, _ = self._sock.recvmsg(max_bytes, ANCILLARY_BYTES)
                    except BlockingIOError:
                        await self._readable()
                    else:
                        self._last_read.note(ancillary)
                        return data
        except TimeoutError as error:
            raise httpcore.ReadTimeout(f"nothing came within {timeout:g} s") from error
        except OSError as error:
            raise httpcore.ReadError(str(error)) from error

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        ready = loop.create_future()
        loop.add_reader(self._sock.fileno(), _set, ready)
        try:
            await ready
        finally:
            loop.remove_reader(self._sock.fileno())

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        try:
            async with asyncio.timeout(timeout):
                await asyncio.get_running_loop().sock_sendall(self._sock, buffer)
        except TimeoutError as error:
            raise httpcore.WriteTimeout(f"nothing could be sent within {timeout:g} s") from error
        except OSError as error:
            raise httpcore.WriteError(str(error)) from error

    async def aclose(self) -> None:
        self._sock.close()

    def get_extra_info(self, info: str) -> Any:
        """What httpcore asks: an idle connection that can be read was closed by the server."""
        if info == "is_readable":
            poll = select.poll()
            poll.register(self._sock.fileno(), select.POLLIN)
            return bool(poll.poll(0))
        return self._sock if info == "socket" else None
