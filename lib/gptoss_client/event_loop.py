"""The sockets of a loop behind two descriptors: streams that wait for their first token are read before all others.

Where more arrives than one core can read, every stream has to wait. Two tokens that are then read at once share the
later one's stamp: within a stream that moves one gap, at its beginning it would move the TTFT. A load of many streams
is also read faster so than by a loop that is told of each socket.
"""
# MERGED: Tasks that became ready at once go on one after the other, and the loop reads its sockets in between.
# MERGED: The loop that a load runs on where nothing else runs on it.

import asyncio
import select
import socket
from collections import deque
from collections.abc import Callable
from typing import ClassVar
from weakref import WeakKeyDictionary

AT_ONCE = 32  # so many of the others are read before the first ones are looked at again

Callback = Callable[[], None]


class SocketPoller:
    """Calls back, in its loop, for each socket that can be read or has ended."""

    _of_loops: ClassVar[WeakKeyDictionary[asyncio.AbstractEventLoop, "SocketPoller"]] = WeakKeyDictionary()

    def __init__(self) -> None:
        """Nothing is watched. Raises NotImplementedError on a loop that watches no sockets, or without epoll."""
        if not hasattr(select, "epoll"):
            raise NotImplementedError
        self._loop = asyncio.get_running_loop()
        self._callbacks: dict[int, Callback] = {}
        self._waiting = 0  # how many are read first
        self._first, self._rest = select.epoll(), select.epoll()
        for epoll in (self._first, self._rest):
            self._loop.add_reader(epoll.fileno(), self._read)

    @classmethod
    def here(cls) -> "SocketPoller":
        """That of the running loop."""
        loop = asyncio.get_running_loop()
        if (watch := cls._of_loops.get(loop)) is None:
            watch = cls._of_loops[loop] = cls()
        return watch

    def add(self, sock: socket.socket, callback: Callback) -> None:
        """Watch a socket as one of the rest."""
        self._callbacks[sock.fileno()] = callback
        self._rest.register(sock, select.EPOLLIN)

    def put(self, sock: socket.socket, *, first: bool) -> None:
        """Move a socket that is among the others: to those that are read first, or back."""
        self._waiting += 1 if first else -1
        here, there = (self._first, self._rest) if first else (self._rest, self._first)
        there.unregister(sock)
        here.register(sock, select.EPOLLIN)

    def remove(self, sock: socket.socket, *, first: bool) -> None:
        """Call back no more; has to come before the socket is closed. The last one out closes the descriptors."""
        del self._callbacks[sock.fileno()]
        (self._first if first else self._rest).unregister(sock)
        self._waiting -= first
        if not self._callbacks:
            del self._of_loops[self._loop]
            for epoll in (self._first, self._rest):
                self._loop.remove_reader(epoll.fileno())
                epoll.close()

    def _read(self) -> None:
        if self._waiting:
            self._call(self._first, -1)
        self._call(self._rest, AT_ONCE)

    def _call(self, epoll: select.epoll, most: int) -> None:
        if epoll.closed:
            return
        for descriptor, _ in epoll.poll(0, most):
            if callback := self._callbacks.get(descriptor):  # one callback may close another's socket
                callback()


class WakeUpQueue:
    """Completes futures in their order, one in each round of the loop."""

    _of_loops: ClassVar[WeakKeyDictionary[asyncio.AbstractEventLoop, "WakeUpQueue"]] = WeakKeyDictionary()

    def __init__(self) -> None:
        """Nobody waits."""
        self._waiting: deque[asyncio.Future[None]] = deque()

    @classmethod
    def here(cls) -> "WakeUpQueue":
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


def new_loop() -> asyncio.AbstractEventLoop:
    """A loop in C where there is one: less work for each token."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
