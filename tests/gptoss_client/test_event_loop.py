"""The socket poller: order of reading, and callbacks that remove other sockets."""

import asyncio
import socket
from contextlib import ExitStack

import pytest

from gptoss_client.event_loop import READ_BATCH, SocketPoller


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


@pytest.mark.parametrize("streams", [1, READ_BATCH, 3 * READ_BATCH])
def test_streams_that_wait_for_their_first_token_are_read_before_all_others(streams):
    async def order() -> list[str]:
        poller, called = SocketPoller.current(), []

        def callback(name: str, sock: socket.socket):
            def call() -> None:
                called.append(name)
                sock.recv(10)

            return call

        with ExitStack() as stack:
            made = pairs(stack, streams + 1)
            for at, (sock, _) in enumerate(made):
                poller.add(sock, callback("first" if at == streams else "rest", sock))
            poller.set_priority(made[-1][0], True)
            for _, peer in made:
                peer.send(b"x")
            await rounds(lambda: len(called) == len(made))
            for at, (sock, _) in enumerate(made):
                poller.remove(sock, priority=at == streams)
        return called

    called = asyncio.run(order())
    assert called.index("first") <= READ_BATCH
    assert sorted(called) == ["first", *["rest"] * streams]


def test_a_first_token_that_comes_while_the_others_are_read_waits_for_some_of_them_only():
    async def order() -> list[int]:
        poller, called = SocketPoller.current(), []
        with ExitStack() as stack:
            made = pairs(stack, 4 * READ_BATCH)
            urgent, peer = pairs(stack, 1)[0]

            def rest(at: int, sock: socket.socket):
                def call() -> None:
                    if not called:
                        peer.send(b"x")
                    called.append(at)
                    sock.recv(10)

                return call

            for at, (sock, _) in enumerate(made):
                poller.add(sock, rest(at, sock))
            poller.add(urgent, lambda: called.append(-1) or urgent.recv(10))
            poller.set_priority(urgent, True)
            for _, other in made:
                other.send(b"x")
            await rounds(lambda: len(called) == len(made) + 1)
            poller.remove(urgent, priority=True)
            for sock, _ in made:
                poller.remove(sock, priority=False)
        return called

    assert asyncio.run(order()).index(-1) <= 2 * READ_BATCH


def test_a_callback_may_remove_a_socket_that_is_ready_too():
    async def called() -> int:
        poller, calls = SocketPoller.current(), []
        with ExitStack() as stack:
            (one, far), (two, distant) = pairs(stack, 2)

            def end_both() -> None:
                calls.append(1)
                for sock in (one, two):
                    poller.remove(sock, priority=False)

            poller.add(one, end_both)
            poller.add(two, end_both)
            far.send(b"x")
            distant.send(b"x")
            await rounds(lambda: calls)
            await asyncio.sleep(0.01)
        return len(calls)

    assert asyncio.run(called()) == 1


def test_removing_the_last_socket_closes_the_epolls_and_the_next_add_opens_new_ones():
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
                poller.remove(sock, priority=False)
                heard.clear()
            return former._priority.closed and former._others.closed and SocketPoller.current() is not former

    assert asyncio.run(watches())
