"""`run_sync` works in a plain script and where a loop runs already."""

import asyncio

import pytest

from gptoss_bench.session.api import run_sync


async def answer() -> int:
    await asyncio.sleep(0)
    return 42


async def refuse() -> None:
    raise ValueError("no")


def test_in_a_script():
    assert run_sync(answer()) == 42
    with pytest.raises(ValueError, match="no"):
        run_sync(refuse())


def test_inside_a_running_loop():
    async def cell() -> int:
        return run_sync(answer())

    assert asyncio.run(cell()) == 42
