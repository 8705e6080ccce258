"""The event loop of a load: all sockets behind one epoll instance, and one task woken per iteration.

With many streams one epoll instance is faster than one registration per socket in the loop's own selector. It also
tells since when a socket that is readable was empty at the latest.
"""

import asyncio
import contextlib
import os
import select
import time
from collections import deque
from collections.abc import Callable
from typing import ClassVar, Protocol
from weakref import WeakKeyDictionary

from gptoss_client.timerfd import Beat, Heartbeat, Timer

# Between complete polls. It is worth a question how many segments the reads took that follow an idle time, so that each
# is known by itself, or a stall. To ask after every short pause of a busy client took a fifth of its CPU time.
SHORT_NS, LONG_NS, FEW = 2_000_000, 20_000_000, 2
NO_EPOLL_VARIABLE = "GPTOSS_NO_EPOLL"  # set: as on a system without epoll, for tests

Callback = Callable[[], None]


class Pollable(Protocol):
    """A socket, or a timer."""

    def fileno(self) -> int:
        """Return the descriptor."""
        ...


class SocketPoller:
    """Call back, in its loop, for each socket that is readable or closed.

    A poll is complete if it returned fewer sockets than it asked for: then every other socket was empty. While the
    callbacks of a poll run, `not_before_ns` is the time immediately before the last complete poll that precedes it: the
    data that made a socket readable was not there yet. `is_late` says that this was long ago: more than
    LONG_NS, or, where few sockets are ready, more than SHORT_NS. A heartbeat
    polls while requests are in flight (`begin`, `end`) and nothing arrives.
    """

    _by_loop: ClassVar[WeakKeyDictionary[asyncio.AbstractEventLoop, "SocketPoller"]] = WeakKeyDictionary()

    def __init__(self) -> None:
        self.not_before_ns = 0
        self.is_late = False
        self._complete_ns = 0  # before the last complete poll
        self._in_flight = 0
        self._busy_since_ns = 0  # since then requests have been in flight without a break
        self._beats: list[Beat] = []
        self._loop = asyncio.get_running_loop()
        self._callbacks: dict[int, Callback] = {}
        self._epoll = select.epoll()
        self._loop.add_reader(self._epoll.fileno(), self._read)
        self._heartbeat: Heartbeat | None = None
        with contextlib.suppress(NotImplementedError):
            self._heartbeat = Heartbeat()
            self._callbacks[self._heartbeat.fileno()] = self._beat
            self._epoll.register(self._heartbeat.fileno(), select.EPOLLIN)

    @staticmethod
    def is_available() -> bool:
        """Return whether the system has epoll."""
        return hasattr(select, "epoll") and NO_EPOLL_VARIABLE not in os.environ

    @classmethod
    def current(cls) -> "SocketPoller":
        """Return the poller of the running loop."""
        loop = asyncio.get_running_loop()
        if (poller := cls._by_loop.get(loop)) is None:
            poller = cls._by_loop[loop] = cls()
        return poller

    def add(self, sock: Pollable, callback: Callback) -> None:
        """Watch a socket."""
        self._callbacks[sock.fileno()] = callback
        self._epoll.register(sock, select.EPOLLIN)

    def remove(self, sock: Pollable) -> None:
        """Stop watching a socket; call this before it is closed. Closes the epoll instance after the last socket."""
        del self._callbacks[sock.fileno()]
        self._epoll.unregister(sock)
        if len(self._callbacks) == (self._heartbeat is not None):
            del self._by_loop[self._loop]
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
            if self._heartbeat is not None:
                self._callbacks.clear()
                self._heartbeat.close()

    def begin(self) -> None:
        """Count one more request in flight."""
        if not self._in_flight:
            self._busy_since_ns = time.perf_counter_ns()
            if self._heartbeat is not None and not self._heartbeat.running:
                self._heartbeat.start()
        self._in_flight += 1

    def end(self) -> None:
        """Count one request in flight less."""
        self._in_flight -= 1

    def take_beats(self) -> list[Beat] | None:
        """Return the heartbeats since the last call; None if the system has none."""
        if self._heartbeat is None:
            return None
        taken, self._beats = self._beats, []
        return taken

    def _read(self) -> None:
        polled_ns, asked = time.perf_counter_ns(), len(self._callbacks) + 1
        ready = self._epoll.poll(0, asked)
        self.not_before_ns = self._complete_ns
        gap_ns = polled_ns - self._complete_ns
        self.is_late = gap_ns > SHORT_NS and (len(ready) <= FEW or gap_ns > LONG_NS)
        if len(ready) < asked:
            self._complete_ns = polled_ns  # for the polls that follow
        for descriptor, _ in ready:
            if callback := self._callbacks.get(descriptor):  # an earlier callback may have removed this socket
                callback()

    def _beat(self) -> None:
        assert self._heartbeat is not None
        due_ns, handled_ns = max(self._heartbeat.due_ns, self._busy_since_ns), time.perf_counter_ns()
        self._heartbeat.take()
        if self._in_flight:
            self._beats.append((due_ns, handled_ns - due_ns))
        else:
            self._heartbeat.stop()


class AlarmClock:
    """Wait until a time, to within the latency of the event loop; an asyncio timer may be a millisecond late.

    Only one task waits at a time. Call `close` at the end.
    """

    def __init__(self) -> None:
        self._timer: Timer | None = None
        self._waiter: asyncio.Future[None] | None = None
        if SocketPoller.is_available():
            with contextlib.suppress(NotImplementedError):
                self._timer = Timer()
                self._poller = SocketPoller.current()
                self._poller.add(self._timer, self._ring)

    async def wait_until(self, time_ns: int) -> None:
        """Return at this time (`time.perf_counter_ns`); if it is past, after other tasks have had their turn."""
        left_ns = time_ns - time.perf_counter_ns()
        if self._timer is None or left_ns <= 0:
            await asyncio.sleep(max(left_ns, 0) / 1e9)
            return
        self._waiter = asyncio.get_running_loop().create_future()
        self._timer.once_at(time_ns)
        await self._waiter

    def close(self) -> None:
        """Release the timer."""
        if self._timer is not None:
            self._poller.remove(self._timer)
            self._timer.close()

    def _ring(self) -> None:
        assert self._timer is not None
        self._timer.take()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


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
