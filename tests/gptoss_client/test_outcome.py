"""Outcomes: every way in which a request can end, its class of failure and what its row keeps."""

import gzip

import pandas as pd
import pytest

from gptoss_client.outcome import ERROR_CHARS
from gptoss_client.trace import Trace
from recordings import body
from streams import AFTER_FIRST_TOKEN, DONE, HTML, Timed, answer, finish, ollama, role, row, sse, trace, usage

STARTED: list[Timed] = [(10, role()), (40, answer())]
GZIP = gzip.compress(b"data: {}\n\n" * 9)
REFUSED = b'{"error": {"message": "too\n long"}}'


@pytest.mark.parametrize(
    ("one", "failure", "message"),
    [
        (trace([], sent_ns=None, status=None, ending="connect", error="refused"), "connect", "refused"),
        (trace([], sent_ns=None, status=None, ending="timeout", error="no slot"), "connect", "no slot"),
        (trace([], status=None, ending="timeout", error="not ended within 5 s"), "timeout", "within 5 s"),
        (trace(STARTED, ending="timeout", error="not ended within 5 s"), "timeout", "within 5 s"),
        (trace([(3, REFUSED)], status=400), "http_4xx", '{"error": {"message": "too long"}}'),
        (trace([(3, b"busy")], status=503, ending="cut"), "http_5xx", "busy"),
        (trace([], status=500), "http_5xx", "HTTP status 500"),
        (trace([(3, b"")], status=302), "malformed", "302"),
        (trace([*STARTED, (50, sse({"error": {"message": "boom"}})), (50, DONE)]), "in_stream_error", "boom"),
        (trace([(9, ollama(" yes")), (9, b'{"error": "boom"}\n')]), "in_stream_error", "boom"),
        (trace(STARTED, ending="cut", error="peer closed"), "cut", "peer closed"),
        (trace([*STARTED, (50, finish()), (50, DONE)], ending="cut", error="peer closed"), "cut", "peer closed"),
        (trace(STARTED), "cut", "no finish_reason"),
        (trace([]), "empty", "no body"),
        (trace([(10, role()), (20, finish()), (20, usage(0)), (20, DONE)]), "empty", "finish reason stop"),
        (trace([(10, role()), (20, finish("content_filter")), (20, DONE)]), "empty", "reason content_filter"),
        (trace([*STARTED, (50, finish("abort")), (50, usage(1)), (50, DONE)]), "in_stream_error", "reason abort"),
        (trace([(9, sse({"hello": 1}))]), "cut", "Messages of Anthropic"),
        (trace([(9, GZIP)]), "malformed", "the body is compressed with gzip, but Content-Encoding identity was"),
        (trace([(9, GZIP)], ending="malformed", error="uses Content-Encoding gzip"), "malformed", "uses Content-Enc"),
        (trace([(9, HTML)]), "malformed", "502 Bad Gateway"),
        (trace([(9, b"data: {nonsense\n\n"), (9, DONE)]), "malformed", "nonsense"),
        (trace([], status=None, ending="malformed", error="illegal status line"), "malformed", "illegal"),
    ],
)
def test_each_class_of_failure(one: Trace, failure: str, message: str) -> None:
    seen = row(one)
    assert (seen["outcome"], seen["failure"], seen["truncated"]) == ("failed", failure, False)
    assert message in seen["error"]
    assert "\n" not in seen["error"]
    assert seen[AFTER_FIRST_TOKEN].isna().all()
    assert one.status == 200 or seen["events"] == 0  # what refuses a request is no stream
    assert pd.isna(seen["ttft_s"]) == (not any(b" yes" in data for _, data in one.pieces))


@pytest.mark.parametrize(
    ("name", "failure", "message"),
    [
        ("runner_killed_midstream", "in_stream_error", "encountered while running the model: unexpected EOF"),
        ("v1_runner_killed_midstream", "cut", "an error of Ollama, which its OpenAI API does not pass on"),
        ("repeat_abort_chat", "cut", "Ollama ends a reply so after 30 equal tokens in a row"),
        ("repeat_abort_v1", "cut", "Ollama ends a reply so after 30 equal tokens in a row"),
        ("err_format", "in_stream_error", "invalid format"),
    ],
)
def test_how_a_real_ollama_fails_in_a_stream(name: str, failure: str, message: str) -> None:
    seen = row(trace([(900, body(f"ollama-0.33.0-rc2/{name}"))]))
    assert (seen["outcome"], seen["failure"]) == ("failed", failure)
    assert message in seen["error"]


def test_a_cancelled_request_keeps_its_first_token() -> None:
    seen = row(trace(STARTED, ending="cancelled", error="cancelled before the end of the response", done_ns=None))
    assert (seen["outcome"], pd.isna(seen["failure"]), seen["ttft_s"]) == ("cancelled", True, 0.040)
    assert seen[AFTER_FIRST_TOKEN].isna().all()
    assert seen["done_ns"] == seen["sent_ns"] + 40_000_000


def test_a_long_error_is_cut() -> None:
    assert len(row(trace([(3, b"nope" * 5000)], status=500))["error"]) == ERROR_CHARS
