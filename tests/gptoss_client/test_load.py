"""The closed loop: each planned request is sent once and gives one row, whatever happens."""

import asyncio
import json
import socket
import sys
from contextlib import ExitStack
from dataclasses import replace

import pytest

from gptoss_bench.runs.folder import Run
from gptoss_client.errors import UsageError
from gptoss_client.load import run_load
from gptoss_client.plan import LoadPlan
from gptoss_client.trace import Endpoint, Trace
from scripted import END, HEAD, Exchange, chunk, ending, event, scripted, speak

ENDPOINT = Endpoint(url="http://127.0.0.1:1", model="m", dialect="openai", engine="vllm")


def requests_of(run: Run) -> dict[int, tuple[str, str]]:
    assert run.requests.request_id.is_unique
    return {row.request_id: (row.phase, row.outcome) for row in run.requests.itertuples()}


async def loaded(folder, plan: LoadPlan, answer=speak, **more):
    async with scripted(answer) as server:
        with folder.counting_clock_steps():
            reason = await run_load(plan, server.endpoint, folder.add, **more)
    return reason, folder.finish(), server


def test_every_planned_request_is_one_row_and_warm_up_is_apart(folder):
    plan = LoadPlan(concurrency=3, requests=10, warmup=4)
    reason, run, server = asyncio.run(loaded(folder, plan))
    assert reason is None
    assert run.manifest.clock.steps == 0
    assert requests_of(run) == {i: ("warmup" if i < 4 else "measure", "completed") for i in range(14)}
    assert len(server.requests) == 14
    assert (
        run.requests[run.requests.phase == "warmup"].done_ns.max()
        <= run.requests[run.requests.phase == "measure"].sent_ns.min()
    )


def test_the_loop_holds_its_concurrency_and_no_more(folder):
    async def slowly(exchange: Exchange) -> None:
        await asyncio.sleep(0.03)
        await speak(exchange)

    _, _, server = asyncio.run(loaded(folder, LoadPlan(concurrency=5, requests=25), slowly))
    assert server.most_in_flight == 5


def test_a_duration_ends_the_sending_and_lets_what_is_in_flight_end(folder):
    plan = LoadPlan(concurrency=2, requests=None, duration_s=0.3)
    reason, run, server = asyncio.run(loaded(folder, plan))
    assert reason is None
    assert set(run.requests.outcome) == {"completed"}
    assert len(run.requests) == len(server.requests) >= 2


def test_a_duration_counts_from_the_end_of_the_warm_up(folder):
    async def slowly(exchange: Exchange) -> None:
        await asyncio.sleep(0.4 if exchange.number == 1 else 0)
        await speak(exchange)

    plan = LoadPlan(concurrency=1, requests=None, duration_s=0.2, warmup=1)
    _, run, _ = asyncio.run(loaded(folder, plan, slowly))
    assert {"warmup", "measure"} == set(run.requests.phase)


def test_progress_sees_each_trace_once_and_after_it_is_on_disk(folder):
    seen: list[int] = []

    def progress(trace: Trace) -> None:
        on_disk = (folder.path / "traces.jsonl").read_text().splitlines()
        assert json.loads(on_disk[-1])["request_id"] == trace.request_id
        seen.append(trace.request_id)

    asyncio.run(loaded(folder, LoadPlan(concurrency=2, requests=6), progress=progress, first_id=7))
    assert sorted(seen) == list(range(7, 13))


@pytest.mark.parametrize("after", [7, 38])
def test_a_server_that_dies_leaves_an_incomplete_load_with_every_request_accounted_for(folder, after):
    async def run() -> tuple[str | None, Run]:
        async def die_at(exchange: Exchange) -> None:
            if exchange.number == after:
                server.die()
                return
            await asyncio.sleep(0.01)
            await speak(exchange)

        async with scripted(die_at) as server:
            reason = await run_load(LoadPlan(concurrency=4, requests=40), server.endpoint, folder.add)
        return reason, folder.finish(None, "incomplete", reason)

    reason, run = asyncio.run(run())
    assert "stopped answering" in reason
    rows = requests_of(run)
    assert sorted(rows) == list(range(40))
    outcomes = run.requests.outcome.value_counts()
    assert outcomes["completed"] + outcomes["failed"] == 40
    assert outcomes["completed"] >= after - 4
    assert set(run.requests.failure.dropna()) <= {"cut", "connect"}
    assert Run.load(run.path).manifest.status == "incomplete"


@pytest.mark.parametrize("warmup", [0, 30])
def test_a_load_that_is_stopped_keeps_what_ended_and_names_the_rest_cancelled(folder, warmup):
    async def stop() -> None:
        async def slowly(exchange: Exchange) -> None:
            await asyncio.sleep(0.05)
            await speak(exchange)

        async with scripted(slowly) as server:
            plan = LoadPlan(concurrency=2, requests=30, warmup=warmup)
            task = asyncio.create_task(run_load(plan, server.endpoint, folder.add))
            while len(server.requests) < 4:
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(stop())
    run = folder.finish(None, "incomplete", "stopped")
    rows = requests_of(run)
    assert sorted(rows) == list(range(30 + warmup))
    outcomes = [outcome for _, outcome in rows.values()]
    assert set(outcomes) == {"completed", "cancelled"}
    assert outcomes.count("completed") >= 2


