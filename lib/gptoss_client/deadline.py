"""Limit the time of a request by the time in which this process ran: its own sleep is not the server's delay."""

import asyncio
from types import TracebackType

SLEPT_S = 0.5  # a timer that is handled so much too late was held up by a process that did not run
# A loop that was suspended may handle its timers before its sockets; uvloop needs an iteration more than asyncio.
POLLS = 3


async def sockets_polled() -> None:
    """Let the loop read what already lies in its sockets: call this before a timeout is decided."""
    for _ in range(POLLS):
        await asyncio.sleep(0)


class Deadline:
    """An async context manager as `asyncio.timeout`, which grants again the time by which its timer was late.

    A process that was suspended finds its timers due and the data of its servers unread: without the grant it would
    call a timeout what had arrived in time. In any case the sockets are read once more before the time is over.
    None: no limit. Raises TimeoutError.
    """

    __slots__ = ("_limit", "_loop", "_polls_left", "_timer", "_when")

    def __init__(self, limit_s: float | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._limit = asyncio.timeout(None)
        self._polls_left = POLLS
        self._timer: asyncio.Handle | None = None
        if limit_s is not None:
            self._when = self._loop.time() + limit_s
            self._timer = self._loop.call_at(self._when, self._due)

    async def __aenter__(self) -> None:
        await self._limit.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        await self._limit.__aexit__(kind, error, tb)

    def _due(self) -> None:
        now = self._loop.time()
        late_s = now - self._when
        if late_s > SLEPT_S:
            self._when, self._polls_left = now + late_s, POLLS
            self._timer = self._loop.call_at(self._when, self._due)
        elif self._polls_left:
            self._polls_left -= 1
            self._timer = self._loop.call_soon(self._due)
        else:
            self._limit.reschedule(now)
