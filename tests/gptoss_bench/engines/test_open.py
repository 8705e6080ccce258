"""The embedded llama.cpp and the doors to every engine: real servers, started, asked, killed, attached to."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from gptoss_bench.engines.attached_server import attach
from gptoss_bench.engines.launch_options import ServerChoice
from gptoss_bench.engines.llama_cpp import serve_tiny
from gptoss_bench.engines.ollama import unload
from gptoss_bench.engines.open import open_engine
from gptoss_bench.engines.process import LOOPBACK, ServerProcess, free_port
from gptoss_bench.engines.readiness import wait_for_first_token
from gptoss_bench.engines.supervisor import descendants
from gptoss_bench.paths import TINY_MODEL
from gptoss_client.plan import LoadPlan
from gptoss_client.request_bodies import request_body
from gptoss_client.trace import Endpoint
from serving import below, entered, get, held, said_by, script, usage_error_of, wait_until_gone

SLOTS, CONTEXT = 16, 1024


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The embedded engine, one server for all tests that only ask."""
    with held(serve_tiny(tmp_path_factory.mktemp("tiny"), slots=SLOTS, context=CONTEXT)) as endpoint:
        yield endpoint


def unreachable() -> Endpoint:
    """An address where nothing listens."""
    with free_port() as port:
        return Endpoint(url=f"http://{LOOPBACK}:{port}", model="m", dialect="openai", engine="vllm")


def serving_here() -> set[int]:
    """The processes that this one has started."""
    return set(descendants(os.getpid()))


def is_speaking(log_dir: Path) -> bool:
    """Whether a server that logs there has answered a request to its end."""
    return any("stop processing" in log.read_text() for log in log_dir.glob("llama-server.log"))


def test_the_embedded_engine_says_what_it_is(tiny):
    assert (tiny.engine, tiny.dialect, tiny.model) == ("llama.cpp", "openai", "gpt-oss-tiny")
    assert (tiny.label, tiny.quantisation, tiny.keep_alive) == ("TINY MODEL", "MXFP4", False)
    assert tiny.version.startswith("xllamacpp 20")
    assert (tiny.facts["slots"], tiny.facts["context"], tiny.facts["threads"]) == (SLOTS, CONTEXT, 1)
    assert tiny.facts["parameters"] < 5e6
    assert tiny.ready_s > 0


def test_it_streams_its_thinking_and_then_its_answer(tiny):
    said = said_by(tiny, request_body(LoadPlan(prompt="How long until the first token?"), tiny, 0))
    assert (said.finish_reason, said.error, said.ended) == ("stop", None, True)
    assert said.reasoning_text and said.answer_text
    assert said.output_events < said.completion_tokens < 256
    assert said.timings.source == "llama.cpp"


def test_it_keeps_metrics(tiny):
    assert get(tiny, "/slots")[0]["n_ctx"] == CONTEXT


@pytest.mark.parametrize("tail", ["", "/", "/v1", "/v1/", "/v1/chat/completions"])
def test_attaching_finds_out_engine_and_model(tiny, tail):
    found = asyncio.run(attach(tiny.url + tail, ""))
    assert (found.url, found.engine, found.model, found.dialect) == (tiny.url, "llama.cpp", "gpt-oss-tiny", "openai")
    assert (found.label, found.quantisation, found.keep_alive) == ("TINY MODEL", "MXFP4", False)
    assert found.ready_s is None


def test_attaching_through_the_one_door_starts_nothing(tiny, tmp_path):
    server = open_engine(ServerChoice(engine="vllm", embedded=True, url=tiny.url, model=tiny.model), log_dir=tmp_path)
    assert asyncio.run(entered(server)).url == tiny.url
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_is_not_served_is_refused_with_those_that_are(tiny):
    text = usage_error_of(attach(tiny.url, "gpt-oss:20b"))
    assert text == f"{tiny.url} does not serve the model gpt-oss:20b: it lists gpt-oss-tiny"


def test_an_engine_without_ollamas_api_is_no_ollama_and_cannot_unload(tiny):
    assert "is no Ollama server (it looks like llama.cpp)" in usage_error_of(attach(tiny.url, "", "ollama"))
    assert "cannot unload a model" in usage_error_of(unload(tiny))
    assert "the dialect 'soap' is unknown" in usage_error_of(attach(tiny.url, "", "soap"))


def test_the_embedded_stand_in_is_gone_when_the_block_ends_in_an_exception(tmp_path):
    seen: list[int] = []
    before = serving_here()

    async def fail() -> None:
        async with open_engine(ServerChoice(engine="vllm", embedded=True), log_dir=tmp_path, slots=2) as endpoint:
            assert (endpoint.engine, endpoint.facts["slots"]) == ("llama.cpp", 2)
            seen.extend(serving_here() - before)
            raise RuntimeError("of the caller")

    with pytest.raises(RuntimeError, match="of the caller"):
        asyncio.run(fail())
    wait_until_gone(seen)


