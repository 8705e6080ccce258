"""Conversations: the plan of their turns, what each turn sends, when it is due, and how a failed one ends them."""

import asyncio
import hashlib
import json
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_bench.runs.folder import RunFolder
from gptoss_bench.runs.request_table import derive_tables
from gptoss_bench.stats.conversations import think_s
from gptoss_bench.stats.summary import summarise
from gptoss_client.errors import UsageError
from gptoss_client.lengths import parse_seconds
from gptoss_client.load import run_load
from gptoss_client.load_file import read_prompts
from gptoss_client.plan import LoadPlan
from gptoss_client.prompts import messages_of, messages_sha256, turn_messages
from gptoss_client.shard import LoadShard
from scripted import END, HEAD, Exchange, Scripted, chunk, ending, event, scripted, speak

CHATS = [
    {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]},
    {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "2 + 2?"},
            {"role": "assistant", "content": "4"},
            {"role": "user", "content": "Sure?"},
            {"role": "user", "content": "And 3 + 3?"},
            {"role": "assistant", "content": "6"},
            {"role": "user", "content": "Thanks."},
        ],
        "max_tokens": 7,
    },
    {"prompt": "Alone."},
]


def chats(folder: Path) -> str:
    file = folder / "chats.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in CHATS), encoding="utf-8")
    return str(file)


async def loaded(folder: RunFolder, plan: LoadPlan, answer=speak, **more):
    async with scripted(answer) as server:
        reason = await run_load(plan, server.endpoint, folder.add, **more)
    return reason, folder.finish(), server


def said(server: Scripted) -> list[list[tuple[str, str]]]:
    return [[(one["role"], one["content"]) for one in json.loads(body)["messages"]] for _, body in server.requests]


async def numbered(exchange: Exchange) -> None:
    """Answer with the number of the request, behind some reasoning."""
    events = [event(reasoning="let me think"), event(content="answer "), event(content=f"{exchange.number}")]
    await exchange.send(HEAD, *map(chunk, events), chunk(ending(3)), END)


def test_the_turns_of_a_file_are_what_its_users_say(tmp_path) -> None:
    rows = read_prompts(chats(tmp_path)).rows
    assert [row.turns for row in rows] == [
        ((("user", "Hi"),),),
        (
            (("system", "Be brief."), ("user", "2 + 2?")),
            (("user", "Sure?"), ("user", "And 3 + 3?")),
            (("user", "Thanks."),),
        ),
        ((("user", "Alone."),),),
    ]
    plan = LoadPlan(prompts_file=chats(tmp_path), turns="2", requests=9, system="Be kind.")
    assert list(plan.conversation_turns()) == [1, 2, 1, 1, 2, 1, 1]
    assert turn_messages(plan, 0, 0) == messages_of(plan, 3) == [("system", "Be kind."), ("user", "Hi")]
    assert turn_messages(plan, 1, 0)[0] == ("system", "Be brief.")


def test_each_turn_is_sent_with_the_answers_of_the_server_and_without_its_reasoning(folder, tmp_path) -> None:
    plan = LoadPlan(prompts_file=chats(tmp_path), turns="9", requests=5, concurrency=1)
    _, run, server = asyncio.run(loaded(folder, plan, numbered))
    system, brief = ("system", plan.system), [("system", "Be brief."), ("user", "2 + 2?")]
    second = [*brief, ("assistant", "answer 2"), ("user", "Sure?"), ("user", "And 3 + 3?")]
    assert said(server) == [
        [system, ("user", "Hi")],
        brief,
        second,
        [*second, ("assistant", "answer 3"), ("user", "Thanks.")],
        [system, ("user", "Alone.")],
    ]
    assert [json.loads(body)["max_tokens"] for _, body in server.requests] == [256, 7, 7, 7, 256]
    rows = run.requests.sort_values("request_id")
    assert list(rows.conversation) == [0, 1, 1, 1, 2] and list(rows.turn) == [1, 1, 2, 3, 1]
    assert list(rows.request_sha256) == [hashlib.sha256(body).hexdigest() for _, body in server.requests]
    assert rows.prompt_id.is_unique


