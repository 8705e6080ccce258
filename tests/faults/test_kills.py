"""A load that is killed or stopped at any moment leaves a run that can be read, and no process."""

import asyncio
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from faults import count, rounds
from gptoss_bench import paths
from gptoss_bench.engines.supervisor import descendants
from gptoss_bench.runs.folder import Run
from gptoss_bench.session.evaluate import finish_interrupted
from scripted import Exchange, scripted, speak
from serving import PATIENCE_S, wait_until_gone

LOAD = [sys.executable, "-m", "gptoss_bench", "load", "--model", "m"]
REQUESTS = 400
MOMENTS = random.Random(20261127)


async def slowly(exchange: Exchange) -> None:
    await asyncio.sleep(0.02)
    await speak(exchange)


async def load_until(results: Path, number: signal.Signals, after_s: float, requests: int) -> tuple[int, str, int]:
    """Send a signal so long after the first request, or after the start if it is negative; return how the load ended.

    Returns the exit code, stderr, and how many requests the server had answered whole.
    """
    async with scripted(slowly) as server:
        command = [*LOAD, "--url", server.endpoint.url, "--results", str(results), "-n", str(requests), "-c", "4"]
        process = await asyncio.create_subprocess_exec(
            *command, "--warmup", "4", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=paths.ROOT
        )
        while after_s >= 0 and len(server.requests) < 2 and process.returncode is None:  # the first asks for the model
            await asyncio.sleep(0.005)
        await asyncio.sleep(abs(after_s))
        family = [process.pid, *descendants(process.pid)]
        if process.returncode is None:
            os.kill(process.pid, number)
        _, err = await asyncio.wait_for(process.communicate(), PATIENCE_S)
        await asyncio.to_thread(wait_until_gone, family)
        assert process.returncode is not None
        return process.returncode, err.decode(), len(server.requests) - server.in_flight


def moments(many: int) -> list[float]:
    """Return as many moments: most within the load, some while it starts."""
    return [MOMENTS.uniform(0, 2.5) if at % 4 != 1 else -MOMENTS.uniform(0, 1.5) for at in range(many)]


@pytest.mark.parametrize("after_s", moments(rounds(2, 30)))
def test_a_killed_load_is_finished_from_what_had_ended(tmp_path, after_s):
    code, err, answered = asyncio.run(load_until(tmp_path, signal.SIGKILL, after_s, REQUESTS))
    assert "Traceback" not in err
    count("kills at a random moment of a load")
    manifests = list(tmp_path.glob("runs/*/manifest.json"))
    if code != -signal.SIGKILL or not manifests:
        return  # it had ended, or not begun
    killed = Run.load(manifests[0].parent)
    if killed.finished:
        return  # killed after its last step
    requests, events = killed.requests, killed.events
    # A connection carries one request at a time: at most one response of each slot was not recorded yet.
    assert len(requests) >= answered - 2 * 4
    run = finish_interrupted(killed.path)
    assert run.requests.equals(requests)
    assert run.events.equals(events)
    assert run.requests.request_id.is_unique
    assert (run.finished, run.manifest.status) == (True, "incomplete")
    count("requests of killed loads, equal row by row after rebuild", len(requests))
    count("runs finished by rebuild after a kill")


@pytest.mark.parametrize("after_s", moments(rounds(2, 20)))
def test_a_signalled_load_has_one_row_for_each_planned_request(tmp_path, after_s):
    number = MOMENTS.choice([signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    code, err, _ = asyncio.run(load_until(tmp_path, number, after_s, REQUESTS))
    count("signals at a random moment of a load")
    # Python shows a traceback of its own while it still looks for the module.
    assert "Traceback" not in err or "_get_module_details" in err or "gptoss_bench" not in err, err
    assert code in (0, 1) or after_s < 0
    if not list(tmp_path.glob("runs/*/manifest.json")):
        return
    [folder] = (tmp_path / "runs").iterdir()
    run = Run.load(folder)
    if not run.finished:
        assert after_s < 0, run.manifest  # while Python starts, a signal still kills
        return
    assert run.manifest.status == ("complete" if code == 0 else "incomplete")
    if len(run.requests):
        assert sorted(run.requests.request_id) == list(range(4 + REQUESTS))
        count("requests of stopped loads, each exactly one row", len(run.requests))
