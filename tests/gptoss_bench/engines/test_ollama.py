"""Ollama by its API: what is pulled, what is loaded where, and what is refused; against the front, a real process."""

import asyncio
import contextlib
import inspect
import json
import sys
import time
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

import pytest

from answering import Exchange, answering
from gptoss_bench.engines.attached_server import attach
from gptoss_bench.engines.launch import launched
from gptoss_bench.engines.launch_options import ServerChoice
from gptoss_bench.engines.ollama import Ollama, manifest_of, offload, running_service, service_url
from gptoss_bench.engines.ollama_emulator.engine import serve_emulator
from gptoss_bench.engines.open import open_engine
from gptoss_bench.session.session import serving
from gptoss_client.plan import LoadPlan
from gptoss_client.request_bodies import request_body
from gptoss_client.trace import Endpoint
from serving import entered, get, held, usage_error_of


@pytest.fixture(scope="module")
def front(tmp_path_factory):
    with held(serve_emulator(tmp_path_factory.mktemp("front"), slots=1, context=1024)) as endpoint:
        yield endpoint


@contextlib.asynccontextmanager
async def ollama(loaded: dict, version: str = "0.11.4", parameters: int = 20_914_757_184) -> AsyncIterator[str]:
    """A server with the answers that a real Ollama's sources give; `loaded` is its entry of /api/ps."""
    entry = {"name": "gpt-oss:20b", "model": "gpt-oss:20b", "size": 14_000_000_000, **loaded}
    details = {"family": "gptoss", "parameter_size": "20.9B", "quantization_level": "MXFP4"}
    known = {
        "/api/version": {"version": version},
        "/api/tags": {"models": [{"name": "gpt-oss:20b"}]},
        "/api/ps": {"models": [entry] if loaded else []},
        "/api/show": {"details": details, "model_info": {"general.parameter_count": parameters}},
    }

    async def answer(exchange: Exchange) -> None:
        if exchange.path == "/api/chat":
            lines = (
                {"message": {"role": "assistant", "content": "", "thinking": "so"}, "done": False},
                {"message": {"role": "assistant", "content": "Hello"}, "done": False},
                {"message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop", "eval_count": 2},
            )
            texts = (json.dumps({"model": "gpt-oss:20b", **line}).encode() + b"\n" for line in lines)
            return await exchange.stream("application/x-ndjson", *texts)
        if exchange.path == "/":
            return await exchange.stream("text/plain; charset=utf-8", b"Ollama is running")
        found = known.get(exchange.path)
        await exchange.json(200 if found else 404, found or {"error": "not found"})

    async with answering(answer) as url:
        yield url


async def attached(loaded: dict, **more):
    async with ollama(loaded, **more) as url:
        return await attach(url, "gpt-oss:20b", options={"num_ctx": 8192})


def test_a_model_that_is_wholly_on_the_gpu_carries_no_label():
    found = asyncio.run(attached({"size_vram": 14_000_000_000, "context_length": 8192, "digest": "abc"}))
    assert (found.engine, found.version, found.quantisation, found.label) == ("ollama", "0.11.4", "MXFP4", None)
    assert (found.facts["context"], found.facts["vram_share"], found.facts["parameters"]) == (8192, 1.0, 20914757184)
    assert "notes" not in found.facts


@pytest.mark.parametrize(
    ("vram", "label", "share", "words"),
    [
        ({"size_vram": 7_420_000_000}, "PARTIAL OFFLOAD", 0.53, "53% of the loaded model (7,420,000,000 of"),
        ({"size_vram": 0}, "NO GPU", 0.0, "0% of the loaded model"),
        ({"digest": "a"}, "NO GPU", 0.0, "0% of the loaded model"),  # Go's omitempty may leave a zero out
    ],
)
def test_a_model_that_is_not_marks_the_run(vram, label, share, words):
    found = asyncio.run(attached(vram))
    assert (found.label, found.facts["vram_share"]) == (label, share)
    assert found.facts["notes"][0].startswith(words)


