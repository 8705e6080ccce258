"""The live view of a load that several processes send: a row each, and a lost one is seen while the others go on."""

import asyncio
import os
import signal
from html import unescape
from pathlib import Path

import pytest

from fleets import fleet_run, slowly, worker_pid
from gptoss_bench.engines.launch_options import ServerChoice
from gptoss_bench.fleet.placement import LocalFleet
from gptoss_bench.notebook.follower import RunFollower
from gptoss_bench.notebook.live_view import LiveView, render_live_view
from gptoss_bench.notebook.load_card import LoadCard
from gptoss_bench.notebook.profiles import check_parameters
from gptoss_bench.notebook.run_panel import RunPanel
from gptoss_bench.runs.live_workers import read_worker_progress
from gptoss_bench.session.load_process import LoadProcess
from gptoss_bench.session.progress import RunProgress
from gptoss_client.errors import UsageError
from gptoss_client.plan import LoadPlan
from scripted import Scripted, scripted
from serving import PATIENCE_S, wait_until

PLAN = LoadPlan(concurrency=4, requests=800, warmup=2, prompts="distinct", salt=3)


def test_a_killed_worker_is_seen_in_its_row_while_the_other_goes_on(tmp_path):
    seen = list[LiveView]()
    said = list[str]()

    async def kill(server: Scripted, path: Path) -> None:
        follower, progress = RunFollower(path, PLAN), RunProgress(path)

        def row_of(index: int, wanted: str) -> bool:
            view = follower.poll()
            said.append(progress.text())
            seen.append(view)
            return len(view.workers) == 2 and wanted in view.workers[index].state and len(view.points) > 0

        await asyncio.to_thread(wait_until, lambda: row_of(1, "sending"), "worker 1 was seen to send")
        os.kill(worker_pid(path, 1), signal.SIGKILL)
        await asyncio.to_thread(wait_until, lambda: row_of(1, "lost"), "worker 1 was seen to be lost")

    run, _ = asyncio.run(fleet_run(tmp_path, PLAN, LocalFleet(2), slowly, kill))
    sending = next(view for view in seen if view.workers and view.workers[1].state == "sending")
    assert [worker.requests for worker in sending.workers] == [401, 401]
    assert all(0 < worker.in_flight <= 2 for worker in sending.workers)
    lost = seen[-1]
    assert [worker.gone for worker in lost.workers] == [False, True]
    assert lost.workers[1].state == "lost: its process ended" and lost.workers[1].in_flight == 0
    assert lost.workers[0].state == "sending" and 0 < lost.done < lost.total == 802
    html = render_live_view(lost, "title")
    assert html.count("<tr") == 3 and "lost: its process ended" in html
    assert said[-1].startswith("2 workers: ") and said[-1].endswith("; worker 1: lost: its process ended")

    assert not read_worker_progress(run.path)
    follower = RunFollower(run.path, PLAN)
    last = follower.final_view(run)
    assert not last.workers and last.done == (run.requests.outcome == "completed").sum()
    assert "<table" not in render_live_view(last, "title", ended=True)


def test_the_rows_have_the_tokens_and_failures_that_the_server_reported(tmp_path):
    rows = []

    async def answer(exchange) -> None:
        await asyncio.sleep(0.05)
        if exchange.number % 10 == 5:
            await exchange.send(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")
        else:
            await slowly(exchange)

    async def watch(server: Scripted, path: Path) -> None:
        def both_have_a_rate() -> bool:
            rows[:] = read_worker_progress(path)
            return len(rows) == 2 and all(row.tok_s and row.failed for row in rows)

        await asyncio.to_thread(wait_until, both_have_a_rate, "both rows had tokens and failures")

    asyncio.run(fleet_run(tmp_path, PLAN, LocalFleet(2), answer, watch))
    assert all(0 < row.failed < row.ended <= row.requests for row in rows)


def test_the_card_of_a_panel_shows_the_workers_of_its_load(tmp_path):
    shown = list[str]()

    async def watch() -> None:
        async with scripted(slowly) as server:
            choice = ServerChoice(url=server.endpoint.url, model="m", dialect="openai")
            load = LoadProcess(PLAN, choice, results=tmp_path, workers="2")
            card = LoadCard(load)
            card._view.observe(lambda change: shown.append(change["new"]), names="value")
            await asyncio.wait_for(card.following, PATIENCE_S)
            assert load.ended.status == "complete", load.ended.message
            LoadCard.all_cards.remove(card)

    asyncio.run(watch())
    assert any(html.count("<tr") == 3 and "sending" in html for html in shown)
    assert "gptoss-workers" not in shown[-1] and "802 of 802 requests" in shown[-1]


def test_the_panel_says_at_once_which_workers_cannot_send_its_load(tmp_path):
    panel = RunPanel(LoadPlan(concurrency=2, requests=10), ServerChoice(), tmp_path)
    assert panel.workers.value == "1"
    for workers, sentence in (
        ("two", "workers must be a whole number from 1 to 1024 or 'auto', not 'two'"),
        ("3", "3 workers need as many slots, not 2: use 2 workers at most"),
        ("auto", "workers 'auto' asks a running server: give its url, or a number of workers"),
    ):
        panel.workers.value = workers
        assert sentence in unescape(panel.message.value)
    panel.workers.value = "2"
    assert panel.message.value == ""
    panel.sweep.value = "1,2"
    assert "a sweep is sent by one process: give workers or sweep, not both" in panel.message.value


def test_a_profile_states_a_number_of_workers_or_auto():
    for workers in (1, 4, "auto"):
        assert check_parameters({"workers": workers}, [{"workers": 1}], "x.yaml") == {"workers": workers}
    with pytest.raises(UsageError, match=r"x\.yaml: workers is 'many'; it has to be a whole number, or auto"):
        check_parameters({"workers": "many"}, [{"workers": 1}], "x.yaml")
