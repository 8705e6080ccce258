"""Launching the real engines: what is missing is said, and each gets its own command line. Real processes."""

import asyncio
import os
import re
import sys

import psutil
import pytest

from gptoss_bench.engines import launch
from gptoss_bench.engines.launch_options import ServerChoice
from gptoss_bench.engines.open import open_engine
from gptoss_bench.paths import TINY_MODEL
from gptoss_client.errors import UsageError
from serving import entered, usage_error_of


def test_an_engine_that_is_not_installed_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:1")
    monkeypatch.setattr(launch, "BUILD", tmp_path)

    def refusal(kind: str) -> str:
        return usage_error_of(entered(open_engine(ServerChoice(engine=kind), log_dir=tmp_path)))

    for kind in ("ollama", "vllm", "transformers"):
        assert f"{kind} is not on PATH: install it" in refusal(kind)


@pytest.mark.skipif(sys.platform != "linux", reason="cores are chosen on Linux")
@pytest.mark.parametrize("engine", ["vllm", "ollama"])
def test_an_engine_on_the_last_core_leaves_the_others_to_the_client(tmp_path, engine):
    usable = sorted(os.sched_getaffinity(0))

    async def cores_of_the_engine() -> list[set[int]]:
        async with open_engine(ServerChoice(engine=engine, embedded=True, engine_cores="last"), log_dir=tmp_path):
            found = [one for one in psutil.process_iter(["cmdline"]) if str(TINY_MODEL) in (one.info["cmdline"] or [])]
            ours = [one for one in found if psutil.Process() in one.parents() and one.name() != "taskset"]
            return [set(one.cpu_affinity()) for one in ours if "gptoss_bench.engines.llama_server" in one.cmdline()]

    found = asyncio.run(cores_of_the_engine())
    assert {usable[-1]} in found
    assert set(os.sched_getaffinity(0)) == set(usable)


@pytest.mark.skipif(sys.platform != "linux", reason="cores are chosen on Linux")
@pytest.mark.parametrize(
    ("cores", "words"),
    [
        ("first", "engine_cores is 'first'; it has to be like last"),
        ("1-", "engine_cores is '1-'; it has to be like last"),
        ("0-9999", "engine_cores '0-9999': no core"),
    ],
)
def test_cores_that_are_not_there_are_refused_in_one_line(tmp_path, cores, words):
    with pytest.raises(UsageError, match=f"^{re.escape(words)}"):
        asyncio.run(entered(open_engine(ServerChoice(embedded=True, engine_cores=cores), log_dir=tmp_path)))


# Programs that take the real ones' command lines and environment, and serve the tiny model under their names.
STAND_INS = {
    "vllm": '[ "$1" = serve ] && exec "$PYTHON" -m gptoss_bench.engines.llama_server {model} --alias "$2" --port "$6"',
    "transformers": '[ "$4" = 127.0.0.1 ] && exec "$PYTHON" -m gptoss_bench.engines.llama_server {model} --port "$6"',
    "ollama": '[ "$1" = serve ] && exec "$PYTHON" -m gptoss_bench.engines.ollama_emulator.server '
    '--port "${{OLLAMA_HOST#*:}}" --slots "$OLLAMA_NUM_PARALLEL" --context "$OLLAMA_CONTEXT_LENGTH" --log-dir {logs}',
}


@pytest.fixture
def on_path(tmp_path, monkeypatch):
    """Put a stand-in on PATH."""

    def put(kind: str) -> None:
        program = tmp_path / kind
        program.write_text("#!/bin/sh\n" + STAND_INS[kind].format(model=TINY_MODEL, logs=tmp_path) + "\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setenv("PYTHON", sys.executable)
        # Neither an Ollama of this machine nor its models have a part in these tests.
        monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:1")
        monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "models"))

    return put


@pytest.mark.parametrize(("kind", "model"), [("vllm", "some/model"), ("transformers", "m"), ("ollama", "gpt-oss-tiny")])
def test_an_engine_on_path_is_launched_with_its_own_command_line(tmp_path, on_path, kind, model):
    on_path(kind)
    server = open_engine(ServerChoice(engine=kind, model=model, context=512), log_dir=tmp_path, slots=3)
    endpoint = asyncio.run(entered(server))
    assert (endpoint.model, endpoint.dialect) == (model, "ollama" if kind == "ollama" else "openai")
    assert endpoint.ready_s > 0
    if kind == "ollama":
        assert (endpoint.facts["num_parallel"], endpoint.facts["context"]) == (3, 512)
        assert endpoint.label == "TINY MODEL"  # it owned up
    else:
        assert endpoint.engine == kind


def test_an_ollama_without_the_model_says_how_to_pull_it(tmp_path, on_path):
    on_path("ollama")
    server = open_engine(ServerChoice(engine="ollama", model="gpt-oss:20b", context=512), log_dir=tmp_path)
    text = usage_error_of(entered(server))
    assert text.endswith("model 'gpt-oss:20b' not found; to download it: ollama pull gpt-oss:20b")


ONE_ANSWER = """#!{python}
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        self.wfile.write(b'data: {{"choices":[{{"delta":{{"content":"x"}}}}]}}\\n\\ndata: [DONE]\\n\\n')

with HTTPServer(("127.0.0.1", int(sys.argv[6])), Handler) as server:
    server.handle_request()
print("the worker was killed", flush=True)
sys.exit(7)
"""


def test_a_server_that_dies_after_its_first_token_is_reported_as_that(tmp_path, monkeypatch):
    program = tmp_path / "vllm"
    program.write_text(ONE_ANSWER.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    choice = ServerChoice(engine="vllm", model="some/model", engine_cores="last")
    text = usage_error_of(entered(open_engine(choice, log_dir=tmp_path)))
    assert text.startswith("the vllm server ended with exit code 7 after its first token (vllm, log ")
    assert text.endswith("the worker was killed")
