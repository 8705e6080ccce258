"""Attaching to what runs already: addresses, and servers that are none, refuse, or break their word."""

import asyncio
import subprocess
import sys

import pytest

from answering import Exchange, answering
from gptoss_bench.engines.attached_server import attach, clean_url
from gptoss_bench.engines.process import LOOPBACK, free_port
from gptoss_bench.engines.readiness import accepts_token_counts
from gptoss_bench.runs.manifest import EndpointRecord
from gptoss_client.errors import UsageError
from serving import PATIENCE_S, usage_error_of

SPOKEN = {"choices": [{"delta": {"content": "Hello"}, "finish_reason": "stop"}]}


@pytest.mark.parametrize(
    ("url", "root"),
    [
        ("http://h:1", "http://h:1"),
        (" https://h/ ", "https://h"),
        ("http://h:8000/v1/chat/completions/", "http://h:8000"),
        ("http://h:11434/api/chat", "http://h:11434"),
        ("https://h/behind/a/proxy/v1", "https://h/behind/a/proxy"),
        ("http://[::1]:80/v1", "http://[::1]:80"),
    ],
)
def test_addresses_are_made_clean(url, root):
    assert clean_url(url) == root


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://h", "write http://HOST:PORT"),
        ("localhost:8000", "write http://HOST:PORT"),
        ("http://", "write http://HOST:PORT"),
        ("http://h:99999", "cannot be read"),
        ("http://h:port", "cannot be read"),
        ("http://[::1", "cannot be read"),
        ("http://me:secret@h", "user or password"),
        ("http://secret@h", "user or password"),
        ("http://me:secret@h:port", "cannot be read|user or password"),
        ("ftp://me:secret@h", "user or password"),
        ("http://h/?key=secret", "query or fragment"),
        ("http://h/#secret", "query or fragment"),
    ],
)
def test_addresses_that_are_none_are_refused_and_secrets_not_repeated(url, words):
    with pytest.raises(UsageError, match=words) as caught:
        clean_url(url)
    assert "secret" not in str(caught.value)


def api(status: int, answer: object, models: tuple[str, ...] = ("m",), **paths: object):
    """A server that lists models and answers every chat in the same way, and further paths as given."""

    async def serve(exchange: Exchange) -> None:
        if exchange.path == "/v1/models":
            return await exchange.json(200, {"data": [{"id": name} for name in models]})
        if exchange.path == "/v1/chat/completions":
            return await exchange.json(status, answer)
        known = paths.get(exchange.path.strip("/").replace("/", "_"))
        return await exchange.json(200 if known else 404, known or {"detail": "Not Found"})

    return serve


async def attached(answer, model: str = "m", **more):
    async with answering(answer) as url:
        return await attach(url, model, **more)


def test_a_vllm_is_known_by_its_version_and_tells_its_context():
    async def serve(exchange: Exchange) -> None:
        if exchange.path == "/v1/models":
            return await exchange.json(200, {"data": [{"id": "m", "max_model_len": 4096}]})
        await api(200, SPOKEN, version={"version": "0.32.0"})(exchange)

    found = asyncio.run(attached(serve))
    assert (found.engine, found.version, found.facts["context"]) == ("vllm", "0.32.0", 4096)
    assert found.facts["notes"] == ["this vLLM has no /metrics: the run has no timings of the server"]
    assert (found.quantisation, found.label, found.keep_alive) == (None, None, True)


@pytest.mark.parametrize("version", [32, ["0.32.0"], {}, False])
def test_a_version_that_is_no_text_is_unknown_and_the_endpoint_can_be_stored(version):
    found = asyncio.run(attached(api(200, SPOKEN, version={"version": version})))
    assert (found.engine, found.version) == ("vllm", None)
    assert EndpointRecord.of(found).version is None


@pytest.mark.parametrize(("start", "engine"), [("vllm:", "vllm"), ("llamacpp:", "llama.cpp")])
def test_an_engine_behind_a_proxy_is_known_by_the_names_of_its_metrics(start, engine):
    async def serve(exchange: Exchange) -> None:
        if exchange.path == "/metrics":
            text = f"# TYPE {start}prompt_tokens counter\n{start}prompt_tokens_total 3\n"
            return await exchange.stream("text/plain", text.encode())
        await api(200, SPOKEN)(exchange)

    assert asyncio.run(attached(serve)).engine == engine


