"""A divided load: its parts together send the requests, prompts and arrivals of the undivided one."""

import asyncio
import json
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_client.errors import UsageError
from gptoss_client.load import run_load
from gptoss_client.plan import LoadPlan
from gptoss_client.shard import LoadShard
from gptoss_client.trace import Trace
from scripted import Exchange, scripted, speak

COUNTS = st.integers(1, 9)


@given(COUNTS, st.integers(0, 40), st.integers(0, 60))
def test_the_parts_have_each_id_and_each_slot_once(count: int, begin: int, total: int) -> None:
    parts = [LoadShard(index, count) for index in range(count)]
    ids = [request_id for part in parts for request_id in range(part.first_id(begin), begin + total, count)]
    assert sorted(ids) == list(range(begin, begin + total))
    slots = [part.share(total) for part in parts]
    assert sum(slots) == total and slots == sorted(slots, reverse=True) and slots[0] - slots[-1] <= 1


async def divided(plan: LoadPlan, count: int) -> tuple[list[Trace], list[bytes]]:
    """Send a plan in `count` parts at once; return the traces by id, and the bodies that the server got, sorted."""
    traces = list[Trace]()
    async with scripted(speak) as server:
        parts = [LoadShard(index, count) for index in range(count)]
        begin_ns = time.perf_counter_ns() + 50_000_000

        async def begin() -> int:
            return begin_ns

        loads = [run_load(plan, server.endpoint, traces.append, shard=part, begin=begin) for part in parts]
        assert await asyncio.gather(*loads) == [None] * count
        return sorted(traces, key=lambda trace: trace.request_id), sorted(body for _, body in server.requests)


@pytest.mark.parametrize(
    "plan",
    [
        LoadPlan(concurrency=5, requests=23, warmup=4, prompts="distinct", salt=3),
        LoadPlan(concurrency=4, rate="200", requests=40, warmup=3, prompts="distinct", salt=3, arrival_seed=5),
    ],
    ids=["closed", "open"],
)
def test_one_two_and_four_parts_send_the_same_requests(plan: LoadPlan) -> None:
    whole, bodies = asyncio.run(divided(plan, 1))
    for count in (2, 4):
        traces, sent = asyncio.run(divided(plan, count))
        assert sent == bodies
        for name in ("request_id", "prompt_id", "phase", "ending"):
            assert [getattr(trace, name) for trace in traces] == [getattr(trace, name) for trace in whole]
        if plan.is_open:
            due, first = (
                [trace.scheduled_ns for trace in each if trace.phase == "measure"] for each in (traces, whole)
            )
            assert [at - due[0] for at in due] == [at - first[0] for at in first]


def test_a_part_begins_when_it_is_due_and_not_earlier() -> None:
    plan = LoadPlan(concurrency=2, requests=4)
    traces, _ = asyncio.run(divided(plan, 2))
    assert len({trace.scheduled_ns for trace in traces[:2]}) == 1
    assert all(trace.sent_ns is not None and trace.sent_ns >= traces[0].scheduled_ns for trace in traces)


def test_a_part_without_a_slot_is_refused() -> None:
    async def run() -> None:
        async with scripted(speak) as server:
            await run_load(LoadPlan(concurrency=2), server.endpoint, print, shard=LoadShard(0, 3))

    with pytest.raises(UsageError, match="3 workers need as many slots, not 2: use 2 workers at most"):
        asyncio.run(run())


def test_a_stopped_part_lists_its_own_unsent_requests_only(folder) -> None:
    plan = replace(LoadPlan(concurrency=2, requests=30, prompts="distinct", salt=1))

    async def run() -> None:
        async def hang(exchange: Exchange) -> None:
            await asyncio.sleep(60)

        async with scripted(hang) as server:
            part = LoadShard(1, 2)
            load = run_load(plan, server.endpoint, folder.add, shard=part, record_unsent=folder.add_unsent)
            task = asyncio.ensure_future(load)
            while not server.requests:
                await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())
    spooled = [json.loads(line) for line in (folder.path / "traces.jsonl").read_text().splitlines()]
    assert [line.get("step") for line in spooled if "unsent" in line] == [2]
    rows = folder.finish().requests
    assert sorted(rows.request_id) == sorted(rows.prompt_id) == list(range(1, 30, 2))
    assert set(rows.outcome) == {"cancelled"} and rows.sent_ns.notna().sum() == 1