def test_a_tiny_model_is_known_by_its_number_of_parameters():
    """Its `parameter_size` is a text that anyone may write: here it is that of gpt-oss-20b."""
    assert asyncio.run(attached({"size_vram": 14_000_000_000}, parameters=3_271_520)).label == "TINY MODEL"
    assert asyncio.run(attached({"size_vram": 0}, parameters=3_271_520)).label == "TINY MODEL, NO GPU"


@pytest.mark.parametrize("entry", [{}, {"size": 0}, {"size": "14 GB"}])
def test_what_ollama_does_not_tell_marks_nothing(entry):
    assert offload(entry) == (None, [], None)


def test_a_version_that_was_never_tried_works_and_is_noted():
    found = asyncio.run(attached({"size_vram": 14_000_000_000}, version="9.1.0"))
    assert found.label is None
    assert found.facts["notes"] == [
        "this kit was not tried with ollama 9.1.0, only with 0.11.x, 0.33.x: names may differ"
    ]


def test_a_request_says_its_context_and_how_long_the_model_is_kept(front):
    body = json.loads(request_body(LoadPlan(options={"num_ctx": 4096}), front, 0))
    assert (body["options"]["num_ctx"], body["keep_alive"]) == (4096, "30m")


def test_the_first_token_is_asked_for_with_the_context_of_the_load(front):
    found = asyncio.run(attach(front.url, front.model, options={"num_ctx": 640}))
    assert (found.facts["context"], found.label) == (640, "TINY MODEL")


@pytest.mark.parametrize(
    ("model", "file"),
    [
        ("gpt-oss:20b", "registry.ollama.ai/library/gpt-oss/20b"),
        ("gpt-oss", "registry.ollama.ai/library/gpt-oss/latest"),
        ("me/mine:1", "registry.ollama.ai/me/mine/1"),
        ("hf.co/unsloth/gpt-oss-20b-GGUF:F16", "hf.co/unsloth/gpt-oss-20b-GGUF/F16"),
    ],
)
def test_the_store_has_a_manifest_where_ollama_puts_it(tmp_path, model, file):
    assert manifest_of(tmp_path, model) == tmp_path / "manifests" / file


def test_a_model_that_was_not_pulled_is_reported_before_anything_starts(tmp_path, monkeypatch):
    (tmp_path / "ollama").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "ollama").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:1")
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path))
    manifest_of(tmp_path, "other").parent.mkdir(parents=True)
    server = open_engine(ServerChoice(engine="ollama", model="gpt-oss:20b"), log_dir=tmp_path / "logs")
    text = usage_error_of(entered(server))
    assert text.startswith(
        f"ollama has not pulled gpt-oss:20b into {tmp_path}; to download it: ollama pull gpt-oss:20b"
    )
    assert not (tmp_path / "logs").exists()
    manifest_of(tmp_path, "gpt-oss:20b").parent.mkdir(parents=True, exist_ok=True)
    manifest_of(tmp_path, "gpt-oss:20b").write_text("{}")
    assert Ollama("gpt-oss:20b").prepare().model == "gpt-oss:20b"


def test_an_ollama_that_cannot_load_the_model_is_not_asked_again(tmp_path):
    """Its 500 comes from a server that is up, as a real process answers it."""
    words = "model requires more system memory (13.1 GiB) than is available (6.0 GiB)"
    source = f"""
import asyncio, sys
sys.path.insert(0, {str(Path(inspect.getfile(Exchange)).parent)!r})
from answering import answering
async def answer(exchange):
    await exchange.json(500, {{"error": "{words}"}})
async def main():
    async with answering(answer, int(sys.argv[1])):
        await asyncio.Event().wait()
asyncio.run(main())
"""

    class TooLarge(Ollama):
        def prepare(self) -> Endpoint:
            return Endpoint(url="", model=self.model, dialect="ollama", engine="ollama")

        def command(self, port: int) -> list[str]:
            return [sys.executable, "-c", source, str(port)]

    text = usage_error_of(entered(launched(TooLarge("gpt-oss:20b"), tmp_path, timeout_s=600)))
    assert text.endswith(f"gave no token of gpt-oss:20b (HTTP 500): {words}")


