"""Limit the time of a request by the time in which this process ran: its own sleep is not the server's delay."""

import asyncio
from types import TracebackType

SLEPT_S = 0.5  # a timer that is handled so much too late was held up by a process that did not run


class Deadline:
    """An async context manager as `asyncio.timeout`, which grants again the time by which its timer was late.

    A process that was suspended finds its timers due and the data of its servers unread: without the grant it would
    call a timeout what had arrived in time. Raises TimeoutError.
    """

    __slots__ = ("_limit", "_loop", "_timer", "_when")

    def __init__(self, limit_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._limit = asyncio.timeout(None)
        self._when = self._loop.time() + limit_s
        self._timer = self._loop.call_at(self._when, self._due)

    async def __aenter__(self) -> None:
        await self._limit.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._timer.cancel()
        await self._limit.__aexit__(kind, error, tb)

    def _due(self) -> None:
        now = self._loop.time()
        late_s = now - self._when
        if late_s <= SLEPT_S:
            self._limit.reschedule(now)
        else:
            self._when = now + late_s
            self._timer = self._loop.call_at(self._when, self._due)
