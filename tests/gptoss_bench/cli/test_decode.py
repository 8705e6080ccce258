"""`python -m gptoss_bench decode`, as a process: what it prints, its exit codes, its one line when it cannot read."""

import json
import subprocess
import sys

import pytest

from recordings import WIRE

DECODE = [sys.executable, "-m", "gptoss_bench", "decode"]
SUMS = [
    "answer_text",
    "reasoning_text",
    "completion_tokens",
    "events",
    "output_events",
    "finish_reason",
    "error",
]

CUT = (WIRE / "hostile-cut.sse").read_bytes()


def decoded(file, stdin=b""):
    """The event lines and the last line; the command must have succeeded in silence."""
    done = subprocess.run([*DECODE, str(file)], input=stdin, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    *events, last = [json.loads(line) for line in done.stdout.decode().splitlines()]
    assert list(last) == SUMS
    assert [event["event"] for event in events] == list(range(last["events"]))
    return events, last


def test_a_recorded_http_response_with_chunks():
    events, last = decoded(WIRE / "vllm-chat_stream_continuous_usage.raw")
    assert events[0] == {
        "event": 0,
        "kind": "usage",
        "prompt_tokens": 86,
        "completion_tokens": 0,
        "reasoning_tokens": 0,
    }
    assert list(events[1]) == [
        "event",
        "kind",
        "reasoning",
        "prompt_tokens",
        "completion_tokens",
        "reasoning_tokens",
    ]
    assert events[-1] == {"event": 41, "kind": "done"}
    assert (last["events"], last["output_events"], last["completion_tokens"]) == (42, 39, 48)
    assert (last["finish_reason"], last["error"]) == ("length", None)
    assert last["answer_text"].endswith(" then tokens")


def test_a_recorded_ndjson_response_with_its_timings():
    events, last = decoded(WIRE / "ollamaapi-generate_stream.raw")
    assert events[-1]["timings"]["eval_s"] == 0.096316
    assert "cached_tokens" not in events[-1]["timings"]
    assert (last["events"], last["completion_tokens"], last["finish_reason"]) == (40, 48, "length")


def test_a_recorded_response_without_chunks():
    _, last = decoded(WIRE / "llamacpp-chat_nonstream.raw")
    assert (last["events"], last["output_events"], last["completion_tokens"], last["error"]) == (1, 1, 150, None)


@pytest.mark.parametrize(
    ("stdin", "events", "answer", "error"),
    [
        (b"", 0, "", "empty: there is no body, or no message in it"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 0, "", "empty: there is no body, or no message in it"),
        (b": only a comment\n\n", 0, "", "empty: there is no body, or no message in it"),
        (CUT, 1, "one", "cut: the stream ended before its end: no finish_reason or [DONE]"),
        ((WIRE / "hostile-error.sse").read_bytes(), 3, "one", "EngineCore died"),
        ((WIRE / "hostile-crlf.sse").read_bytes(), 4, "Grüße", None),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\nA: b\n\n" + b'{"error": "no such model"}', 1, "",
         "no such model"),
        (b'data: {"choices":[{"delta":{"content":"\\ud83d"},"finish_reason":"stop"}]}', 1, "\ufffd", None),
    ],
)  # fmt: skip
def test_standard_input(stdin, events, answer, error):
    _, last = decoded("-", stdin)
    assert (last["events"], last["answer_text"], last["error"]) == (events, answer, error)
    assert last["completion_tokens"] is None


def test_a_response_cut_anywhere_in_its_chunks_is_read_as_far_as_it_goes():
    raw = (WIRE / "vllm-chat_stream_continuous_usage.raw").read_bytes()
    seen = [decoded("-", raw[:end])[1]["events"] for end in (100, 250, 800, 4000, len(raw) - 20, len(raw))]
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == (0, 42)
    assert 0 < seen[3] < 42


@pytest.mark.parametrize("file", ["no-such-file", "."])
def test_what_cannot_be_read_is_one_line(file, tmp_path):
    done = subprocess.run([*DECODE, str(tmp_path / file)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert str(tmp_path) in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_that_is_no_response_is_bad_usage_after_its_line(tmp_path):
    text = tmp_path / "README.md"
    text.write_text("# A page\n\nNot a reply.\n")
    done = subprocess.run([*DECODE, str(text)], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and json.loads(done.stdout.splitlines()[0])["kind"] == "error"
    assert f"{text} is no response of a server: received text, not a reply" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_reader_that_leaves_early_is_no_error(tmp_path):
    long = tmp_path / "long.sse"
    long.write_bytes(b'data: {"choices":[{"delta":{"content":"word"}}]}\n\n' * 20_000)  # more than a pipe holds
    with subprocess.Popen([*DECODE, str(long)], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert json.loads(process.stdout.readline()) == {"event": 0, "kind": "output", "answer": "word"}
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0