@given(
    st.integers(0, 10**6),
    st.sampled_from(["1", "3", "2-5", "lognormal:3:0.5:9", "exponential:4:20"]),
    st.integers(1, 200),
)
def test_the_turns_of_a_plan_add_up_and_are_the_same_again(salt, turns, requests) -> None:
    plan = LoadPlan(turns=turns, prompt_tokens="2-9", requests=requests, salt=salt, think_time="exponential:0.1:1")
    found = list(plan.conversation_turns())
    assert sum(found) == requests == plan.planned_requests() and min(found) > 0
    endless = replace(plan, requests=None, duration_s=1.0)
    assert found[:-1] == list(islice(endless.conversation_turns(), len(found) - 1))  # only the last one is shortened
    again = LoadPlan(**asdict(plan))
    assert list(again.conversation_turns()) == found and messages_sha256(again) == messages_sha256(plan)
    assert len({messages_sha256(plan), messages_sha256(replace(plan, salt=salt + 1))}) == 2
    arrivals = replace(plan, rate="100").arrival_offsets()
    assert len(arrivals) == len(found)  # one arrival for each conversation
    open_for = replace(plan, rate="100", requests=None, duration_s=2.0)
    assert open_for.planned_requests() == sum(islice(endless.conversation_turns(), len(open_for.arrival_offsets())))


@given(
    st.text(max_size=10), st.sampled_from(["0", "2s", "1-3s", "0.5s-2s", "exponential:2s:30s", "lognormal:2:0.5:9s"])
)
def test_a_think_time_is_within_its_distribution_and_the_same_again(seed, text) -> None:
    drawn = parse_seconds("think_time", text).draw(seed)
    assert 0 <= drawn <= 30 and drawn == parse_seconds("think_time", text).draw(seed)
    assert text != "2s" or drawn == 2


def test_exponential_times_have_their_mean() -> None:
    times = [parse_seconds("think_time", "exponential:2s").draw(f"{number}") for number in range(4000)]
    assert sum(times) / 4000 == pytest.approx(2, abs=4 * 2 / 4000**0.5)  # four standard errors