@pytest.mark.parametrize("moment", ["ready", "starting"])
def test_a_cancelled_task_leaves_no_server(tmp_path, moment):
    """Once inside the block, once while the server, which never answers, is waited for."""
    seen: list[int] = []

    async def hold() -> None:
        if moment == "starting":
            process = ServerProcess(["sleep", "600"], tmp_path / "log")
            try:
                await wait_for_first_token(process, unreachable(), timeout_s=600)
            finally:
                await process.stop()
        async with serve_tiny(tmp_path, slots=1):
            await asyncio.sleep(600)

    async def cancel() -> None:
        before = serving_here()
        task = asyncio.create_task(hold())
        while len(serving_here() - before) < 2 or (moment == "ready" and not is_speaking(tmp_path)):
            await asyncio.sleep(0.02)
        seen.extend(serving_here() - before)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    wait_until_gone(seen)


HOLDER = """
import asyncio, sys
from pathlib import Path
from gptoss_bench.engines import ServerChoice, open_engine

async def main():
    server = ServerChoice(engine=sys.argv[2], embedded=True)
    async with open_engine(server, log_dir=Path(sys.argv[1])) as endpoint:
        print(endpoint.url, flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.mark.parametrize("kind", ["vllm", "ollama"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_neither_ctrl_c_nor_a_killed_parent_leaves_a_server(tmp_path, kind, number):
    with script(HOLDER, tmp_path, kind) as holder:
        assert holder.stdout.readline().startswith("http://127.0.0.1:")
        processes = below(holder.pid, least=4 if kind == "ollama" else 2)  # leash and server, twice for the front
        holder.send_signal(number)
        wait_until_gone(processes)


def test_a_server_that_dies_while_it_starts_is_reported_with_its_last_words(tmp_path):
    async def start() -> None:
        log = tmp_path / "server.log"
        process = ServerProcess(["sh", "-c", "echo loading; echo 'CUDA out of memory' >&2; exit 3"], log)
        await wait_for_first_token(process, unreachable(), timeout_s=60)

    text = usage_error_of(start())
    assert "the vllm server ended with exit code 3 before it was ready" in text
    assert text.endswith("loading | CUDA out of memory")


def test_the_first_error_of_a_server_that_dies_goes_before_its_last_words(tmp_path):
    lines = (
        "(EngineCore pid=7) \\033[31mERROR\\033[0m 11-24 10:00:00 [core.py:1] ValueError: too little free memory",
        "(EngineCore pid=7) KeyError: of the clean-up",
        "(APIServer pid=1) Traceback (most recent call last):",
        "(APIServer pid=1) File serve.py, line 1",
        "(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above.",
    )

    async def start() -> None:
        echo = "; ".join(f"printf '{line}\\n'" for line in lines) + "; exit 1"
        await wait_for_first_token(ServerProcess(["sh", "-c", echo], tmp_path / "log"), unreachable(), timeout_s=60)

    text = usage_error_of(start())
    assert "): ValueError: too little free memory | (APIServer pid=1) Traceback" in text
    assert text.endswith("Engine core initialization failed. See root cause above.")


def test_a_server_that_never_answers_is_given_up(tmp_path):
    async def start() -> None:
        process = ServerProcess(["sleep", "600"], tmp_path / "server.log")
        try:
            await wait_for_first_token(process, unreachable(), timeout_s=0.5)
        finally:
            await process.stop()

    assert "gave no token within 0.5 s" in usage_error_of(start())


def test_a_file_that_is_no_model_is_reported_with_the_servers_last_words(tmp_path):
    torn = tmp_path / "torn.gguf"
    torn.write_bytes(TINY_MODEL.read_bytes()[:5000])
    text = usage_error_of(entered(serve_tiny(tmp_path, model=torn)))
    assert "the llama.cpp server ended with exit code" in text
    assert str(tmp_path / "llama-server.log") in text


def test_a_missing_model_says_how_to_make_it(tmp_path):
    text = usage_error_of(entered(serve_tiny(tmp_path, model=tmp_path / "gpt-oss-tiny.gguf")))
    assert "is missing: run `make model` (about" in text


@pytest.mark.parametrize("wrong", [{"slots": 0}, {"context": 0}, {"threads": -1}])
def test_sizes_that_make_no_sense_are_refused(tmp_path, wrong):
    assert f"{next(iter(wrong))} must be 1 or more" in usage_error_of(entered(serve_tiny(tmp_path, **wrong)))
