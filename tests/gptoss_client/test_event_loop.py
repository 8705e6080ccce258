"""The poller calls back for readable sockets; the queue wakes tasks one by one and sockets are read in between."""

import asyncio
import socket
import sys
import time
from contextlib import ExitStack
from itertools import pairwise

import pytest

from gptoss_client.event_loop import NO_EPOLL_VARIABLE, SocketPoller, WakeUpQueue, new_event_loop
from gptoss_client.timerfd import HEARTBEAT_NS


def pairs(stack: ExitStack, count: int) -> list[tuple[socket.socket, socket.socket]]:
    made = [socket.socketpair() for _ in range(count)]
    for ends in made:
        for end in ends:
            stack.enter_context(end)
            end.setblocking(False)
    return made


async def rounds(until) -> None:
    for _ in range(1000):
        if until():
            return
        await asyncio.sleep(0)
    raise AssertionError("no callback was called")


def test_each_socket_that_is_readable_is_called_back_and_no_other():
    async def called() -> list[int]:
        poller, called = SocketPoller.current(), []
        with ExitStack() as stack:
            made = pairs(stack, 100)
            for at, (sock, _) in enumerate(made):
                poller.add(sock, lambda at=at, sock=sock: called.append(at) or sock.recv(10))
            for _, peer in made[::2]:
                peer.send(b"x")
            await rounds(lambda: len(called) >= 50)
            await asyncio.sleep(0.01)
            for sock, _ in made:
                poller.remove(sock)
        return called

    assert sorted(asyncio.run(called())) == list(range(0, 100, 2))


def test_a_callback_may_remove_a_socket_that_is_ready_too():
    async def called() -> int:
        poller, calls = SocketPoller.current(), []
        with ExitStack() as stack:
            (one, far), (two, distant) = pairs(stack, 2)

            def end_both() -> None:
                calls.append(1)
                for sock in (one, two):
                    poller.remove(sock)

            poller.add(one, end_both)
            poller.add(two, end_both)
            far.send(b"x")
            distant.send(b"x")
            await rounds(lambda: calls)
            await asyncio.sleep(0.01)
        return len(calls)

    assert asyncio.run(called()) == 1


def test_removing_the_last_socket_closes_the_epoll_and_the_next_add_opens_a_new_one():
    async def watches() -> bool:
        with ExitStack() as stack:
            ((sock, peer),) = pairs(stack, 1)
            heard: list[bytes] = []
            former = SocketPoller.current()
            for _ in range(2):
                poller = SocketPoller.current()
                poller.add(sock, lambda: heard.append(sock.recv(10)))
                peer.send(b"x")
                await rounds(lambda: heard)
                poller.remove(sock)
                heard.clear()
            return former._epoll.closed and SocketPoller.current() is not former

    assert asyncio.run(watches())


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, new_event_loop])
def test_sockets_are_read_between_the_tasks_that_wait_in_the_queue(new_loop):
    async def order() -> list[str]:
        poller, order = SocketPoller.current(), []
        with ExitStack() as stack:
            ((sock, peer),) = pairs(stack, 1)
            poller.add(sock, lambda: order.append(f"read {len(sock.recv(100))}"))

            async def slot() -> None:
                await WakeUpQueue.current().wait()
                order.append("woken")
                peer.send(b"x")

            await asyncio.gather(*(slot() for _ in range(20)))
            await asyncio.sleep(0.01)
            poller.remove(sock)
        return order

    with asyncio.Runner(loop_factory=new_loop) as runner:
        called = runner.run(order())
    assert called.count("woken") == 20
    woken = [part.count("woken") for part in "".join(f"{name} " for name in called).split("read")]
    assert max(woken) <= 2


def test_what_a_poll_reports_had_not_arrived_at_the_complete_poll_before_it():
    async def bounds() -> list[tuple[int, int]]:
        poller, seen = SocketPoller.current(), list[tuple[int, int]]()
        with ExitStack() as stack:
            made, sent_ns = pairs(stack, 50), dict[int, int]()
            for at, (sock, _) in enumerate(made):
                poller.add(
                    sock, lambda at=at, sock=sock: sock.recv(9) and seen.append((poller.not_before_ns, sent_ns[at]))
                )
            poller.begin()
            for at, (_, peer) in enumerate(made):
                if at % 7 == 0:
                    await asyncio.sleep(0.002)
                sent_ns[at] = time.perf_counter_ns()
                peer.send(b"x")
            await rounds(lambda: len(seen) == 50)
            poller.end()
            for sock, _ in made:
                poller.remove(sock)
        return seen

    seen = asyncio.run(bounds())
    assert all(not_before_ns <= sent_ns for not_before_ns, sent_ns in seen)
    assert any(not_before_ns > 0 for not_before_ns, _ in seen)


@pytest.mark.skipif(sys.platform != "linux", reason="the heartbeat is a timerfd")
@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, new_event_loop])
def test_a_heartbeat_polls_while_requests_are_in_flight_and_says_how_late_it_was(new_loop):
    async def beats() -> tuple[list[tuple[int, int]], list[tuple[int, int]], tuple[int, int]]:
        poller = SocketPoller.current()
        with ExitStack() as stack:
            ((sock, _),) = pairs(stack, 1)
            poller.add(sock, lambda: sock.recv(9))
            await asyncio.sleep(0.02)
            idle = poller.take_beats()
            poller.begin()
            await asyncio.sleep(0.02)
            from_ns = time.perf_counter_ns()
            time.sleep(0.1)  # noqa: ASYNC251 - the loop stands still
            to_ns = time.perf_counter_ns()
            await asyncio.sleep(0.02)
            poller.end()
            busy = poller.take_beats()
            poller.remove(sock)
        return idle, busy, (from_ns, to_ns)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        idle, busy, (from_ns, to_ns) = runner.run(beats())
    assert idle == []
    [(due_ns, late_ns)] = [(due_ns, late_ns) for due_ns, late_ns in busy if due_ns <= to_ns <= due_ns + late_ns]
    assert due_ns <= from_ns + HEARTBEAT_NS
    assert late_ns >= 0.1e9 - HEARTBEAT_NS
    assert all(later > earlier for (earlier, _), (later, _) in pairwise(busy))


def test_without_epoll_there_is_no_poller(monkeypatch):
    monkeypatch.setenv(NO_EPOLL_VARIABLE, "1")
    assert not SocketPoller.is_available()
