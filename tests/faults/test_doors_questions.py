"""Whatever a server answers to the questions beside a load, the load ends with a run that can be read."""

import asyncio
import gzip
import json
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gptoss_bench.asking import ANSWER_LIMIT_BYTES, NoAnswer, ask, question_client
from gptoss_bench.cli.main import main
from gptoss_bench.engines.server_facts import fetch
from gptoss_bench.runs.folder import Run
from gptoss_bench.session.server_probes import probe_server
from gptoss_bench.telemetry.prometheus_metrics import read_metrics, window
from gptoss_client import Endpoint, UsageError, parse_json
from hostile import CHAT, Answer, Hostile, document, forever, hostile

FLOOD = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
BOMB = gzip.compress(b" " * (64 << 20))
LONG_HEAD = b"HTTP/1.1 200 OK\r\n"
VLLM = """vllm:prompt_tokens_total 1.0
vllm:generation_tokens_total 2.0
vllm:request_success_total 3.0
vllm:num_requests_running 0.0
vllm:time_to_first_token_seconds_bucket{le="1.0"} 1.0
vllm:time_to_first_token_seconds_bucket{le="+Inf"} 1.0
vllm:time_to_first_token_seconds_sum 0.5
"""
QUESTIONS = ("/v1/models", "/version", "/api/version", "/metrics", "/openapi.json", "/props", "/api/show", "/api/ps")
ANSWERS: dict[str, Answer] = {
    "deep": document(b'{"version":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "list": document(b'["version"]'),
    "null": document(b"null"),
    "nan": document(b'{"version": NaN, "data": NaN, "paths": NaN}'),
    "lone surrogate": document(
        b'{"version": "\\udfff", "data": [{"id": "m", "owned_by": "\\udfff"}], "paths": {"\\ud800": 1}}'
    ),
    "numbers": document({"version": 10**400, "data": [{"id": 3, "max_model_len": 1e308}], "models": 5, "paths": []}),
    "no UTF-8": document(b'{"version": "\xff\xfe"}'),
    "empty": document(b""),
    "bad gzip": document(b"\x1f\x8bno", "200 OK", "Content-Encoding: gzip"),
    "unknown coding": document(b"x", "200 OK", "Content-Encoding: zstd"),
    "bad redirect": document(b"", "302 Found", "Location: http://[::1"),
    "no HTTP": lambda connection, _: connection.sendall(b"\x00\x01\x02 hello\r\n\r\n"),
}


def load(server: Hostile, results: Path, *more: str) -> int:
    """Run a load of three requests with the command line."""
    where = ("--url", server.url, "--model", "m", "--results", str(results), "-c", "1", "-n", "3")
    return main(["load", *where, *more])


def the_run(results: Path) -> Run:
    [folder] = (results / "runs").iterdir()
    return Run.load(folder)


@pytest.mark.parametrize("name", ANSWERS)
def test_an_unreadable_answer_to_any_question_is_none(name, tmp_path, capsys):
    with hostile(dict.fromkeys(QUESTIONS, ANSWERS[name])) as server:
        assert load(server, tmp_path, "--dialect", "openai") == 0
    assert the_run(tmp_path).load_summary.completed == 3
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(forever(FLOOD), "the answer is longer than 8 MiB", id="flood"),
        pytest.param(document(BOMB, "200 OK", "Content-Encoding: gzip"), "longer than 8 MiB", id="gzip bomb"),
        pytest.param(forever(b"1\r\nx\r\n", 0.02), "no whole answer within 0.5 s", id="drip"),
        pytest.param(forever(b"x", 0.02, LONG_HEAD + b"X-A: "), "no whole answer within 0.5 s", id="dripping head"),
        pytest.param(forever(b"HTTP/1.1 100 Continue\r\n\r\n", 0.01, b""), "no whole answer", id="never a head"),
    ],
)
def test_an_answer_has_a_limit_of_bytes_and_a_deadline(answer, reason):
    async def asked() -> None:
        async with question_client(server.url) as http:
            await ask(http, "/x", timeout_s=0.5 if "within" in reason or "whole" in reason else 60)

    with hostile({"/x": answer}) as server, pytest.raises(NoAnswer, match=reason) as caught:
        asyncio.run(asked())
    assert caught.value.connected


