"""How a socket gets the kernel's receive stamps: Linux, no privilege needed."""

import socket
import sys
from functools import cache

SO_TIMESTAMPNS = 35  # asm-generic/socket.h; Python does not name it
ANCILLARY_BYTES = socket.CMSG_SPACE(16) if hasattr(socket, "CMSG_SPACE") else 0  # one struct timespec


def ask_for_stamps(sock: socket.socket) -> None:
    """Have each read of this socket carry a stamp; elsewhere than on Linux nothing happens."""
    if sys.platform == "linux":
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)


@cache
def keep_stamping() -> socket.socket:
    """Hold one socket that wants stamps for as long as the process lives.

    The kernel begins to stamp arrivals some time after the first socket asks for it, and ends with the last one.
    """
    sock = socket.socket()
    ask_for_stamps(sock)
    return sock
