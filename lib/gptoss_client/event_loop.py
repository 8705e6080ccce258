"""The event loop of a load: all sockets behind two epoll instances, and one task woken per iteration.

Connections that wait for a first token are read before all others. When more data arrives than one core can read,
every stream waits, and two tokens that are read together share the timestamp of the later one. Within a stream this
moves one gap; at its beginning it would change the TTFT. With many streams this is also faster than one registration
in the loop's own selector per socket.
"""

import asyncio
import select
import socket
from collections import deque
from collections.abc import Callable
from typing import ClassVar
from weakref import WeakKeyDictionary

READ_BATCH = 32  # connections without priority that are read before those with priority are polled again

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
        self._priority_count = 0
        self._priority, self._others = select.epoll(), select.epoll()
        for epoll in (self._priority, self._others):
            self._loop.add_reader(epoll.fileno(), self._read)

    @classmethod
    def current(cls) -> "SocketPoller":
        """Return the poller of the running loop."""
        loop = asyncio.get_running_loop()
        if (poller := cls._by_loop.get(loop)) is None:
            poller = cls._by_loop[loop] = cls()
        return poller

    def add(self, sock: socket.socket, callback: Callback) -> None:
        """Watch a socket, without priority."""
        self._callbacks[sock.fileno()] = callback
        self._others.register(sock, select.EPOLLIN)

    def set_priority(self, sock: socket.socket, priority: bool) -> None:
        """Change the priority of a socket; the new value must differ from the old one."""
        self._priority_count += 1 if priority else -1
        target, source = (self._priority, self._others) if priority else (self._others, self._priority)
        source.unregister(sock)
        target.register(sock, select.EPOLLIN)

    def remove(self, sock: socket.socket, *, priority: bool) -> None:
        """Stop watching a socket; call this before it is closed. Closes both epoll instances after the last socket."""
        del self._callbacks[sock.fileno()]
        (self._priority if priority else self._others).unregister(sock)
        self._priority_count -= priority
        if not self._callbacks:
            del self._by_loop[self._loop]
            for epoll in (self._priority, self._others):
                self._loop.remove_reader(epoll.fileno())
                epoll.close()

    def _read(self) -> None:
        if self._priority_count:
            self._call(self._priority, -1)
        self._call(self._others, READ_BATCH)

    def _call(self, epoll: select.epoll, most: int) -> None:
        if epoll.closed:
            return
        for descriptor, _ in epoll.poll(0, most):
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
