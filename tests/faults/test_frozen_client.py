"""A client that was suspended reads what lay in its sockets before it calls its own sleep the server's timeout."""

import asyncio
import itertools
import json
import os
import signal
import sys

import pytest

from gptoss_client.event_loop import NO_EPOLL_VARIABLE
from scripted import END, HEAD, Exchange, chunk, ending, event, scripted
from serving import PATIENCE_S

# Four requests at once; prints how each ended.
CLIENT = """
import asyncio, json, sys
from gptoss_client import Client, Endpoint, LoadPlan, Request
from gptoss_client.event_loop import new_event_loop

async def main():
    endpoint = Endpoint(url=sys.argv[1], model="m", dialect="openai", engine="scripted")
    async def one(number):
        async with Client(endpoint, LoadPlan(**json.loads(sys.argv[2]))) as client:
            return await client.send(Request(b"{}", number))
    traces = await asyncio.gather(*map(one, range(4)))
    print(json.dumps([[trace.ending, trace.error] for trace in traces]))

with asyncio.Runner(loop_factory=new_event_loop if sys.argv[3] == "uvloop" else None) as runner:
    runner.run(main())
"""
ROLE = chunk(event(role="assistant", content=""))
REST = (chunk(event(content="a")), chunk(ending(1)), END)


class Frozen:
    """Answers of a server that stops its client after `before_s`, sends the rest, and lets it go on `asleep_s` later.

    `early` is sent before.
    """

    def __init__(self, early: tuple[bytes, ...], before_s: float, asleep_s: float) -> None:
        self.early, self.before_s, self.asleep_s = early, before_s, asleep_s
        self.client = 0
        self.all_here = asyncio.Barrier(4)

    async def answer(self, exchange: Exchange) -> None:
        await exchange.send(*self.early)
        await asyncio.sleep(self.before_s)
        await self.all_here.wait()
        os.kill(self.client, signal.SIGSTOP)
        await exchange.send(*([] if self.early else [HEAD, ROLE]), *REST)
        await asyncio.sleep(self.asleep_s)
        os.kill(self.client, signal.SIGCONT)


async def endings(frozen: Frozen, limits: dict[str, float], loop: str, environment: dict[str, str]) -> list[list[str]]:
    async with scripted(frozen.answer) as server:
        command = [sys.executable, "-c", CLIENT, server.endpoint.url, json.dumps(limits), loop]
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, env=os.environ | environment
        )
        frozen.client = process.pid
        try:
            out, _ = await asyncio.wait_for(process.communicate(), PATIENCE_S)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return json.loads(out)


@pytest.mark.parametrize(
    ("limits", "early", "before_s", "asleep_s"),
    [
        pytest.param({"first_timeout_s": 2.0}, (), 0.1, 3.0, id="first token"),
        pytest.param({"idle_timeout_s": 2.0}, (HEAD, ROLE), 0.1, 3.0, id="between tokens"),
        pytest.param({"timeout_s": 3.0}, (HEAD, ROLE), 0.1, 4.5, id="whole response, slept for long"),
        pytest.param({"timeout_s": 3.0}, (HEAD, ROLE), 2.0, 1.5, id="whole response, woken just after its end"),
    ],
)
def test_what_lay_in_the_socket_is_no_timeout(limits, early, before_s, asleep_s):
    async def run() -> list[list[list[str]]]:
        ways = itertools.product(("uvloop", "asyncio"), ({}, {NO_EPOLL_VARIABLE: "1"}))
        return await asyncio.gather(
            *(endings(Frozen(early, before_s, asleep_s), limits, loop, environment) for loop, environment in ways)
        )

    assert asyncio.run(run()) == [[["complete", None]] * 4] * 4


@pytest.mark.parametrize("limits", [{"first_timeout_s": 0.3}, {"timeout_s": 0.3}])
def test_a_server_that_sends_nothing_is_still_timed_out(limits):
    async def run() -> list[list[str]]:
        async def silence(exchange: Exchange) -> None:
            await asyncio.sleep(30)

        frozen = Frozen((), 0, 0)
        frozen.answer = silence
        return await endings(frozen, limits, "asyncio", {})

    assert {how for how, _ in asyncio.run(run())} == {"timeout"}
