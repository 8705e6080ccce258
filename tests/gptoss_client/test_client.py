"""One request gives one trace, whatever the server does. Sockets and faults are real."""

import asyncio
import time

import pytest

from gptoss_bench.engines.doctor.facts import kernel_timestamps
from gptoss_client.arrivals import ENDS_WITH_EVENT, ONE_SEGMENT
from gptoss_client.client import Client
from gptoss_client.errors import UsageError
from gptoss_client.event_loop import NO_EPOLL_VARIABLE, SocketPoller
from gptoss_client.plan import LoadPlan
from gptoss_client.request_bodies import Request
from gptoss_client.timestamps import NO_KERNEL_TIMESTAMPS_VARIABLE, keep_kernel_timestamps_on
from gptoss_client.trace import Endpoint, Trace
from scripted import END, HEAD, Exchange, chunk, ending, event, scripted, speak

needs_kernel = pytest.mark.skipif(
    not (SocketPoller.is_available() and kernel_timestamps()), reason="no epoll or no kernel timestamps"
)
CLOCKS_NS = 1_000_000  # tolerance between the two clocks on a busy machine
REQUEST = Request(request_id=3, phase="measure", prompt_id=1, scheduled_ns=5, body=b'{"model":"m"}')


async def traces_of(answer, *, times: int = 1, timeout_s: float = 20.0) -> list[Trace]:
    traces: list[Trace] = []
    async with scripted(answer) as server, Client(server.endpoint, LoadPlan(timeout_s=timeout_s)) as client:
        for _ in range(times):
            await client.send(REQUEST, traces.append)
    return traces


def test_a_whole_answer_is_kept_byte_for_byte_with_rising_timestamps():
    [trace] = asyncio.run(traces_of(speak))
    assert (trace.ending, trace.status, trace.error, trace.retries) == ("complete", 200, None, 0)
    body = b"".join(data for _, data in trace.pieces)
    assert body.startswith(event(role="assistant", content="")) and body.endswith(ending(3))
    timestamps = [trace.sent_ns, *(timestamp for timestamp, _ in trace.pieces), trace.done_ns]
    assert timestamps == sorted(timestamps)
    assert (trace.request_id, trace.phase, trace.prompt_id, trace.scheduled_ns) == (3, "measure", 1, 5)
    assert trace.connect_s > 0


def test_a_connection_that_is_kept_is_used_again():
    first, second = asyncio.run(traces_of(speak, times=2))
    assert first.connect_s > 0
    assert second.connect_s == 0


async def cut_in_a_chunk(exchange: Exchange) -> None:
    await exchange.send(HEAD, chunk(event(content="Hel")), b"ff\r\ndata: {")
    exchange.writer.close()


async def reset_in_the_stream(exchange: Exchange) -> None:
    await exchange.send(HEAD, chunk(event(content="Hel")))
    await asyncio.sleep(0.05)
    exchange.reset()


