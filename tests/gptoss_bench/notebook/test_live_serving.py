"""The live card of a scenario notebook: a process of its own draws it from the run folder."""

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from dataclasses import asdict

import pytest

from gptoss_bench.engines.launch_options import ServerChoice
from gptoss_bench.notebook import live_serving
from gptoss_bench.runs.catalogue import new_repeat_group
from gptoss_bench.runs.folder import Run
from gptoss_bench.session.progress import RunProgress, clock, run_seconds
from gptoss_bench.session.session import serving
from gptoss_client.plan import LoadPlan

PLAN = LoadPlan(concurrency=2, requests=4, warmup=2, max_tokens=8, sweep=(1,))


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A run with the embedded engine, and what its progress said before, while and after it was measured."""
    results = tmp_path_factory.mktemp("measured")
    said = []

    async def measure() -> None:
        progress = RunProgress(results / "runs" / "20260101T000000Z-test-000000")
        said.append(progress.text())
        opened = serving(
            "test", ServerChoice(), plan=PLAN, results_dir=str(results), run_id="20260101T000000Z-test-000000"
        )
        async with opened as session:
            said.append(progress.text())
            await session.load(PLAN, lambda _trace: said.append(progress.text()))
            session.finish()
        said.append(progress.text())

    asyncio.run(measure())
    return results, said


def test_progress_follows_the_run(measured):
    said = measured[1]
    assert said[0] == "starting" and said[1] == "waiting for the first response"
    for words in ("warm-up: 2 of 2 requests", "load: 1 of 4 requests", "sweep, 1 stream: 9 of 10 requests"):
        assert any(one.startswith(words) for one in said), (words, said)
    assert said[-2:] == ["computing tables and figures", "the run is written"]


def test_the_time_of_the_last_run_with_these_parameters_is_the_estimate(measured):
    results = measured[0]
    assert run_seconds(results, "test", {"requests": 4}) > 0
    assert run_seconds(results, "test", {"requests": 5}) is None
    assert clock(125.4) == "2:05"


def test_each_repeat_is_shown_as_the_first_run_was(tmp_path, monkeypatch):
    shown = []

    @contextlib.contextmanager
    def card(folder, plan):
        shown.append((folder.name, plan.requests))
        yield
        assert Run.load(folder).manifest.status == "complete" or len(shown) == 1  # the last cell finishes the first

    monkeypatch.setenv("JPY_SESSION_NAME", "vllm_h100.ipynb")
    monkeypatch.setattr(live_serving, "_live_card", card)
    plan = LoadPlan(concurrency=1, requests=2, max_tokens=4)

    async def measure() -> None:
        opened = live_serving.serving(
            "test", ServerChoice(), plan=plan, results_dir=str(tmp_path), repeat_group=new_repeat_group(3)
        )
        async with opened as session:
            await session.load(plan)
        await session.repeat(plan, ServerChoice(), 3)
        session.finish()

    asyncio.run(measure())
    assert {name for name, _ in shown} == {path.name for path in (tmp_path / "runs").iterdir()}
    assert [requests for _, requests in shown] == [2, 2, 2]


@pytest.mark.parametrize("written", [True, False])
def test_the_card_ends_with_the_last_view(measured, tmp_path, written):
    folder = (measured[0] if written else tmp_path) / "runs" / "20260101T000000Z-test-000000"
    done = subprocess.run(
        [sys.executable, "-m", live_serving.__name__, str(folder), str(time.monotonic())],
        input=json.dumps(asdict(PLAN)) + "\n",
        capture_output=True,
        text=True,
        check=True,
    )
    last = json.loads(done.stdout.splitlines()[-1])
    assert ("TINY MODEL" in last and "complete" in last) if written else "no request had ended" in last
