"""Tasks that became ready at once go on one after the other, and the loop reads its sockets in between.

What follows the end of a response (keeping it, sending the next request) takes a fraction of a millisecond. When all
streams of a load end together that would keep everyone else's tokens in the kernel for many times as long, until two of
them are read as one.
"""

import asyncio
from collections import deque
from typing import ClassVar
from weakref import WeakKeyDictionary


class Turns:
    """Completes futures in their order, one in each round of the loop."""

    _of_loops: ClassVar[WeakKeyDictionary[asyncio.AbstractEventLoop, "Turns"]] = WeakKeyDictionary()

    def __init__(self) -> None:
        """Nobody waits."""
        self._waiting: deque[asyncio.Future[None]] = deque()

    @classmethod
    def here(cls) -> "Turns":
        """The turns that all connections and slots on the running loop take."""
        return cls._of_loops.setdefault(asyncio.get_running_loop(), cls())

    def queue(self, waiter: asyncio.Future[None]) -> None:
        """Complete `waiter` when its turn comes; one that was cancelled meanwhile takes none."""
        self._waiting.append(waiter)
        if len(self._waiting) == 1:
            waiter.get_loop().call_soon(self._next)

    async def take(self) -> None:
        """Wait for a turn."""
        waiter = asyncio.get_running_loop().create_future()
        self.queue(waiter)
        await waiter

    def _next(self) -> None:
        while self._waiting:
            waiter = self._waiting[0]
            if not waiter.done():
                waiter.set_result(None)
                # Stay in the queue until the next round: it is not empty, so nobody else starts another.
                waiter.get_loop().call_soon(self._next)
                return
            self._waiting.popleft()
