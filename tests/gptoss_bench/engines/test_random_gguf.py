"""random:NAME for llama.cpp and Ollama: the GGUF file is made, read by the package gguf, served and labelled."""

import asyncio
import os
import sys
from pathlib import Path

import gguf
import pytest

import ollama_store
from answering import answering
from gptoss_bench.engines import random_model
from gptoss_bench.engines.launch_options import ServerChoice
from gptoss_bench.engines.llama_gguf import LlamaServer
from gptoss_bench.engines.ollama_models import create_model
from gptoss_bench.engines.open import open_engine
from gptoss_bench.engines.random_model import RandomModel
from gptoss_client import LoadPlan
from gptoss_client.request_bodies import request_body
from serving import entered, held, said_by, usage_error_of
from wide_layers import write_wide_layers

NAME = "random:gpt-oss-20b-2-layers"
MODEL = "gpt-oss-20b-2-layers-random-weights"


@pytest.fixture
def random(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RandomModel:
    """A small checkpoint in the place of that of NAME; no Ollama runs and its store is empty."""
    monkeypatch.setattr(random_model, "RANDOM_CHECKPOINTS", tmp_path / "made")
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:1")
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "store"))
    model = RandomModel.parse(NAME)
    assert model is not None
    write_wide_layers(model.folder(), tmp_path / "tokenizer")
    return model


def test_llama_cpp_serves_the_file_that_is_made_and_the_run_says_what_it_is(
    random: RandomModel, tmp_path: Path
) -> None:
    choice = ServerChoice(engine="llama.cpp", model=NAME, context=512)
    with held(open_engine(choice, log_dir=tmp_path, slots=1)) as endpoint:
        said = said_by(endpoint, request_body(LoadPlan(prompt="Hello", max_tokens=100), endpoint, 0))
    assert (endpoint.engine, endpoint.model) == ("llama.cpp", MODEL)
    assert endpoint.label == "TINY MODEL, RANDOM WEIGHTS"
    assert (said.completion_tokens, said.finish_reason) == (100, "length")
    read = gguf.GGUFReader(random.gguf)
    assert read.get_field("general.architecture").contents() == "gpt-oss"
    assert read.get_field("general.name").contents() == "gpt-oss-20b random-weights"
    assert read.get_field("gpt-oss.block_count").contents() == 2
    experts = {tensor.tensor_type.name for tensor in read.tensors if "_exps.weight" in tensor.name}
    assert experts == {"MXFP4"}
    assert random.folder().is_dir()  # it was there before


def test_an_ollama_gets_the_model_through_its_api_and_is_launched_with_it(
    random: RandomModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    support = Path(ollama_store.__file__).parent
    (tmp_path / "ollama").write_text(f"#!/bin/sh\nPYTHONPATH={support} exec {sys.executable} {ollama_store.__file__}\n")
    (tmp_path / "ollama").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    endpoint = asyncio.run(entered(open_engine(ServerChoice(engine="ollama", model=NAME), log_dir=tmp_path / "logs")))
    assert (endpoint.engine, endpoint.model, endpoint.label) == ("ollama", MODEL, "RANDOM WEIGHTS")
    [blob] = (tmp_path / "store" / "blobs").iterdir()
    assert blob.read_bytes() == random.gguf.read_bytes()


def test_a_service_that_runs_gets_the_model_once(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF" + bytes(10**6))

    async def twice() -> int:
        store = ollama_store.Store(tmp_path / "store")
        async with answering(store.answer) as url:
            await create_model(url, "one", file)
            await create_model(url, "one", file)
            await create_model(url, "two", file)
        return store.uploads

    assert asyncio.run(twice()) == 1


def test_what_ollama_refuses_is_one_line_with_its_words(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"no model")

    async def refused() -> None:
        async def answer(exchange: ollama_store.Exchange) -> None:
            found = exchange.path.startswith("/api/blobs")
            await exchange.json(*((200, {}) if found else (400, {"error": "supplied file was not in GGUF format"})))

        async with answering(answer) as url:
            await create_model(url, "one", file)

    assert usage_error_of(refused()).endswith("(HTTP 400): supplied file was not in GGUF format")


@pytest.mark.parametrize("model", ["", "gpt-oss-20b", "no/such.gguf"])
def test_llama_cpp_needs_a_gguf_file(model: str, tmp_path: Path) -> None:
    choice = ServerChoice(engine="llama.cpp", model=model)
    assert "llama.cpp needs a GGUF file" in usage_error_of(entered(open_engine(choice, log_dir=tmp_path)))


def test_the_command_line_of_llama_server_says_what_was_wished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    file = tmp_path / "made.gguf"
    file.touch()
    flagged = LlamaServer(str(file), 4, 512, ("--n-gpu-layers", "99"))
    assert "xllamacpp takes no flags" in usage_error_of(_prepared(flagged))
    (tmp_path / "llama-server").write_text("#!/bin/sh\n")
    (tmp_path / "llama-server").chmod(0o755)
    assert flagged.prepare().version is None
    command = flagged.command(7)
    assert command[:5] == [str(tmp_path / "llama-server"), "--model", str(file), "--alias", "made"]
    assert command[command.index("--ctx-size") + 1] == "2048"
    assert command[command.index("--parallel") + 1] == "4"
    assert command[-2:] == ["--n-gpu-layers", "99"]
    assert "--ctx-size" not in LlamaServer(str(file), 4).command(7)


async def _prepared(engine: LlamaServer) -> object:
    return engine.prepare()
