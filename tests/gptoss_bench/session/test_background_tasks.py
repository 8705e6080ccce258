"""An error of a task that was not awaited is found at the end, referenced or not; a handled error is not reported."""

import asyncio

import pytest

from gptoss_bench.session.background_tasks import raise_background_errors, watch_background_tasks
from gptoss_client.errors import RunFailed


async def fail() -> None:
    raise ValueError("lost")


def test_a_task_that_nobody_holds_and_one_that_a_name_holds_are_both_found():
    async def run(hold: bool) -> None:
        watch_background_tasks()
        held = asyncio.create_task(fail())
        if not hold:
            del held
        await asyncio.sleep(0.01)
        raise_background_errors()

    for hold in (True, False):
        with pytest.raises(RunFailed, match="lost"):
            asyncio.run(run(hold))


def test_a_task_that_was_awaited_or_cancelled_is_not_lost():
    async def run() -> None:
        watch_background_tasks()
        watch_background_tasks()
        awaited = asyncio.create_task(fail())
        with pytest.raises(ValueError, match="lost"):
            await awaited
        stopped = asyncio.create_task(asyncio.sleep(60))
        await asyncio.sleep(0)
        stopped.cancel()
        await asyncio.sleep(0)
        raise_background_errors()

    asyncio.run(run())
