"""Timers that an epoll instance sees as readable descriptors (Linux timerfd): an alarm, and a heartbeat."""

import ctypes
import os
import time

_ABSOLUTE = 1  # TFD_TIMER_ABSTIME
_NS = 10**9
HEARTBEAT_NS = 5_000_000

Beat = tuple[int, int]  # when it was due and how much later it was handled, in ns


class _Timerspec(ctypes.Structure):
    """struct itimerspec of Linux, 64 bits."""

    _fields_ = [(name, ctypes.c_long) for name in ("every_s", "every_ns", "first_s", "first_ns")]


class Timer:
    """A descriptor that is readable once the timer has expired, until `take`. Its clock is CLOCK_MONOTONIC.

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

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._descriptor

    def every(self, period_ns: int) -> None:
        """Expire periodically, first after one period; 0 stops the timer."""
        self._set(period_ns, period_ns, 0)

    def once_at(self, time_ns: int) -> None:
        """Expire once, at this time of CLOCK_MONOTONIC (above 0); at once if it is past."""
        self._set(time_ns, 0, _ABSOLUTE)

    def take(self) -> int:
        """Return how often the timer has expired since the last call; the descriptor is no longer readable."""
        try:
            return int.from_bytes(os.read(self._descriptor, 8), "little")
        except BlockingIOError:
            return 0

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._descriptor)

    def _set(self, first_ns: int, every_ns: int, flags: int) -> None:
        spec = _Timerspec(*divmod(every_ns, _NS), *divmod(first_ns, _NS))
        if self._libc.timerfd_settime(self._descriptor, flags, ctypes.byref(spec), None):
            raise OSError(ctypes.get_errno(), "timerfd_settime")


class Heartbeat:
    """A descriptor that is readable each HEARTBEAT_NS while it runs; `due_ns` is the first beat not taken.

    It polls an idle client, which then knows since when its sockets were empty.

    Raises NotImplementedError as `Timer`.
    """

    def __init__(self) -> None:
        self._timer = Timer()
        self.running = False
        self.due_ns = 0

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._timer.fileno()

    def start(self) -> None:
        """Start the timer."""
        self.due_ns = time.perf_counter_ns() + HEARTBEAT_NS
        self.running = True
        self._timer.every(HEARTBEAT_NS)

    def stop(self) -> None:
        """Stop the timer."""
        self.running = False
        self._timer.every(0)

    def take(self) -> None:
        """Take all beats that are due: the descriptor is no longer readable."""
        self.due_ns += self._timer.take() * HEARTBEAT_NS

    def close(self) -> None:
        """Close the descriptor."""
        self._timer.close()
