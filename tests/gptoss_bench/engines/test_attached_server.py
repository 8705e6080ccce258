"""Attaching to what runs already: addresses, and servers that are none, refuse, or break their word."""

import asyncio
import subprocess
import sys

import httpx
import pytest

from answering import Exchange, answering
from gptoss_bench.calibration.reference.engine import serve_reference
from gptoss_bench.calibration.reference.plan import ReferencePlan
from gptoss_bench.engines.attached_server import attach, clean_url
from gptoss_bench.engines.known_model import label_unknown_model
from gptoss_bench.engines.llama_cpp import serve_tiny
from gptoss_bench.engines.ollama import EMULATOR_NAME
from gptoss_bench.engines.ollama_emulator.engine import serve_emulator
from gptoss_bench.engines.process import LOOPBACK, free_port
from gptoss_bench.engines.readiness import accepts_token_counts
from gptoss_bench.engines.registry import REFERENCE_SERVER
from gptoss_bench.runs.manifest import EndpointRecord
from gptoss_client.errors import UsageError
from gptoss_client.trace import Endpoint
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


def api(status: int, answer: object, models: tuple[str, ...] = ("m",), owner: str = "", **paths: object):
    """A server that lists models and answers every chat in the same way, and further paths as given."""

    async def serve(exchange: Exchange) -> None:
        if exchange.path == "/v1/models":
            return await exchange.json(200, {"data": [{"id": name, "owned_by": owner} for name in models]})
        if exchange.path == "/v1/chat/completions":
            return await exchange.json(status, answer)
        known = paths.get(exchange.path.strip("/").replace("/", "_"))
        return await exchange.json(200 if known else 404, known or {"detail": "Not Found"})

    return serve


async def attached(answer, model: str = "m", **more):
    async with answering(answer) as url:
        return await attach(url, model, **more)


def vllm(name: str, root: str):
    """A vLLM without /metrics that serves weights from `root` under a name."""

    async def serve(exchange: Exchange) -> None:
        if exchange.path == "/v1/models":
            entry = {"id": name, "root": root, "owned_by": "vllm", "max_model_len": 4096}
            return await exchange.json(200, {"data": [entry]})
        await api(200, SPOKEN, version={"version": "0.32.0"})(exchange)

    return serve


def test_a_vllm_is_known_by_its_owner_and_version_and_tells_its_context():
    found = asyncio.run(attached(vllm("m", "openai/gpt-oss-20b")))
    assert (found.engine, found.version, found.facts["context"]) == ("vllm", "0.32.0", 4096)
    assert found.facts["engine_known_by"] == ["/v1/models is owned by vllm", "/version answers"]
    assert found.facts["notes"] == ["this vLLM has no /metrics: the run has no timings of the server"]
    assert (found.quantisation, found.label, found.keep_alive) == (None, None, True)


@pytest.mark.parametrize(
    ("root", "weights", "known"),
    [
        ("openai/gpt-oss-20b", "openai/gpt-oss-20b", True),
        ("/not/here/gpt-oss-120b-mxfp4", "gpt-oss-120b-mxfp4", True),
        ("/hub/models--openai--gpt-oss-20b/snapshots/0123", "openai/gpt-oss-20b", True),
        ("Qwen/Qwen3-8B", "Qwen/Qwen3-8B", False),
        ("/not/here/secret/checkpoint", "checkpoint", False),
        ("someone/gpt-oss-2b", "someone/gpt-oss-2b", False),
    ],
)
def test_a_model_is_judged_by_the_weights_that_were_loaded_and_not_by_its_served_name(root, weights, known):
    found = asyncio.run(attached(vllm("openai/gpt-oss-20b", root), "openai/gpt-oss-20b"))
    assert (found.label, found.facts["weights"]) == (None if known else "UNKNOWN MODEL", weights)
    said = f"its weights: {weights}; its parameters were not counted"
    if known:
        assert found.facts["model_known_by"] == said
    else:
        assert found.facts["notes"][-1] == f"it is not known that this model is a gpt-oss: {said}"


@pytest.mark.parametrize(
    ("name", "parameters", "label"),
    [
        ("gpt-oss", None, None),
        ("gpt-oss:120b", None, None),
        ("unsloth/gpt-oss-20b-GGUF", None, None),
        ("openai/gpt_oss_20b", None, None),
        ("my-model", None, "UNKNOWN MODEL"),
        ("gpt-oss-tuned", None, "UNKNOWN MODEL"),
        ("gpt-oss-200b", None, "UNKNOWN MODEL"),
        ("my-model", 20_914_757_184, None),
        ("my-model", 116_829_156_672, None),
        ("gpt-oss-20b", 8_965_291_104, "UNKNOWN MODEL"),
    ],
)
def test_the_number_of_parameters_decides_and_else_the_name(name, parameters, label):
    facts = {"parameters": parameters} if parameters else {}
    endpoint = Endpoint(url="", model=name, dialect="openai", engine="llama.cpp", facts=facts)
    assert label_unknown_model(endpoint).label == label


