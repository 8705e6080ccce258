"""The event loop of a load: all sockets behind one epoll instance, and one task woken per iteration.

With many streams one epoll instance is faster than one registration per socket in the loop's own selector.
"""

import asyncio
import select
import socket
from collections import deque
from collections.abc import Callable
from typing import ClassVar
from weakref import WeakKeyDictionary

Callback = Callable[[], None]


class SocketPoller:
    """Call back, in its loop, for each socket that is readable or closed.

    Raises NotImplementedError without epoll, or on a loop that cannot watch sockets.
    """

    _by_loop: ClassVar[WeakKeyDictionary[asyncio.AbstractEventLoop, "SocketPoller"]] = WeakKeyDictionary()

    def __init__(self) -> None:
        if not hasattr(select, "epoll"):
            raise NotImplementedError
        self._loop = asyncio.get_running_loop()
        self._callbacks: dict[int, Callback] = {}
        self._epoll = select.epoll()
        self._loop.add_reader(self._epoll.fileno(), self._read)

    @classmethod
    def current(cls) -> "SocketPoller":
        """Return the poller of the running loop."""
        loop = asyncio.get_running_loop()
        if (poller := cls._by_loop.get(loop)) is None:
            poller = cls._by_loop[loop] = cls()
        return poller

    def add(self, sock: socket.socket, callback: Callback) -> None:
        """Watch a socket."""
        self._callbacks[sock.fileno()] = callback
        self._epoll.register(sock, select.EPOLLIN)

    def remove(self, sock: socket.socket) -> None:
        """Stop watching a socket; call this before it is closed. Closes the epoll instance after the last socket."""
        del self._callbacks[sock.fileno()]
        self._epoll.unregister(sock)
        if not self._callbacks:
            del self._by_loop[self._loop]
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()

    def _read(self) -> None:
        for descriptor, _ in self._epoll.poll(0):
            if callback := self._callbacks.get(descriptor):  # an earlier callback may have removed this socket
                callback()


class WakeUpQueue:
    """Complete futures in order, one per iteration of the loop, so that sockets are polled in between."""

    _by_loop: ClassVar[WeakKeyDictionary[asyncio.AbstractEventLoop, "WakeUpQueue"]] = WeakKeyDictionary()

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()

    @classmethod
    def current(cls) -> "WakeUpQueue":
        """Return the queue that all connections and slots of the running loop share."""
        return cls._by_loop.setdefault(asyncio.get_running_loop(), cls())

    def put(self, waiter: asyncio.Future[None]) -> None:
        """Complete `waiter` in its turn; a cancelled one is skipped."""
        self._waiting.append(waiter)
        if len(self._waiting) == 1:
            waiter.get_loop().call_soon(self._next)

    async def wait(self) -> None:
        """Wait until it is this task's turn."""
        waiter = asyncio.get_running_loop().create_future()
        self.put(waiter)
        await waiter

    def _next(self) -> None:
        while self._waiting:
            waiter = self._waiting[0]
            if not waiter.done():
                waiter.set_result(None)
                # Keep it in the queue until the next iteration: while the queue is not empty, `put` schedules nothing.
                waiter.get_loop().call_soon(self._next)
                return
            self._waiting.popleft()


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return a new uvloop, which needs less CPU time per token, or an asyncio loop if uvloop is not installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
