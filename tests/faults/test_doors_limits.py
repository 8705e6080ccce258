"""A server that never stops sending, or sends what says nothing, ends as failed rows; nothing grows with it."""

import time
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gptoss_bench.cli.main import main
from gptoss_bench.runs.folder import Run
from gptoss_client.decoder import Decoder, decode_body
from gptoss_client.dialects import Event
from gptoss_client.last_event import LastEvent
from hostile import CHAT, GOOD, HEAD, Answer, after_first, forever, hostile
from scripted import chunk, event

FLOOD = b"10000\r\n" + b": " + b"x" * 0xFFFD + b"\n\r\n"


def loaded(answer: Answer, results: Path, *more: str) -> Run:
    """Load a server that answers the request for a first token well, then one request with `answer`, then well."""
    asked = []

    def second(connection, request):
        asked.append(request)
        (answer if len(asked) == 1 else GOOD)(connection, request)

    with hostile({CHAT: after_first(second)}) as server:
        where = ("--url", server.url, "--model", "m", "--results", str(results), "-c", "1", "-n", "2")
        assert main(["load", *where, *more]) == 0
    [folder] = (results / "runs").iterdir()
    return Run.load(folder)


def test_an_endless_answer_is_one_failed_row(tmp_path):
    run = loaded(forever(FLOOD), tmp_path, "--response-limit", "3")
    assert list(run.requests.failure.fillna("")) == ["malformed", ""]
    assert run.requests.error[0] == "the response is longer than 3 MiB"
    assert sum(len(data) for trace in run.traces() for _, data in trace.pieces) < 4 << 20


ROLE = chunk(event(role="assistant", content=""))
PING = chunk(b": ping\n\n")
FIRST = ("--first-timeout", "0.6")
IDLE = ("--idle-timeout", "0.6")


@pytest.mark.parametrize(
    ("head", "part", "options", "words"),
    [
        pytest.param(HEAD, PING, FIRST, "no first token arrived within 0.6 s", id="pings before the first event"),
        pytest.param(HEAD, chunk(b"\n"), FIRST, "no first token arrived within 0.6 s", id="blank lines"),
        pytest.param(HEAD, chunk(b"data: \n\n"), FIRST, "no first token arrived within 0.6 s", id="empty data"),
        pytest.param(HEAD, chunk(b": d"), FIRST, "no first token arrived within 0.6 s", id="a line without an end"),
        pytest.param(HEAD + ROLE, PING, IDLE, "no data arrived within 0.6 s", id="pings after an event"),
        pytest.param(HEAD + PING + ROLE, PING, IDLE, "no data arrived within 0.6 s", id="event after a ping"),
        pytest.param(HEAD + ROLE, PING, (*FIRST, *IDLE), "no data arrived within 0.6 s", id="both"),
    ],
)
def test_a_server_that_sends_no_event_is_timed_out(head, part, options, words, tmp_path):
    run = loaded(forever(part, 0.05, head), tmp_path, "--timeout", "60", *options)
    assert list(run.requests.failure.fillna("")) == ["timeout", ""]
    assert run.requests.error[0] == words


def test_events_keep_a_request_alive_and_pings_alone_do_not_end_one_without_limits(tmp_path):
    def slow(connection, _):
        connection.sendall(HEAD + PING)
        for number in range(6):
            time.sleep(0.3)
            connection.sendall(chunk(event(content=str(number))))
        GOOD_END = chunk(b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n')
        connection.sendall(GOOD_END + b"0\r\n\r\n")

    run = loaded(slow, tmp_path, "--first-timeout", "5", "--idle-timeout", "1")
    assert list(run.requests.outcome) == ["completed"] * 2


lines = st.sampled_from(
    [b": ping", b"", b"data: ", b"data:", b"data: {}", b"data:[DONE]", b": data: x", b"event: a", b"xdata: y", b"dat"]
)


@given(
    st.sampled_from([b"\n", b"\r\n", b"\r"]),
    st.lists(lines, max_size=12),
    st.lists(st.integers(0, 200), max_size=5),
    st.lists(st.booleans(), max_size=6),
)
def test_the_last_event_is_found_wherever_the_body_is_cut_and_scanned(end, texts, cuts, scans):
    body = b": start" + end + b"".join(text + end for text in texts)
    edges = [0, *sorted({cut % len(body) for cut in cuts} - {0}), len(body)]
    parts = [body[begin:stop] for begin, stop in pairwise(edges)]
    reads = [(None, 100 + at, at + 1, 0, 1) for at in range(len(parts))]
    found = LastEvent()
    for at in range(1, len(parts) + 1):
        if at == len(parts) or (scans and scans[at % len(scans)]):
            found.look(parts[:at], reads[:at])
    offset, last = len(b": start" + end), None
    for text in texts:
        if text.startswith(b"data:") and text[5:].strip():
            last = offset + len(text) + 1  # with the first byte of its line break
        offset += len(text) + len(end)
    where = None if last is None else next(at for at, stop in enumerate(edges[1:]) if stop >= last)
    assert found.read_ns == (None if where is None else 100 + where)


@given(
    st.lists(st.sampled_from([b'{"done":false}', b"", b"  ", b'{"a":1}']), min_size=1, max_size=8),
    st.binary(max_size=3),
)
def test_a_line_of_json_is_an_event(texts, rest):
    body = b'{"model":"m"}\n' + b"".join(text + b"\n" for text in texts)
    found = LastEvent()
    found.look([body, rest.replace(b"\n", b"").replace(b"\r", b"")], [(None, 1, 1, 0, 1), (None, 2, 2, 0, 1)])
    assert found.read_ns == 1


class Plain(Decoder):
    """The decoder without the step that leaves out comments and blank lines."""

    def _without_fill(self, data: bytes) -> bytes:
        return data


TOKEN = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
FILL = [b"\n", b"\n\n\n", b"\n\n\n\n\n", b": ping\n", b":\n", b": a\n: b\n", b"\r\n\r\n\r\n", b"\r", b" \n"]
OTHERS = [TOKEN, b"data: x\n", b"data: y", b"{}\n", b":", b"\xef\xbb\xbf", b"event: error\n", b"text"]
pieces_of = st.lists(st.sampled_from(FILL) | st.sampled_from(OTHERS), max_size=12)


@example([b"\xef\xbb\xbf", TOKEN, b": ping\n"], [])
@given(pieces_of, st.lists(st.integers(0, 300), max_size=6))
def test_what_is_left_out_of_a_body_changes_no_event(parts, cuts):
    body = b"".join(parts)
    edges = [0, *sorted({cut % (len(body) + 1) for cut in cuts}), len(body)]
    pieces = [body[begin:stop] for begin, stop in pairwise(edges)]
    plain = Plain()
    expected = [one for piece in pieces for one in plain.feed(piece)] + plain.close()
    assert decode_body(pieces) == expected


class Counting(Decoder):
    """The decoder, with the number of lines that it looked at one by one."""

    lines = 0

    def _line(self, line: bytes, events: list[Event]) -> None:
        self.lines += 1
        super()._line(line, events)


@pytest.mark.parametrize("part", [b"\n", b": ping\n", b": ping\n\n", b":\r\n\r\n"])
@pytest.mark.parametrize("begin", [b"", b"data: {}\n\n"])
def test_a_million_blank_lines_and_comments_are_not_looked_at_one_by_one(part, begin):
    decoder = Counting()
    assert len(decoder.feed(begin + part * 1_000_000) + decoder.feed(part * 1_000_000) + decoder.close()) <= 1
    assert decoder.lines < 20