@pytest.mark.parametrize("think_time", [None, "0.03s"])
def test_a_slot_holds_one_conversation_and_a_turn_is_due_when_its_user_has_thought(folder, think_time) -> None:
    plan = LoadPlan(turns="3", prompt_tokens="4", requests=24, concurrency=3, warmup=2, think_time=think_time)
    _, run, server = asyncio.run(loaded(folder, plan))
    rows = run.requests[run.requests.phase == "measure"].set_index("request_id").sort_index()
    assert run.requests.phase.eq("warmup").sum() == 2 and len(rows) == 24
    assert list(rows.conversation) == [number // 3 for number in range(24)] and server.most_in_flight <= 3
    think_ns = 0 if think_time is None else 30_000_000
    later = rows[rows.turn > 1]
    answered = rows.done_ns.shift().loc[later.index]
    assert list(later.scheduled_ns - answered) == [think_ns] * len(later)
    assert (rows.sent_ns >= rows.scheduled_ns).all()
    held = [(group.scheduled_ns.min(), group.done_ns.max()) for _, group in rows.groupby("conversation")]
    for at, _ in held:
        assert sum(begin <= at < end for begin, end in held) <= 3
    summary = summarise(run.requests, run.events, concurrency=3)
    assert summary.conversations is not None
    assert (summary.conversations.conversations, summary.conversations.completed) == (8, 8)
    assert [turn.requests for turn in summary.conversations.turns] == [8, 8, 8]
    assert summary.conversations.later.ttft_s.n == 16


def test_the_time_in_which_users_think_is_no_idle_time_of_the_client(folder) -> None:
    plan = LoadPlan(turns="4", prompt_tokens="4", requests=32, concurrency=2, think_time="0.1s")
    _, run, _ = asyncio.run(loaded(folder, plan))
    summary = summarise(run.requests, run.events, concurrency=2)
    assert summary.conversations is not None and summary.concurrency_delivered is not None
    assert summary.conversations.in_progress > summary.concurrency_delivered
    thought_s = think_s(run.requests)
    assert list(thought_s[run.requests.turn > 1]) == pytest.approx([0.1] * 24)
    assert not thought_s[run.requests.turn == 1].any()
    assert summary.slot_idle_share is not None and summary.steady_window_s is not None
    assert summary.slot_idle_share * 2 * summary.steady_window_s <= run.requests.client_queue_s.sum() + 1e-6


def test_in_an_open_loop_conversations_arrive_as_planned(folder) -> None:
    plan = LoadPlan(turns="2-4", prompt_tokens="4", requests=30, rate="200", think_time="exponential:0.01", salt=5)
    _, run, _ = asyncio.run(loaded(folder, plan))
    rows = run.requests.set_index("request_id").sort_index()
    assert len(rows) == 30 and set(rows.outcome) == {"completed"}
    first = rows[rows.turn == 1]
    planned = [int(offset * 1e9) for offset in plan.arrival_offsets()]
    assert list(first.scheduled_ns - first.scheduled_ns.iloc[0]) == [at - planned[0] for at in planned]
    assert (rows[rows.turn > 1].scheduled_ns > rows.done_ns.shift().loc[rows.turn > 1]).all()
    assert (rows.sent_ns >= rows.scheduled_ns).all()


async def fails_second_turns(exchange: Exchange) -> None:
    if len(json.loads(exchange.body)["messages"]) == 4:  # system, user, assistant, user
        await exchange.send(b"HTTP/1.1 503 No\r\nContent-Length: 4\r\n\r\nfull")
    else:
        await speak(exchange)


@pytest.mark.parametrize("loop", [{"concurrency": 2}, {"rate": "100"}])
def test_a_failed_turn_ends_its_conversation_and_the_others_are_rows(folder, loop) -> None:
    plan = LoadPlan(turns="4", prompt_tokens="4", requests=14, **loop)
    reason, run, server = asyncio.run(loaded(folder, plan, fails_second_turns))
    rows = run.requests.sort_values("request_id")
    assert reason is None and list(rows.request_id) == list(range(14)) and len(server.requests) == 8
    assert [*rows.failure.astype(object).where(rows.failure.notna(), None)] == [
        *[None, "http_5xx", "earlier_turn_failed", "earlier_turn_failed"] * 3,
        *[None, "http_5xx"],
    ]
    ended = rows[rows.failure == "earlier_turn_failed"]
    assert set(ended.error) == {"not sent: turn 2 of its conversation failed"} and ended.sent_ns.isna().all()
    assert ended.request_sha256.isna().all()
    summary = summarise(run.requests, run.events, concurrency=None)
    assert summary.completed + summary.failed == summary.requests == 14
    assert summary.conversations is not None and summary.conversations.completed == 0


def test_a_server_that_dies_in_the_second_turn_leaves_a_row_for_each_turn(folder) -> None:
    plan = LoadPlan(turns="3", prompt_tokens="4", requests=60, concurrency=2, think_time="0.01s")

    async def load() -> str | None:
        async def answer(exchange: Exchange) -> None:
            if len(json.loads(exchange.body)["messages"]) == 4:
                server.die()
            else:
                await speak(exchange)

        async with scripted(answer) as server:
            return await run_load(plan, server.endpoint, folder.add)

    assert "stopped answering" in (asyncio.run(load()) or "")
    rows = folder.finish().requests.sort_values("request_id")
    assert list(rows.request_id) == list(range(60)) and set(rows.outcome) == {"completed", "failed"}
    assert list(rows.conversation) == [number // 3 for number in range(60)]
    assert list(rows.turn) == [1, 2, 3] * 20
    sent = rows[rows.sent_ns.notna()]
    assert set(sent[sent.turn == 2].failure) <= {"cut", "connect"} and not (sent.turn == 3).any()
    assert set(rows[rows.turn == 3].failure) == {"earlier_turn_failed", "connect"}


def test_a_load_that_is_stopped_has_one_row_for_each_turn(folder) -> None:
    plan = LoadPlan(turns="2-5", prompt_tokens="4", requests=400, concurrency=3, think_time="exponential:0.01s")

    async def stopped() -> None:
        ended = asyncio.Event()
        async with scripted(speak) as server:
            load = asyncio.ensure_future(run_load(plan, server.endpoint, folder.add, lambda _: ended.set()))
            await ended.wait()
            load.cancel()
            with pytest.raises(asyncio.CancelledError):
                await load

    asyncio.run(stopped())
    run = folder.finish()
    rows = run.requests.sort_values("request_id")
    assert list(rows.request_id) == list(range(400)) and {"completed", "cancelled"} == set(rows.outcome)
    turns = [turn for length in plan.conversation_turns() for turn in range(1, length + 1)]
    assert list(rows.turn) == turns


def test_a_turn_above_the_limit_of_requests_in_flight_ends_its_conversation(folder) -> None:
    plan = LoadPlan(turns="2", prompt_tokens="4", requests=12, rate="1000", arrivals="constant", max_in_flight=1)
    arrived = asyncio.Event()

    async def after_all_arrived(exchange: Exchange) -> None:
        await arrived.wait()
        await speak(exchange)

    def count(trace) -> None:
        if trace.ending == "over_limit" and trace.conversation == 5:
            arrived.set()

    reason, run, _ = asyncio.run(loaded(folder, plan, after_all_arrived, progress=count))
    rows = run.requests.sort_values("request_id")
    assert reason is None and list(rows.failure.iloc[2:]) == ["over_limit", "earlier_turn_failed"] * 5
    assert list(rows.outcome.iloc[:2]) == ["completed"] * 2


def test_with_a_duration_a_conversation_that_has_begun_goes_on_to_its_end(folder) -> None:
    plan = LoadPlan(turns="3", prompt_tokens="4", requests=None, duration_s=0.2, concurrency=2, think_time="0.05s")
    _, run, _ = asyncio.run(loaded(folder, plan))
    rows = run.requests
    assert set(rows.groupby("conversation").turn.max()) == {3} and set(rows.outcome) == {"completed"}
    assert list(sorted(rows.request_id)) == list(range(len(rows)))


def test_the_raw_data_give_the_same_rows_again(folder) -> None:
    plan = LoadPlan(turns="3", prompt_tokens="4", requests=9, concurrency=1)
    _, run, _ = asyncio.run(loaded(folder, plan, fails_second_turns))
    kept = run.requests.sort_values("request_id")
    again = derive_tables(run.traces())[0].sort_values("request_id")
    names = ["request_id", "conversation", "turn", "request_sha256", "failure"]
    pd.testing.assert_frame_equal(again[names].reset_index(drop=True), kept[names].reset_index(drop=True))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"think_time": "2s"}, "think_time is the time between turns of a conversation: give turns"),
        ({"turns": "3"}, "turns needs something to say in each of them: give prompt_tokens or a prompts_file"),
        ({"turns": "0", "prompt_tokens": "5"}, "turns '0' must rise"),
        ({"turns": "3", "prompt_tokens": "5", "sweep": (1, 2)}, "a sweep is of single requests"),
        ({"turns": "3", "prompt_tokens": "5", "think_time": "soon"}, "think_time 'soon' is no time in seconds"),
        ({"turns": "3", "prompt_tokens": "5", "think_time": "exponential:0"}, "think_time 'exponential:0' is no time"),
    ],
)
def test_fields_that_do_not_fit_conversations_are_refused_in_one_line(fields, message) -> None:
    with pytest.raises(UsageError, match=message) as reported:
        LoadPlan(**fields)
    assert "\n" not in str(reported.value)


def test_conversations_are_not_divided_between_processes() -> None:
    with pytest.raises(UsageError, match="conversations are held by one process"):
        LoadShard(0, 2).check(LoadPlan(turns="2", prompt_tokens="5"))