async def not_http(exchange: Exchange) -> None:
    await exchange.send(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
    exchange.writer.close()


async def bad_chunk_size(exchange: Exchange) -> None:
    await exchange.send(HEAD, b"not a size\r\n")


async def silence(exchange: Exchange) -> None:
    await asyncio.sleep(30)


async def silence_in_the_stream(exchange: Exchange) -> None:
    await exchange.send(HEAD, chunk(event(content="Hel")))
    await asyncio.sleep(30)


async def refusal(exchange: Exchange) -> None:
    await exchange.send(b'HTTP/1.1 429 Busy\r\nContent-Length: 17\r\n\r\n{"error": "full"}')


@pytest.mark.parametrize(
    ("answer", "ending", "status", "pieces"),
    [
        (cut_in_a_chunk, "cut", 200, True),
        (reset_in_the_stream, "cut", 200, True),
        (not_http, "malformed", None, False),
        (bad_chunk_size, "malformed", 200, False),
        (silence, "timeout", None, False),
        (silence_in_the_stream, "timeout", 200, True),
        (refusal, "complete", 429, True),
    ],
)
def test_every_fault_ends_as_a_trace_of_its_class(answer, ending, status, pieces):
    [trace] = asyncio.run(traces_of(answer, timeout_s=1.0))
    assert (trace.ending, trace.status, bool(trace.pieces)) == (ending, status, pieces)
    assert trace.sent_ns is not None
    assert (trace.error is None) == (ending == "complete")


def test_a_closed_port_is_a_failure_to_connect():
    async def run() -> Trace:
        async with scripted(speak) as server:
            endpoint = server.endpoint
        async with Client(endpoint) as client:
            return await client.send(REQUEST)

    trace = asyncio.run(run())
    assert (trace.ending, trace.sent_ns, trace.connect_s) == ("connect", None, None)


def test_a_kept_connection_that_was_closed_is_opened_once_more():
    async def close_while_saying_keep_alive(exchange: Exchange) -> None:
        if exchange.number == 2:  # the second request comes over the first one's connection
            exchange.reset()
            return
        await speak(exchange)

    first, second = asyncio.run(traces_of(close_while_saying_keep_alive, times=2))
    assert (first.ending, first.retries) == ("complete", 0)
    assert (second.ending, second.retries) == ("complete", 1)
    assert second.pieces and second.connect_s > 0


@pytest.mark.parametrize("wait_s", [0.0, 0.002, 0.05, 0.15])
def test_a_cancelled_request_is_recorded_once_and_the_cancellation_is_raised(wait_s):
    async def slowly(exchange: Exchange) -> None:
        await asyncio.sleep(0.1)
        await exchange.send(HEAD)
        for _ in range(50):
            await exchange.send(chunk(event(content="x")))
            await asyncio.sleep(0.1)
        await exchange.send(chunk(ending(50)), END)

    async def cancel() -> list[Trace]:
        traces: list[Trace] = []
        async with scripted(slowly) as server, Client(server.endpoint) as client:
            task = asyncio.create_task(client.send(REQUEST, traces.append))
            await asyncio.sleep(0)  # the task has begun
            await asyncio.sleep(wait_s)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        return traces

    [trace] = asyncio.run(cancel())
    assert trace.ending == "cancelled"


async def late_then_on_time(exchange: Exchange) -> None:
    """Send two events 0.1 s apart while the client cannot read, then one more and the end."""
    await exchange.send(HEAD)
    await asyncio.sleep(0.05)
    for text in ("a", "b"):
        exchange.writer.write(chunk(event(content=text)))
        time.sleep(0.1)  # noqa: ASYNC251 - the client shares this loop
    await asyncio.sleep(0.05)
    for part in (chunk(event(content="c")) + chunk(event(content="d")), chunk(ending(4)), END):
        await exchange.send(part)
        await asyncio.sleep(0.02)


@needs_kernel
def test_a_late_read_is_an_interval_and_a_read_of_one_segment_is_exact():
    [trace] = asyncio.run(traces_of(late_then_on_time))
    late, packed, last = [
        arrival_ns - at for (arrival_ns, _), at in zip(trace.pieces, trace.not_before_ns, strict=True)
    ]
    assert late >= 0.1e9  # the first event of this read arrived 0.1 s before its timestamp
    assert int(trace.read_marks[0], 16) == ENDS_WITH_EVENT
    assert trace.pieces[1][1] == event(content="c") + event(content="d")
    assert (packed, last, trace.read_marks[1:]) == (0, 0, f"{ONE_SEGMENT:x}" * 2)


@pytest.mark.parametrize(
    ("variable", "source"), [(NO_EPOLL_VARIABLE, "data_received"), (NO_KERNEL_TIMESTAMPS_VARIABLE, "read")]
)
def test_without_a_facility_of_linux_an_arrival_is_never_exact_and_still_bounded(monkeypatch, variable, source):
    monkeypatch.setenv(variable, "1")
    if not SocketPoller.is_available():
        source = "data_received"
    [trace] = asyncio.run(traces_of(late_then_on_time))
    assert (trace.ending, trace.timestamp_source, trace.lags_ns) == ("complete", source, ())
    times = [arrival_ns for arrival_ns, _ in trace.pieces]
    assert all(not_before_ns < at for not_before_ns, at in zip(trace.not_before_ns, times, strict=True))
    assert trace.not_before_ns[0] >= trace.sent_ns
    assert times[0] - trace.not_before_ns[0] >= 0.1e9


@needs_kernel
def test_a_timestamp_is_the_arrival_and_not_the_reading_on_a_busy_client():
    sent_ns: list[int] = []
    keep_kernel_timestamps_on()
    time.sleep(0.5)  # the kernel enables timestamps with a delay

    async def then_hold_the_loop(exchange: Exchange) -> None:
        for part in (HEAD, chunk(event(content="Hel"))):
            await exchange.send(part)
            await asyncio.sleep(0.05)
        sent_ns.append(time.perf_counter_ns())
        exchange.writer.write(chunk(event(content="lo")))
        time.sleep(0.3)  # noqa: ASYNC251 - the client shares this loop: it cannot read before this is over
        sent_ns.append(time.perf_counter_ns())
        await asyncio.sleep(0.05)  # a read of its own: bytes that are read together share one timestamp
        await exchange.send(chunk(ending(2)), END)

    [trace] = asyncio.run(traces_of(then_hold_the_loop))
    assert trace.timestamp_source == "kernel"
    assert len(trace.lags_ns) == len(trace.pieces)
    before_ns, after_ns = sent_ns
    (arrival_ns, data), lag_ns = trace.pieces[1], trace.lags_ns[1]
    assert data == event(content="lo")
    assert before_ns - CLOCKS_NS < arrival_ns < after_ns - CLOCKS_NS
    assert arrival_ns + lag_ns >= after_ns


def test_the_key_goes_into_the_header_and_nowhere_else(monkeypatch):
    monkeypatch.setenv("GPTOSS_API_KEY", "sk-very-secret")
    heads: list[bytes] = []

    async def note(exchange: Exchange) -> None:
        heads.append(exchange.head)
        await refusal(exchange)

    [trace] = asyncio.run(traces_of(note))
    assert b"authorization: bearer sk-very-secret" in heads[0].lower()
    assert "secret" not in repr(trace)


def test_a_key_that_http_cannot_carry_is_refused_without_being_shown(monkeypatch):
    monkeypatch.setenv("GPTOSS_API_KEY", "schlüssel\nx")
    with pytest.raises(UsageError, match="GPTOSS_API_KEY") as reported:
        Client(Endpoint(url="http://127.0.0.1:1", model="m", dialect="openai", engine="none"))
    assert "schl" not in str(reported.value)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://user:secret@127.0.0.1:1", "GPTOSS_API_KEY"),
        ("http://secret@127.0.0.1:1", "GPTOSS_API_KEY"),
        ("ftp://127.0.0.1:1", "http://HOST:PORT"),
        ("127.0.0.1:8000", "http://HOST:PORT"),
        ("", "http://HOST:PORT"),
        ("http://127.0.0.1:99999", "http://HOST:PORT"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_in_one_line_without_credentials(url, words):
    with pytest.raises(UsageError, match=words) as reported:
        Client(Endpoint(url=url, model="m", dialect="openai", engine="none"))
    assert "\n" not in str(reported.value)
    assert "secret" not in str(reported.value)