def test_a_server_that_says_nothing_of_itself_is_compatible():
    found = asyncio.run(attached(api(200, SPOKEN, models=()), "m"))
    assert (found.engine, found.model, found.version, dict(found.facts)) == ("openai-compatible", "m", None, {})
    assert found.label == "UNKNOWN MODEL"


@pytest.mark.parametrize(("models", "named"), [(("a", "b"), "it lists a, b"), ((), "it lists none")])
def test_the_model_has_to_be_said_where_there_is_not_just_one(models, named):
    text = usage_error_of(attached(api(200, SPOKEN, models=models), ""))
    assert text.startswith("choose a model of http://127.0.0.1:") and "--model NAME" in text and text.endswith(named)


@pytest.mark.parametrize(
    ("status", "answer", "words"),
    [
        (401, {"error": "no"}, "refuses access (HTTP 401): put its key into the variable GPTOSS_API_KEY"),
        (403, {"error": "no"}, "refuses access (HTTP 403)"),
        (404, {"error": {"message": "The model `m` does not exist."}}, "does not serve m (HTTP 404): The model `m`"),
        (500, {"detail": "out of\nmemory"}, "gave no token of m (HTTP 500): out of memory"),
        (200, {"error": "gone"}, "gave no token of m: gone"),
        (
            200,
            {"choices": [{"delta": {}, "finish_reason": "stop"}]},
            "the reply ended without output and without tokens",
        ),
    ],
)
def test_a_server_that_gives_no_token_is_refused_in_its_own_words(status, answer, words):
    assert words in usage_error_of(attached(api(status, answer)))


def test_a_server_that_locks_everything_wants_a_key():
    async def locked(exchange: Exchange) -> None:
        await exchange.json(401, {"error": "Unauthorized"})

    text = usage_error_of(attached(locked))
    assert text.endswith("refuses access (HTTP 401): put its key into GPTOSS_API_KEY")


def test_the_key_is_sent_and_never_shown(monkeypatch):
    monkeypatch.setenv("GPTOSS_API_KEY", "sk-secret")
    heads: list[bytes] = []

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        body = b'{"error": "bad header: Bearer sk-secret"}'
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)
        writer.close()

    text = usage_error_of(attached_to_raw(echo))
    assert all(b"\r\nAuthorization: Bearer sk-secret\r\n" in head for head in heads) and heads
    assert text.endswith("(HTTP 400): bad header: Bearer *********")


async def attached_to_raw(connection) -> None:
    server = await asyncio.start_server(connection, LOOPBACK, 0)
    async with server:
        await attach(f"http://{LOOPBACK}:{server.sockets[0].getsockname()[1]}", "m")


def test_what_speaks_no_http_is_named_so():
    async def mail(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"220 mail.example ESMTP\r\n")
        writer.close()

    assert "does not speak HTTP" in usage_error_of(attached_to_raw(mail))


def test_what_hangs_up_is_named_so():
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    assert usage_error_of(attached_to_raw(hang_up)).startswith("what answers at http://127.0.0.1:")


def test_where_nothing_listens_nothing_answers():
    with free_port() as port:
        text = usage_error_of(attach(f"http://{LOOPBACK}:{port}", "m"))
    assert text.startswith(f"nothing answers at http://{LOOPBACK}:{port} (")


def test_a_web_server_is_no_model_server(tmp_path):
    with free_port() as port:
        command = [sys.executable, "-u", "-m", "http.server", str(port), "--bind", LOOPBACK]
        with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            try:
                assert process.stdout.readline().startswith(b"Serving HTTP")
                text = usage_error_of(attach(f"http://{LOOPBACK}:{port}", "m"))
            finally:
                process.kill()
    assert "answers with a web page and not with an API" in text


def test_a_model_that_never_speaks_is_given_up():
    async def silent(exchange: Exchange) -> None:
        if exchange.request.method == "POST":
            await asyncio.sleep(PATIENCE_S)
        await api(200, SPOKEN)(exchange)

    assert "no token came from m" in usage_error_of(attached(silent, timeout_s=0.2))


@pytest.mark.parametrize("refuses", [True, False])
def test_running_token_counts_are_tried_once(refuses):
    async def serve(exchange: Exchange) -> None:
        refused = refuses and b"continuous_usage_stats" in exchange.request.body
        await api(400 if refused else 200, {"error": {"message": "extra field"}} if refused else SPOKEN)(exchange)

    async def accepted() -> bool:
        async with answering(serve) as url:
            return await accepts_token_counts(await attach(url, "m"))

    assert asyncio.run(accepted()) is not refuses