def test_in_stream_errors_and_cut_streams_are_failures_of_their_own_class(folder):
    async def by_turns(exchange: Exchange) -> None:
        if exchange.number == 1:
            error = b'data: {"error": {"message": "out of blocks", "code": 500}}\n\ndata: [DONE]\n\n'
            await exchange.send(HEAD, chunk(event(content="Hel")), chunk(error), END)
        elif exchange.number == 2:
            await exchange.send(HEAD, chunk(event(content="Hel")), END)
        else:
            await exchange.send(b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nfull")

    _, run, _ = asyncio.run(loaded(folder, LoadPlan(concurrency=1, requests=3), by_turns))
    assert list(run.requests.failure) == ["in_stream_error", "cut", "http_5xx"]
    assert "out of blocks" in run.requests.error.iloc[0]


def bodies(server) -> list[dict]:
    return [json.loads(body) for _, body in server.requests]


def test_a_fixed_prompt_is_the_same_for_all(folder):
    _, run, server = asyncio.run(loaded(folder, LoadPlan(concurrency=2, requests=5)))
    assert len({body for _, body in server.requests}) == 1
    assert set(run.requests.prompt_id) == {0}
    assert bodies(server)[0]["stream_options"] == {"include_usage": True}


def test_distinct_prompts_differ_from_their_first_word_on_and_are_equally_long(folder):
    _, run, server = asyncio.run(loaded(folder, LoadPlan(concurrency=2, requests=5, prompts="distinct", salt=42)))
    first = [body["messages"][0]["content"] for body in bodies(server)]
    assert len(set(first)) == 5
    assert len({len(text) for text in first}) == 1
    assert len({text.split()[0] for text in first}) == 5
    assert run.requests.prompt_id.is_unique


async def forever(exchange: Exchange) -> None:
    await exchange.send(HEAD)
    while True:
        await exchange.send(chunk(event(content="x")))
        await asyncio.sleep(0.05)


async def silence(exchange: Exchange) -> None:
    await asyncio.sleep(30)


async def silence_after_a_token(exchange: Exchange) -> None:
    await exchange.send(HEAD, chunk(event(content="x")))
    await asyncio.sleep(30)


@pytest.mark.parametrize(
    ("name", "answer", "error"),
    [
        ("timeout_s", forever, "not ended within 0.3 s"),
        ("first_timeout_s", silence, "no first token arrived within 0.3 s"),
        ("idle_timeout_s", silence_after_a_token, "no data arrived within 0.3 s"),
    ],
)
def test_a_load_takes_the_timeouts_of_its_plan(folder, name, answer, error):
    reason, run, _ = asyncio.run(loaded(folder, LoadPlan(concurrency=1, requests=1, **{name: 0.3}), answer))
    assert reason is None
    assert (run.requests.failure.iloc[0], run.requests.error.iloc[0]) == ("timeout", error)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems may refuse a connection that has no place")
def test_a_load_takes_the_connect_timeout_of_its_plan(folder):
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):  # nobody accepts: further connections wait
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(server.getsockname())
        endpoint = replace(ENDPOINT, url=f"http://127.0.0.1:{server.getsockname()[1]}")
        plan = LoadPlan(concurrency=1, requests=1, connect_timeout_s=0.3)
        reason = asyncio.run(run_load(plan, endpoint, folder.add))
    assert "stopped answering" in reason
    [row] = folder.finish(None, "incomplete", reason).requests.itertuples()
    assert (row.failure, row.error) == ("connect", "no connection within 0.3 s")


def test_what_an_engine_does_not_know_is_refused_before_anything_is_sent(folder):
    ollama = Endpoint(url="http://127.0.0.1:1", model="m", dialect="ollama", engine="ollama")
    with pytest.raises(UsageError, match="ignore_eos"):
        asyncio.run(run_load(LoadPlan(ignore_eos=True), ollama, folder.add))
    assert (folder.path / "traces.jsonl").read_bytes() == b""


def test_an_answer_in_many_pieces_is_still_one_answer(folder):
    async def torn(exchange: Exchange) -> None:
        body = event(role="assistant", content="") + event(content="Grüße 🦊") + ending(2)
        await exchange.send(HEAD, *(chunk(body[i : i + 1]) for i in range(len(body))), END)

    _, run, _ = asyncio.run(loaded(folder, LoadPlan(concurrency=1, requests=1), torn))
    assert run.requests.answer_chars.iloc[0] == len("Grüße 🦊")
    assert run.requests.completion_tokens.iloc[0] == 2
