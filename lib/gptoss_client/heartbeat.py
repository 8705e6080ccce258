"""A timer that the event loop sees as one more readable descriptor (Linux timerfd)."""

import ctypes
import os
import time

HEARTBEAT_NS = 5_000_000

Beat = tuple[int, int]  # when it was due and how much later it was handled, in ns


class _Timerspec(ctypes.Structure):
    """struct itimerspec of Linux, 64 bits."""

    _fields_ = [(name, ctypes.c_long) for name in ("every_s", "every_ns", "first_s", "first_ns")]


class Heartbeat:
    """A descriptor that is readable each HEARTBEAT_NS while the timer runs; `due_ns` is the first beat not taken.

    Raises NotImplementedError where the system has no timerfd. (Python has it from 3.13 on; libc has it everywhere.)
    """

    def __init__(self) -> None:
        try:
            self._libc = ctypes.CDLL(None, use_errno=True)
            self._descriptor: int = self._libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        except (AttributeError, TypeError, OSError):
            raise NotImplementedError from None
        if self._descriptor < 0:
            raise NotImplementedError
        self.running = False
        self.due_ns = 0

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._descriptor

    def start(self) -> None:
        """Start the timer."""
        self.due_ns = time.perf_counter_ns() + HEARTBEAT_NS
        self._set(HEARTBEAT_NS)

    def stop(self) -> None:
        """Stop the timer."""
        self._set(0)

    def take(self) -> None:
        """Take all beats that are due: the descriptor is no longer readable."""
        try:
            beats = int.from_bytes(os.read(self._descriptor, 8), "little")
        except BlockingIOError:
            return
        self.due_ns += beats * HEARTBEAT_NS

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._descriptor)

    def _set(self, every_ns: int) -> None:
        self.running = every_ns > 0
        spec = _Timerspec(0, every_ns, 0, every_ns)
        if self._libc.timerfd_settime(self._descriptor, 0, ctypes.byref(spec), None):
            raise OSError(ctypes.get_errno(), "timerfd_settime")
