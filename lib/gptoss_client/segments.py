"""Count the TCP segments that brought data to a socket (Linux: `tcpi_data_segs_in` of TCP_INFO)."""

import contextlib
import socket
import struct
from functools import cache

_OFFSET = 152  # of tcpi_data_segs_in in struct tcp_info, Linux 4.6 and later
_COUNT = struct.Struct("=I")
_MODULUS = 2**32


def data_segments(sock: socket.socket) -> int:
    """Return how many segments with data have arrived, modulo 2**32. Only where `counts_segments` is true."""
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _OFFSET + _COUNT.size)
    return int(_COUNT.unpack_from(info, _OFFSET)[0])


def segments_between(before: int, after: int) -> int:
    """Return the growth of a count."""
    return (after - before) % _MODULUS


@cache
def counts_segments() -> bool:
    """Return whether this system counts segments at _OFFSET: tried once, with a loopback connection."""
    counts = []
    with contextlib.ExitStack() as stack:
        try:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            sender = stack.enter_context(socket.create_connection(listener.getsockname(), timeout=1))
            receiver = stack.enter_context(listener.accept()[0])
            receiver.settimeout(1)
            counts.append(data_segments(receiver))
            for size in (1, 2, 3):
                sender.send(bytes(size))
                receiver.recv(size)
                counts.append(data_segments(receiver))
        except (OSError, AttributeError, struct.error):
            return False
    return counts == [0, 1, 2, 3]
