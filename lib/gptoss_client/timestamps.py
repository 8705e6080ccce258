"""The kernel stamps arrivals on the wall clock; this says where that clock stands, and notices when it is stepped."""
# MERGED: How a socket gets the kernel's receive stamps: Linux, no privilege needed.

import socket
import sys
import time
from collections.abc import Callable
from functools import cache

TRIES = 5
STEP_NS = 50_000  # both clocks are slewed alike: what moves them apart by more is a step, or two counters that drift


class WallClock:
    """What to take from a CLOCK_REALTIME stamp (ns) to get one of `time.perf_counter_ns`.

    `offset_ns` is right to about a tenth of a microsecond at the last `retake`. `steps` counts how often it was found
    to have jumped, `stepped_ns` (monotonic) is when that was noticed last: of a request that was sent before then and
    had not ended, the stamps may lie on either side of the jump.
    """

    def __init__(
        self, wall: Callable[[], int] = time.time_ns, monotonic: Callable[[], int] = time.perf_counter_ns
    ) -> None:
        """Take the offset. The clocks are arguments, so that a step can be tried out."""
        self._wall, self._monotonic = wall, monotonic
        self.steps = 0
        self.stepped_ns = 0
        self.offset_ns = self._closest()[1]

    def retake(self) -> None:
        """Take the offset again; a reading that was disturbed for longer than a step is left out."""
        width_ns, offset_ns = self._closest()
        if width_ns > STEP_NS:
            return
        if abs(offset_ns - self.offset_ns) > STEP_NS:
            self.steps += 1
            self.stepped_ns = self._monotonic()
        self.offset_ns = offset_ns

    def _closest(self) -> tuple[int, int]:
        """(width, offset) of that try whose two monotonic readings lie closest around the wall clock's."""
        return min(self._reading() for _ in range(TRIES))

    def _reading(self) -> tuple[int, int]:
        before_ns = self._monotonic()
        wall_ns = self._wall()
        width_ns = self._monotonic() - before_ns
        return width_ns, wall_ns - before_ns - width_ns // 2


WALL = WallClock()

SO_TIMESTAMPNS = 35  # asm-generic/socket.h; Python does not name it
ANCILLARY_BYTES = socket.CMSG_SPACE(16) if hasattr(socket, "CMSG_SPACE") else 0  # one struct timespec


def request_timestamps(sock: socket.socket) -> None:
    """Have each read of this socket carry a stamp; elsewhere than on Linux nothing happens."""
    if sys.platform == "linux":
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)


@cache
def keep_timestamping() -> socket.socket:
    """Hold one socket that wants stamps for as long as the process lives.

    The kernel begins to stamp arrivals some time after the first socket asks for it, and ends with the last one.
    """
    sock = socket.socket()
    request_timestamps(sock)
    return sock
