"""The reference server as a real process: what each option puts on the wire, and a log with each event once."""

import asyncio
import re
import signal
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_bench.calibration.accuracy import stream_numbers
from gptoss_bench.calibration.reference.engine import reference_options
from gptoss_bench.calibration.reference.plan import FAULT_BLOCK, ReferencePlan, SlotQueue, due_ns, fault, split_points
from gptoss_bench.calibration.reference.send_log import read_send_log
from gptoss_bench.calibration.reference.stream import TOKEN_TEXTS
from gptoss_bench.engines.attached_server import attach
from gptoss_client.client import Client
from gptoss_client.decoder import decode_body
from gptoss_client.dialects import assemble_reply
from gptoss_client.errors import UsageError
from gptoss_client.outcome import request_outcome
from gptoss_client.plan import LoadPlan
from gptoss_client.request_bodies import Request, request_body
from gptoss_client.trace import Endpoint

QUICK = {"ttft_s": 0.0, "itl_s": 0.0005, "tokens": 12}


def reply_text(tokens: int) -> str:
    """The text of a reply with that many tokens, reasoning and answer together."""
    return "".join(TOKEN_TEXTS[at % len(TOKEN_TEXTS)] for at in range(tokens))


class Watched:
    """A server that runs, and after the block its log."""

    def __init__(self, url: str, path: Path) -> None:
        self.url, self.path = url, path

    @property
    def log(self):
        return read_send_log(self.path)

    def endpoint(self, dialect: str) -> Endpoint:
        return Endpoint(url=self.url, model="reference", dialect=dialect, engine="reference-server")

    def ask(self, count=1, dialect="openai", slots=1, **plan):
        """The traces of `count` requests through the kit's own client, in the order of their sending."""
        endpoint, traces = self.endpoint(dialect), []
        body = request_body(LoadPlan(**plan), endpoint, 0)

        async def slot(ids):
            async with Client(endpoint, LoadPlan(timeout_s=60.0)) as client:
                for request_id in ids:
                    await client.send(Request(body, request_id), traces.append)

        async def all_slots():
            await asyncio.gather(*(slot(range(at, count, slots)) for at in range(slots)))

        asyncio.run(all_slots())
        return sorted(traces, key=lambda trace: trace.request_id)


