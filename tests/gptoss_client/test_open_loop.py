"""The open loop: requests are due at planned times, whatever the server does; each gives one row."""

import asyncio
from dataclasses import replace

import pytest

from gptoss_bench.runs.planned_load import PlannedLoad
from gptoss_bench.stats.summary import summarise
from gptoss_client.load import run_load
from gptoss_client.plan import LoadPlan
from scripted import Exchange, scripted, speak


async def loaded(folder, plan: LoadPlan, answer=speak, **more):
    async with scripted(answer) as server:
        reason = await run_load(plan, server.endpoint, folder.add, **more)
    return reason, folder.finish(), server


def answer_after(seconds: float):
    async def answer(exchange: Exchange) -> None:
        await asyncio.sleep(seconds)
        await speak(exchange)

    return answer


def test_requests_are_due_at_the_planned_times_and_never_sent_earlier(folder) -> None:
    plan = LoadPlan(concurrency=4, rate="100", requests=60, warmup=3, arrival_seed=7)
    reason, run, server = asyncio.run(loaded(folder, plan))
    assert reason is None and len(server.requests) == 63
    rows = run.requests.set_index("request_id").sort_index()
    assert list(rows.phase) == ["warmup"] * 3 + ["measure"] * 60
    measured = rows[rows.phase == "measure"]
    planned = [int(offset * 1e9) for offset in plan.arrival_offsets()]
    due = measured.scheduled_ns - measured.scheduled_ns.iloc[0]
    assert list(due) == [at - planned[0] for at in planned]
    assert (measured.client_queue_s >= 0).all()
    assert set(measured.outcome) == {"completed"}


def test_arrivals_do_not_wait_for_a_slow_server(folder) -> None:
    plan = LoadPlan(concurrency=1, rate="50", arrivals="constant", requests=20)
    here = asyncio.Barrier(20)

    async def when_all_are_here(exchange: Exchange) -> None:
        await here.wait()
        await speak(exchange)

    _, run, server = asyncio.run(loaded(folder, plan, when_all_are_here))
    assert server.most_in_flight == 20
    assert set(run.requests.outcome) == {"completed"}


def test_what_is_due_above_the_limit_is_a_failure_of_its_own(folder) -> None:
    plan = LoadPlan(concurrency=1, rate="50", arrivals="constant", requests=20, max_in_flight=4)

    async def after_the_others(exchange: Exchange) -> None:
        while len((folder.path / "traces.jsonl").read_text().splitlines()) < 16:
            await asyncio.sleep(0.02)
        await speak(exchange)

    reason, run, server = asyncio.run(loaded(folder, plan, after_the_others))
    assert reason is None
    assert server.most_in_flight == 4 and len(server.requests) == 4
    rows = run.requests.sort_values("request_id")
    assert list(rows.outcome) == ["completed"] * 4 + ["failed"] * 16
    over = rows[rows.outcome == "failed"]
    assert set(over.failure) == {"over_limit"} and over.sent_ns.isna().all()
    assert over.error.iloc[0] == "not sent: 4 requests were in flight, the limit of the plan"


def test_a_load_that_is_cancelled_has_one_row_for_each_planned_request(folder) -> None:
    plan = LoadPlan(concurrency=2, rate="100", arrivals="constant", requests=1000)

    async def stopped() -> None:
        ended = asyncio.Event()
        async with scripted(answer_after(0.2)) as server:
            run = run_load(plan, server.endpoint, folder.add, lambda _: ended.set())
            load = asyncio.ensure_future(run)
            await ended.wait()
            load.cancel()
            with pytest.raises(asyncio.CancelledError):
                await load

    asyncio.run(stopped())
    rows = folder.finish().requests.sort_values("request_id")
    assert list(rows.request_id) == list(range(1000))
    assert {"completed", "cancelled"} == set(rows.outcome)
    assert rows.sent_ns.notna().sum() < 1000


def test_a_server_that_is_gone_ends_the_load(folder) -> None:
    async def load() -> str | None:
        async with scripted(speak) as server:
            endpoint = server.endpoint
        return await run_load(LoadPlan(concurrency=2, rate="200", requests=60), endpoint, folder.add)

    assert "stopped answering" in (asyncio.run(load()) or "")
    rows = folder.finish().requests
    assert len(rows) == 60 and set(rows.failure) == {"connect"}


def test_without_epoll_the_arrivals_are_the_same(folder, monkeypatch) -> None:
    monkeypatch.setenv("GPTOSS_NO_EPOLL", "1")
    _, run, _ = asyncio.run(loaded(folder, LoadPlan(rate="100", requests=20)))
    assert set(run.requests.outcome) == {"completed"} and (run.requests.client_queue_s >= 0).all()


def test_the_summary_of_an_open_loop_counts_from_the_time_a_request_was_due(folder) -> None:
    lock = asyncio.Lock()

    async def one_at_a_time(exchange: Exchange) -> None:
        async with lock:
            await asyncio.sleep(0.05)
            await speak(exchange)

    plan = LoadPlan(rate="40", arrivals="constant", requests=40)  # twice what the server can do
    _, run, _ = asyncio.run(loaded(folder, plan, one_at_a_time))
    summary = summarise(run.requests, run.events, concurrency=None)
    assert summary.concurrency_planned is None and summary.rate_planned == pytest.approx(40)
    # the queue grows: the last request waits for about half of the 40 × 50 ms
    due = summary.ttft_scheduled_s
    assert due is not None and due.p99 > 0.9 and due.p99 > 1.5 * due.p50
    assert summary.request_s is not None and summary.request_s < 21
    assert summary.slot_idle_share is None
    assert "arrivals of an open loop" in summary.intervals.why["request_s"]


def test_the_parameters_of_a_manifest_say_which_loop_it_was() -> None:
    closed = {"concurrency": 8, "rate": None}
    assert PlannedLoad.of(closed) == PlannedLoad(8)
    assert PlannedLoad.of(closed | {"rate": "5", "slo": {"ttft_s": 0.5}, "ignore_eos": True}).concurrency is None
    assert PlannedLoad.of({}) is None
    assert PlannedLoad.of({"concurrency": 8}) == PlannedLoad(8)  # a run made before there were open loops


def test_a_plan_with_another_seed_has_other_arrivals() -> None:
    plan = LoadPlan(rate="5", requests=5)
    assert plan.arrival_offsets() != replace(plan, arrival_seed=1).arrival_offsets()


def test_a_trace_is_replayed_at_its_times(folder, tmp_path) -> None:
    (tmp_path / "trace.csv").write_text("timestamp\n100\n100.5\n100.5\n101.2\n")
    plan = LoadPlan(concurrency=2, replay=str(tmp_path / "trace.csv"), replay_speed=2.0, requests=None)
    reason, run, _ = asyncio.run(loaded(folder, plan))
    assert reason is None
    rows = run.requests.sort_values("request_id")
    due_s = (rows.scheduled_ns - rows.scheduled_ns.iloc[0]) / 1e9
    assert list(due_s) == pytest.approx([0, 0.25, 0.25, 0.6], abs=1e-6)
    assert (rows.client_queue_s >= 0).all() and set(rows.outcome) == {"completed"}
    assert PlannedLoad.of({"concurrency": 2, "replay": "trace.csv"}).concurrency is None