@pytest.mark.parametrize(
    ("variable", "url"),
    [
        (None, "http://127.0.0.1:11434"),
        ("", "http://127.0.0.1:11434"),
        ("localhost", "http://localhost:11434"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:8080", "http://127.0.0.1:8080"),
        (":8080", "http://127.0.0.1:8080"),
        ("gpu-box:", "http://gpu-box:11434"),
        ("gpu-box:http", "http://gpu-box:11434"),
        ("gpu-box:65536", "http://gpu-box:11434"),
        ("gpu-box:8080", "http://gpu-box:8080"),
        ("gpu-box:8080/ollama", "http://gpu-box:8080"),
        (" '10.0.0.7' ", "http://10.0.0.7:11434"),
        ("[::]:8080", "http://[::1]:8080"),
        ("::", "http://[::1]:11434"),
        ("[fe80::1]", "http://[fe80::1]:11434"),
        ("http://[::1]:8080/", "http://[::1]:8080"),
        ("http://gpu-box", "http://gpu-box"),
        ("https://ollama.example/", "https://ollama.example"),
    ],
)
def test_the_services_address_is_read_as_ollama_reads_it(monkeypatch, variable, url):
    monkeypatch.delenv("OLLAMA_HOST", raising=False)
    if variable is not None:
        monkeypatch.setenv("OLLAMA_HOST", variable)
    assert service_url() == url


def test_a_service_that_runs_already_is_used_and_nothing_is_started(front, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("OLLAMA_HOST", front.url.removeprefix("http://"))
    assert asyncio.run(running_service("gpt-oss:20b")) is None
    assert asyncio.run(running_service(front.model)) == front.url
    choice = ServerChoice(engine="ollama", model=front.model)
    server = open_engine(choice, log_dir=tmp_path / "logs", request_options={"num_ctx": 768})
    found = asyncio.run(entered(server))
    assert (found.url, found.ready_s, found.facts["context"]) == (front.url, None, 768)
    assert not (tmp_path / "logs").exists()


def test_after_a_run_the_servers_own_keep_alive_holds_again(front, tmp_path):
    """The emulator's own is 5 minutes, as Ollama's; a load asks for 30. The loaded context stays."""
    plan = LoadPlan(concurrency=1, requests=2, max_tokens=4, options={"num_ctx": 704})

    def left() -> tuple[float, int]:
        [loaded] = get(front, "/api/ps")["models"]
        return datetime.fromisoformat(loaded["expires_at"]).timestamp() - time.time(), loaded["context_length"]

    async def run() -> tuple[float, int]:
        choice = ServerChoice(url=front.url, model=front.model)
        async with serving("load", choice, plan=plan, results_dir=str(tmp_path)) as session:
            await session.load(plan)
            meanwhile = left()
            session.finish()
        return meanwhile

    meanwhile_s, context = asyncio.run(run())
    after_s, context_after = left()
    assert (meanwhile_s > 1200, after_s < 310) == (True, True)
    assert context == context_after == 704


@pytest.mark.parametrize(("fields", "words"), [({"options": {"num_ctx": 512}}, "num_ctx"), ({"think": "low"}, "think")])
def test_what_ollamas_openai_api_ignores_is_refused_before_there_is_a_run(front, tmp_path, fields, words):
    choice = ServerChoice(url=front.url, model=front.model, dialect="openai")
    opened = serving("load", choice, plan=LoadPlan(**fields), results_dir=str(tmp_path))
    assert words in usage_error_of(entered(opened))
    assert not list(tmp_path.glob("runs/*"))
