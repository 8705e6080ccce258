"""The sockets of a loop behind two descriptors: streams that wait for their first token are read before all others.

Where more arrives than one core can read, every stream has to wait. Two tokens that are then read at once share the
later one's stamp: within a stream that moves one gap, at its beginning it would move the TTFT. A load of many streams
is also read faster so than by a loop that is told of each socket.
"""

import asyncio
import select
import socket
from collections.abc import Callable
from typing import ClassVar
from weakref import WeakKeyDictionary

AT_ONCE = 32  # so many of the others are read before the first ones are looked at again

Callback = Callable[[], None]


class Watch:
    """Calls back, in its loop, for each socket that can be read or has ended."""

    _of_loops: ClassVar[WeakKeyDictionary[asyncio.AbstractEventLoop, "Watch"]] = WeakKeyDictionary()

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
    def here(cls) -> "Watch":
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
