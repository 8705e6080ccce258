"""A timer that polls an idle client, so that it knows since when its sockets were empty."""

import time

from gptoss_client.timerfd import Timer

HEARTBEAT_NS = 5_000_000

Beat = tuple[int, int]  # when it was due and how much later it was handled, in ns


class Heartbeat:
    """A descriptor that is readable each HEARTBEAT_NS while the timer runs; `due_ns` is the first beat not taken.

    Raises NotImplementedError where the system has no timerfd.
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