@contextmanager
def served(tmp_path, end=signal.SIGTERM, **changes):
    """Run `reference-server` with a quick plan; the log is written when the block ends."""
    path = tmp_path / "send_log.parquet"
    command = [sys.executable, "-m", "gptoss_bench", "reference-server", "--log", str(path)]
    process = subprocess.Popen(
        [*command, *reference_options(ReferencePlan(**QUICK | changes))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield Watched(process.stdout.readline().strip(), path)
        process.send_signal(end)
        _, reported = process.communicate(timeout=240)
        assert process.returncode == 0, reported
        assert re.fullmatch(r"\d+ events of \d+ streams; own lateness .*\n", reported)
    finally:
        process.kill()
        process.wait()


def decoded(trace):
    return assemble_reply(decode_body(piece for _, piece in trace.pieces))


def events_of(trace):
    return decode_body(piece for _, piece in trace.pieces)


WIRES = [
    {},
    {"role": "first"},
    {"role": "never"},
    {"tokens_per_event": 5},
    {"usage": "continuous", "tokens_per_event": 4},
    {"comment_every": 3},
    {"crlf": True, "comment_every": 1},
    {"torn": 7},
    {"torn": 3, "torn_gap_s": 0.0004, "crlf": True},
    {"torn": 2000, "comment_every": 1},
    {"jitter_s": 0.003, "seed": 4},
    {"lockstep": True, "itl_s": 0.002},
    {"lockstep": True, "jitter_s": 0.001},
    {"accept_s": 0.05},
    {"events_per_write": 5},
    {"events_per_write": 3, "torn": 4},
]


@pytest.mark.parametrize("changes", WIRES, ids=str)
def test_a_reply_is_whole_however_it_is_sent_and_its_log_has_each_event_once(tmp_path, changes):
    with served(tmp_path, **changes) as server:
        asked = [server.ask(3, dialect) for dialect in ("openai", "ollama")]
    log = server.log
    streams = {
        id(trace): number for traces in asked for trace, number in zip(traces, stream_numbers(traces), strict=True)
    }
    assert list(streams.values()) == list(range(6))
    for trace in (trace for traces in asked for trace in traces):
        reply = decoded(trace)
        assert request_outcome(trace, reply).name == "completed"
        assert reply.answer_text == reply_text(12)
        assert (reply.completion_tokens, reply.prompt_tokens, reply.finish_reason) == (12, 7, "stop")
        rows = log.events[log.events.stream == streams[id(trace)]]
        events = events_of(trace)
        assert list(rows.event) == list(range(len(events)))
        assert list(rows.output) == [event.is_output for event in events]
        assert rows.tokens.sum() == 12
        assert rows.sent_ns.is_monotonic_increasing
        assert (rows.sent_after_ns >= rows.sent_ns).all()
        assert (rows.sent_ns >= rows.due_ns).all()
        assert trace.sent_ns <= rows.sent_ns.iloc[0]
        arrivals = [trace.pieces[event.piece][0] for event in events]
        assert all(seen > left for seen, left in zip(arrivals, rows.sent_ns, strict=True))
    assert log.plan == ReferencePlan(**QUICK | changes)


@pytest.mark.parametrize(("role", "kinds"), [("early", ["role"]), ("first", ["role"]), ("never", [])])
def test_the_role_chunk_comes_at_once_with_the_first_token_or_never(tmp_path, role, kinds):
    with served(tmp_path, role=role, ttft_s=0.02) as server:
        [trace] = server.ask()
    assert [event.kind for event in events_of(trace) if event.kind == "role"] == kinds
    rows = server.log.events
    first_ns = rows[rows.output].due_ns.iloc[0]
    assert first_ns == rows.asked_ns.iloc[0] + 20_000_000
    assert (rows.due_ns.iloc[0] < first_ns) == (role == "early")


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content", "both"])
def test_the_reasoning_share_is_in_the_fields_that_were_asked_for(tmp_path, name):
    with served(tmp_path, reasoning=name, reasoning_share=0.25) as server:
        [trace], [ollama] = server.ask(), server.ask(dialect="ollama")
    for reply in (decoded(trace), decoded(ollama)):
        assert (reply.reasoning_text, reply.answer_text) == (reply_text(3), reply_text(12).removeprefix(reply_text(3)))
    body = b"".join(piece for _, piece in trace.pieces)
    assert body.count(b'"reasoning":') == (3 if name in ("reasoning", "both") else 0)
    assert body.count(b'"reasoning_content":') == (3 if name in ("reasoning_content", "both") else 0)
    assert b"".join(piece for _, piece in ollama.pieces).count(b'"thinking":') == 3


@pytest.mark.parametrize("dialect", ["openai", "ollama"])
def test_no_usage_leaves_the_counts_unknown(tmp_path, dialect):
    with served(tmp_path, usage="none") as server:
        [trace] = server.ask(dialect=dialect)
    assert decoded(trace).completion_tokens is None
    assert decoded(trace).output_events == 12


def test_continuous_usage_counts_in_each_event(tmp_path):
    with served(tmp_path, usage="continuous", tokens_per_event=5) as server:
        [trace] = server.ask()
    assert [event.completion_tokens for event in events_of(trace) if event.is_output] == [5, 10, 12]


@pytest.mark.parametrize("dialect", ["openai", "ollama"])
def test_a_request_that_wants_fewer_tokens_gets_them_and_the_reason(tmp_path, dialect):
    with served(tmp_path) as server:
        [trace] = server.ask(dialect=dialect, max_tokens=5)
    assert (decoded(trace).answer_text, decoded(trace).finish_reason) == (reply_text(5), "length")


@pytest.mark.parametrize("dialect", ["openai", "ollama"])
def test_faults_strike_exactly_the_requests_that_the_seed_names(tmp_path, dialect):
    rates = {"http_errors": 0.1, "stream_errors": 0.15, "cuts": 0.2, "seed": 3}
    plan = ReferencePlan(**QUICK | rates)
    with served(tmp_path, **rates) as server:
        traces = server.ask(FAULT_BLOCK, dialect, slots=4)
    numbers = stream_numbers(traces)
    endings = {
        numbers[trace.request_id]: request_outcome(trace, decoded(trace))
        for trace in traces
        if trace.request_id in numbers
    }
    assert sorted(endings) == list(range(FAULT_BLOCK))
    classes = {"http": "http_5xx", "error": "in_stream_error", "cut": "cut", None: None}
    assert {n: ending.failure for n, ending in endings.items()} == {
        n: classes[fault(plan, n)] for n in range(FAULT_BLOCK)
    }
    assert Counter(e.failure for e in endings.values()) == {"http_5xx": 10, "in_stream_error": 15, "cut": 20, None: 55}
    log = server.log.events
    assert set(log[log.kind == "refused"].stream) == {n for n in range(FAULT_BLOCK) if fault(plan, n) == "http"}
    assert not log.duplicated(["stream", "event"]).any()
    for trace in traces:
        outputs = [event for event in events_of(trace) if event.is_output]
        assert log[log.stream == numbers[trace.request_id]].output.sum() == len(outputs)


def test_a_refusal_has_the_status_that_was_asked_for(tmp_path):
    with served(tmp_path, http_errors=1.0, http_status=429) as server:
        [trace] = server.ask()
    assert trace.status == 429
    assert "refused, as planned" in request_outcome(trace, decoded(trace)).error


def test_in_lockstep_all_streams_send_at_common_ticks(tmp_path):
    with served(tmp_path, lockstep=True, itl_s=0.004, ttft_s=0.01) as server:
        server.ask(8, slots=4)
    outputs = server.log.events.query("output")
    assert outputs.due_ns.mod(4_000_000).nunique() == 1
    assert outputs.stream.nunique() == 8


def test_a_client_that_reads_late_gets_everything_and_the_timestamps_follow_it(tmp_path):
    with served(tmp_path, tokens=40_000, itl_s=0.0) as server:
        stream = httpx.stream(
            "POST", f"{server.url}/v1/chat/completions", json={"stream": True}, timeout=240, trust_env=False
        )
        pieces = stream.__enter__().iter_raw()
        read = [next(pieces)]
        other = server.ask(max_tokens=2)  # the server is not held up by a client that does not read
        read += pieces
    assert decoded(other[0]).answer_text == reply_text(2)
    assert assemble_reply(decode_body(read)).answer_text == reply_text(40_000)
    rows = server.log.events.query("stream == 0")
    assert rows.output.sum() == 40_000
    assert rows.sent_ns.is_monotonic_increasing


def test_a_client_that_leaves_costs_its_own_stream_alone(tmp_path):
    with served(tmp_path, tokens=2000, itl_s=0.001) as server:
        with httpx.stream(
            "POST", f"{server.url}/v1/chat/completions", json={"stream": True}, trust_env=False
        ) as stream:
            next(stream.iter_raw())
        [trace] = server.ask(max_tokens=3)
    assert decoded(trace).answer_text == reply_text(3)
    log = server.log.events
    assert log.query("stream == 0").output.sum() < 2000
    assert log.query("stream == 1").output.sum() == 3


def test_ctrl_c_writes_the_log_of_what_was_under_way(tmp_path):
    with served(tmp_path, signal.SIGINT, tokens=3000, itl_s=0.01) as server:
        response = httpx.stream("POST", f"{server.url}/v1/chat/completions", json={"stream": True}, trust_env=False)
        next(response.__enter__().iter_raw())
    assert list(server.log.events.kind)[:1] == ["role"]
    assert 1 <= len(server.log.events) < 3000


@pytest.mark.parametrize("dialect", ["", "openai", "ollama"])
def test_the_kit_attaches_and_says_what_it_is(tmp_path, dialect):
    with served(tmp_path, seed=9) as server:
        endpoint = asyncio.run(attach(server.url, "", dialect))
    assert (endpoint.engine, endpoint.label, endpoint.model) == ("reference-server", "REFERENCE SERVER", "reference")
    assert endpoint.dialect == (dialect or "openai")
    assert endpoint.facts["seed"] == 9


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 3\r\n\r\n{,}", b"400"),
        (b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 2\r\n\r\n[]", b"400"),
        (b"GET /nowhere HTTP/1.1\r\n\r\n", b"404"),
    ],
)
def test_what_is_no_request_is_refused_and_the_server_goes_on(tmp_path, request_bytes, status):
    async def tell(port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for byte in request_bytes:  # one by one, as a slow line would bring them
            writer.write(bytes([byte]))
            await writer.drain()
        line = await reader.readline()
        writer.close()
        return line

    with served(tmp_path) as server:
        assert asyncio.run(tell(int(server.url.rpartition(":")[2]))).split()[1] == status
        assert decoded(server.ask()[0]).answer_text == reply_text(12)


def test_a_request_that_wants_its_connection_closed_is_obeyed(tmp_path):
    with served(tmp_path) as server:
        reply = httpx.post(
            f"{server.url}/api/chat", json={}, headers={"Connection": "close"}, timeout=240, trust_env=False
        )
    assert reply.headers["connection"] == "close"
    assert assemble_reply(decode_body([reply.content])).answer_text == reply_text(12)


@pytest.mark.parametrize("dialect", ["openai", "ollama"])
def test_a_reply_that_is_not_streamed_comes_whole_when_its_last_token_is_due(tmp_path, dialect):
    path, limit = {
        "openai": ("/v1/chat/completions", {"max_tokens": 8}),
        "ollama": ("/api/chat", {"stream": False, "options": {"num_predict": 8}}),
    }[dialect]
    plan = {"ttft_s": 0.05, "itl_s": 0.01, "prompt_tokens": 88, "reasoning": "both", "reasoning_share": 0.25}
    with served(tmp_path, **plan) as server:
        reply = httpx.post(f"{server.url}{path}", json=limit, timeout=240, trust_env=False)
    content = reply.json()
    if dialect == "openai":
        message, usage = content["choices"][0]["message"], content["usage"]
        assert usage == {"prompt_tokens": 88, "completion_tokens": 8, "total_tokens": 96}
        assert content["choices"][0]["finish_reason"] == "length"
        assert message["reasoning"] == message["reasoning_content"] == reply_text(2)
    else:
        message = content["message"]
        assert (content["prompt_eval_count"], content["eval_count"], content["done"]) == (88, 8, True)
        assert message["thinking"] == reply_text(2)
    assert message["content"] == reply_text(8).removeprefix(reply_text(2))
    [row] = server.log.events.itertuples()
    assert (row.kind, row.output, row.tokens) == ("body", False, 8)
    assert row.due_ns == row.asked_ns + 50_000_000 + 7 * 10_000_000 <= row.sent_ns


def test_faults_strike_replies_that_are_not_streamed_too(tmp_path):
    rates = {"stream_errors": 0.5, "cuts": 0.5}
    plan = ReferencePlan(**QUICK | rates)
    with served(tmp_path, **rates) as server:
        for number in range(6):
            try:
                answer = httpx.post(f"{server.url}/v1/chat/completions", json={}, timeout=240, trust_env=False)
                seen = {500: "error"}[answer.status_code]
            except httpx.RemoteProtocolError:
                seen = "cut"
            assert seen == fault(plan, number)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"role": "late"}, "role must be one of"),
        ({"itl_s": -1.0}, "itl_s must be seconds"),
        ({"ttft_s": float("nan")}, "ttft_s must be seconds"),
        ({"tokens": 0}, "tokens must be 1 or more"),
        ({"prompt_tokens": -1}, "prompt_tokens must be 0 or more"),
        ({"reasoning_share": 1.5}, "between 0 and 1"),
        ({"http_status": 200}, "must be an error status"),
        ({"cuts": 0.6, "http_errors": 0.6}, "whole percents"),
        ({"cuts": 0.005}, "whole percents"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(changes, words):
    with pytest.raises(UsageError, match=words):
        ReferencePlan(**changes)


def test_a_file_that_is_no_log_is_refused(tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"no")
    with pytest.raises(UsageError, match="not the log of a reference server"):
        read_send_log(tmp_path / "x.parquet")


@given(st.lists(st.integers(1, 300), max_size=9), st.integers(1, 9), st.integers(0, 99))
def test_splits_keep_every_end_and_cut_only_inside(sizes, torn, seed):
    cut = split_points(ReferencePlan(torn=torn, seed=seed), 5, sizes)
    assert [ends[-1] for ends in cut] == sizes
    for ends in cut:
        assert ends == sorted(set(ends))
        assert ends[0] >= 1
        assert len(ends) == min(torn, ends[-1])


@given(st.integers(0, 30), st.booleans(), st.integers(1, 5), st.integers(0, 10**9), st.integers(0, 99))
def test_due_times_never_run_backwards_and_are_late_by_the_jitter_at_most(jitter_ms, lockstep, each, asked_ns, number):
    plan = ReferencePlan(ttft_s=0.01, itl_s=0.007, jitter_s=jitter_ms / 1e3, lockstep=lockstep, tokens_per_event=each)
    steps = [-1, *range(0, 20, each), 20]
    due = due_ns(plan, number, steps, asked_ns, 0)
    assert due == sorted(due)
    assert due[0] == asked_ns
    gap_ns = 7_000_000 * each
    base = due[1] // gap_ns * gap_ns if lockstep else asked_ns + 10_000_000
    assert asked_ns + 10_000_000 <= due[1]
    if lockstep and not jitter_ms:
        assert due[1] == base
    if not lockstep:
        assert all(
            0 <= at - base - step * 7_000_000 <= jitter_ms * 1e6 for at, step in zip(due[1:], steps[1:], strict=True)
        )


def test_requests_wait_for_a_slot_in_the_order_of_arrival() -> None:
    queue = SlotQueue(ReferencePlan(ttft_s=0.1, itl_s=0.05, tokens=3, slots=2))  # a slot is busy for 0.2 s
    assert [queue.begin_ns(number, 10_000_000 * number, 3) for number in range(5)] == [
        0, 10_000_000, 200_000_000, 210_000_000, 400_000_000,
    ]  # fmt: skip
    assert queue.begin_ns(5, 3_000_000_000, 1) == 3_000_000_000


def test_random_times_to_the_first_token_are_exponential_and_of_the_seed() -> None:
    def drawn_s(seed: int) -> list[float]:
        queue = SlotQueue(ReferencePlan(ttft_s=0.1, random_ttft=True, seed=seed))
        return [queue.begin_ns(number, 0, 1) / 1e9 + 0.1 for number in range(4000)]

    times_s = drawn_s(1)
    assert min(times_s) >= 0
    assert sum(times_s) / len(times_s) == pytest.approx(0.1, rel=0.06)
    assert sum(time_s > 0.1 for time_s in times_s) / len(times_s) == pytest.approx(0.368, abs=0.03)
    assert times_s == drawn_s(1) != drawn_s(2)


def test_a_server_with_one_slot_serves_one_request_at_a_time(tmp_path):
    with served(tmp_path, ttft_s=0.05, tokens=1, slots=1) as server:
        server.ask(6, slots=3)
    log = server.log.events.query("output")
    first = log.groupby("stream").due_ns.min().sort_values()
    assert (first.diff().dropna() >= 50_000_000).all()