def test_a_model_that_is_known_to_be_none_keeps_its_label():
    tiny = Endpoint(url="", model="m", dialect="openai", engine="llama.cpp", label="TINY MODEL, CPU")
    assert label_unknown_model(tiny) is tiny


@pytest.mark.parametrize("version", [32, ["0.32.0"], {}, False])
def test_a_version_that_is_no_text_is_unknown_and_the_endpoint_can_be_stored(version):
    found = asyncio.run(attached(api(200, SPOKEN, owner="vllm", version={"version": version})))
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
    assert (found.engine, found.model, found.version) == ("openai-compatible", "m", None)
    unknown = "it is not known that this model is a gpt-oss: the engine is not recognised, so its name m proves nothing"
    assert (found.label, dict(found.facts)) == ("UNKNOWN MODEL", {"notes": [unknown]})


@pytest.mark.parametrize(
    ("paths", "signs"),
    [
        ({"version": {"version": "1"}}, ["/version answers (vllm)"]),
        (
            {"api_version": {"version": "0.9"}, "api_tags": {"models": []}},
            ["/api/version and /api/tags answer (ollama)"],
        ),
        ({"api_version": {"version": "0.9"}}, []),
    ],
)
def test_one_sign_that_other_engines_give_too_proves_none(paths, signs):
    found = asyncio.run(attached(api(200, SPOKEN, **paths)))
    assert (found.engine, found.dialect, found.label) == ("openai-compatible", "openai", "UNKNOWN MODEL")
    assert found.facts.get("engine_known_by", []) == signs


def renaming(url: str):
    """A proxy of the server at `url` that puts its own name into the header Server, as nginx does."""

    async def serve(exchange: Exchange) -> None:
        asked = exchange.request
        async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_S) as http:
            content = {"content": asked.body} if asked.body else {}
            answer = await http.request(asked.method, f"{url}{asked.uri}", **content)
        exchange.set_status(answer.status_code)
        exchange.set_header("Server", "nginx/1.29.0")
        exchange.set_header("Content-Type", answer.headers.get("Content-Type", "text/plain"))
        exchange.finish(answer.content)

    return serve


@pytest.mark.parametrize(
    ("serve", "engine", "dialect", "label"),
    [
        (lambda folder: serve_tiny(folder, slots=1), "llama.cpp", "openai", "TINY MODEL"),
        (lambda folder: serve_emulator(folder, slots=1), EMULATOR_NAME, "ollama", "TINY MODEL"),
        (lambda folder: serve_reference(ReferencePlan(), folder), REFERENCE_SERVER, "openai", "REFERENCE SERVER"),
    ],
)
def test_behind_a_proxy_that_renames_the_server_it_is_recognised(tmp_path, serve, engine, dialect, label):
    async def seen() -> Endpoint:
        async with serve(tmp_path) as endpoint, answering(renaming(endpoint.url)) as url:
            return await attach(url, "")

    found = asyncio.run(seen())
    assert (found.engine, found.dialect, found.label) == (engine, dialect, label)
    assert len(found.facts["engine_known_by"]) >= 1
    assert not any("Server header" in sign for sign in found.facts["engine_known_by"])


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
    assert text.endswith("refuses access (HTTP 401): put its key into the variable GPTOSS_API_KEY")


@pytest.mark.parametrize("door", ["models", "chat"])
def test_a_key_that_is_not_accepted_is_told_apart_from_one_that_lacks(monkeypatch, door):
    monkeypatch.setenv("GPTOSS_API_KEY", "sk-secret")

    async def locked(exchange: Exchange) -> None:
        if door == "chat" and exchange.request.path == "/v1/models":
            return await exchange.json(200, {"data": [{"id": "m"}]})
        await exchange.json(401, {"error": "Unauthorized"})

    text = usage_error_of(attached(locked))
    assert "refuses access (HTTP 401): it does not accept the key in GPTOSS_API_KEY" in text


def test_a_server_whose_list_of_models_fails_says_with_which_status():
    async def failing(exchange: Exchange) -> None:
        await exchange.json(500, {"error": "database is locked"})

    text = usage_error_of(attached(failing, ""))
    assert text.endswith("it lists none, /v1/models answers with HTTP 500")


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
