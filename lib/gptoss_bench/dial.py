"""From an origin to an open connection: its addresses one after the other, and the stamps asked for."""

import asyncio
import socket
from typing import Any

import httpx

from gptoss_bench.connection import Connection, Origin, PlainConnection, ProtocolConnection
from gptoss_bench.stamping import ask_for_stamps


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
                ask_for_stamps(sock)
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