def test_an_answer_of_the_longest_length_is_read_whole():
    async def asked(path: str) -> int:
        async with question_client(server.url) as http:
            return len((await ask(http, path, timeout_s=60)).text)

    text = b"x" * ANSWER_LIMIT_BYTES
    packed = document(gzip.compress(text), "200 OK", "Content-Encoding: gzip")
    with hostile({"/plain": document(text), "/packed": packed}) as server:
        assert asyncio.run(asked("/plain")) == asyncio.run(asked("/packed")) == ANSWER_LIMIT_BYTES


def test_a_redirect_is_not_followed_and_gets_no_key(monkeypatch):
    async def status(url: str) -> int:
        async with question_client(url) as http:
            return (await fetch(http, "/v1/models")).status

    monkeypatch.setenv("GPTOSS_API_KEY", "sk-not-for-others")
    with hostile() as other:
        away = document(b"", "307 Temporary Redirect", f"Location: {other.url}/v1/models?key=sk-not-for-others")
        with hostile({"/v1/models": away, "/metrics": away}) as server:
            assert asyncio.run(status(server.url)) == 307
        assert other.requests == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(JSON, JSON)
def test_any_json_of_a_probe_gives_a_record_that_can_be_written(found, usage):
    content = {"usage": usage, "choices": found, "version": found} if usage is not None else found
    with hostile({CHAT: document(json.dumps(content).encode())}) as server:
        endpoint = Endpoint(url=server.url, model="m", dialect="openai", engine="vllm")
        probes = asyncio.run(probe_server(endpoint, timeout_s=30))
    assert probes.model_validate_json(json.dumps(probes.document()), strict=True) == probes


@settings(max_examples=200)
@given(JSON)
def test_parsed_json_can_be_written_and_read_again(value):
    found = parse_json(json.dumps(value))
    text = json.dumps(found, allow_nan=False, ensure_ascii=False).encode().decode()
    assert parse_json(text) == found


numbers = st.floats() | st.sampled_from(["NaN", "+Inf", "1e308", "-1", "x", "9" * 400, "0", "1"])
names = st.sampled_from([line.partition(" ")[0] for line in VLLM.splitlines()] + ['vllm:x_bucket{le="y"}', "{", "a b"])


@given(st.lists(st.tuples(names, numbers), max_size=12), st.lists(st.tuples(names, numbers), max_size=12))
def test_any_metrics_give_finite_numbers_or_one_line(before, after):
    read = []
    for lines in (before, after):
        text = VLLM + "".join(f"{name} {value}\n" for name, value in lines)
        try:
            read.append(read_metrics(text))
        except UsageError:
            return
    found = window(*read)
    assert found.model_validate_json(json.dumps(found.document(), allow_nan=False), strict=True) == found


def test_a_nan_of_the_metrics_leaves_the_run_readable(tmp_path):
    readings = [VLLM, VLLM.replace(" 2.0", " NaN").replace(" 3.0", ' 1e308\nvllm:request_success_total{a="b"} 1e308')]
    lock = threading.Lock()

    def metrics(connection, request):
        with lock:
            text = readings[0] if time.monotonic() < until[0] else readings[1]
        document(text.encode())(connection, request)

    until = [time.monotonic() + 3600]
    with hostile({"/version": document({"version": "0.26.0"}), "/metrics": metrics}) as server:
        chat = server.answers[CHAT]

        def counted(connection, request):
            until[0] = 0.0
            chat(connection, request)

        server.answers[CHAT] = counted
        assert load(server, tmp_path) == 0
    run = the_run(tmp_path)
    assert run.load_summary.completed == 3
    assert run.load_summary.server_metrics is not None
