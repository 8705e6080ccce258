"""Kernel receive timestamps of a socket, and the offset that converts them to the monotonic clock.

The kernel timestamps arrivals on CLOCK_REALTIME; this needs Linux and no privilege. `WallClock` measures the offset of
that clock to `time.perf_counter_ns` and detects when it is set.
"""

import contextlib
import os
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterable
from functools import cache

NS_PER_S = 1e9
SO_TIMESTAMPNS = 35  # asm-generic/socket.h; not defined in Python's socket module
TIMESPEC = struct.Struct("@qq")  # seconds, nanoseconds
NO_KERNEL_TIMESTAMPS_VARIABLE = "GPTOSS_NO_KERNEL_TIMESTAMPS"  # set: as on a system without them, for tests
TIMESTAMP_ANCILLARY_BYTES = socket.CMSG_SPACE(TIMESPEC.size) if hasattr(socket, "CMSG_SPACE") else 0

OFFSET_READINGS = 5
STEP_NS = 50_000  # NTP slews both clocks alike: a larger change of the offset means that the wall clock was set


def enable_kernel_timestamps(sock: socket.socket) -> None:
    """Request a kernel timestamp with each read of this socket; do nothing where the system has none."""
    if sys.platform == "linux" and NO_KERNEL_TIMESTAMPS_VARIABLE not in os.environ:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)


def kernel_timestamp_ns(ancillary: Iterable[tuple[int, int, bytes]]) -> int | None:
    """Return the kernel timestamp (ns on CLOCK_REALTIME) in the ancillary data of `recvmsg`, None if there is none."""
    for level, kind, data in ancillary:
        if (level, kind, len(data)) == (socket.SOL_SOCKET, SO_TIMESTAMPNS, TIMESPEC.size):
            seconds, nanoseconds = TIMESPEC.unpack(data)
            return int(seconds) * 10**9 + int(nanoseconds)
    return None


@cache
def keep_kernel_timestamps_on() -> socket.socket:
    """Return one socket with timestamps enabled that stays open until the process ends.

    The kernel starts to timestamp arrivals some time after the first socket requests it, and stops after the last one
    has closed.
    """
    sock = socket.socket()
    enable_kernel_timestamps(sock)
    return sock


class WallClock:
    """The offset of CLOCK_REALTIME to `time.perf_counter_ns`: subtract `offset_ns` from a kernel timestamp.

    `offset_ns` is accurate to about 0.1 µs at the last `remeasure`. `steps` counts how often the clock was found to
    have been set, `stepped_ns` (monotonic) is when this was last noticed. The kernel timestamps of a request that was
    in flight at that time are not usable: they may be from before or after the step.
    """

    def __init__(
        self, wall: Callable[[], int] = time.time_ns, monotonic: Callable[[], int] = time.perf_counter_ns
    ) -> None:
        """Measure the offset. The clocks are arguments so that tests can step them."""
        self._wall, self._monotonic = wall, monotonic
        self.steps = 0
        self.stepped_ns = 0
        self.offset_ns = self._best_reading()[1]

    def remeasure(self) -> None:
        """Measure the offset again; ignore a reading that was interrupted for longer than STEP_NS."""
        width_ns, offset_ns = self._best_reading()
        if width_ns > STEP_NS:
            return
        if abs(offset_ns - self.offset_ns) > STEP_NS:
            self.steps += 1
            self.stepped_ns = self._monotonic()
        self.offset_ns = offset_ns

    def _best_reading(self) -> tuple[int, int]:
        """Return (width, offset) of the reading whose two monotonic times are closest together."""
        return min(self._reading() for _ in range(OFFSET_READINGS))

    def _reading(self) -> tuple[int, int]:
        before_ns = self._monotonic()
        wall_ns = self._wall()
        width_ns = self._monotonic() - before_ns
        return width_ns, wall_ns - before_ns - width_ns // 2


WALL_CLOCK = WallClock()
