"""random:NAME is a checkpoint that is made when it is missing, and a run of it says RANDOM WEIGHTS."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from gptoss_bench.engines import random_model
from gptoss_bench.engines.launch_options import ServerChoice
from gptoss_bench.engines.llama_cpp import serve_tiny
from gptoss_bench.engines.model_files import checkpoint_label
from gptoss_bench.engines.open import open_engine
from gptoss_bench.engines.random_model import resolve_model
from gptoss_bench.engines.vllm import Vllm
from gptoss_bench.memory import architectures, write_random_checkpoint
from gptoss_bench.runs import model_label
from gptoss_client.errors import UsageError
from serving import held

SMALL = replace(
    architectures()["gpt-oss-20b"],
    vocab_size=64,
    hidden_size=64,
    intermediate_size=32,
    num_hidden_layers=1,
    layer_types=("full_attention",),
    num_local_experts=2,
    num_experts_per_tok=1,
)


def test_a_checkpoint_that_was_made_is_found_and_labels_its_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random_model, "RANDOM_CHECKPOINTS", tmp_path)
    write_random_checkpoint(SMALL, tmp_path / "gpt-oss-20b")
    write_random_checkpoint(SMALL, tmp_path / "gpt-oss-20b-2-layers-bf16", "bf16")
    monkeypatch.setattr(random_model, "installed_gpus", lambda: ["a card"])
    for name in ("random:gpt-oss-20b", "random:openai/gpt-oss-20b"):
        assert asyncio.run(resolve_model("vllm", name)) == str(tmp_path / "gpt-oss-20b")
    monkeypatch.setattr(random_model, "installed_gpus", list)
    made_for_cpu = asyncio.run(resolve_model("transformers", "random:gpt-oss-20b-2-layers"))
    assert made_for_cpu == str(tmp_path / "gpt-oss-20b-2-layers-bf16")
    assert asyncio.run(resolve_model("vllm", "openai/gpt-oss-20b")) == "openai/gpt-oss-20b"
    (tmp_path / "vllm").write_text("#!/bin/sh\n")
    (tmp_path / "vllm").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    made = Vllm(str(tmp_path / "gpt-oss-20b")).prepare()
    assert (made.model, made.label) == ("gpt-oss-20b", "TINY MODEL, RANDOM WEIGHTS")
    (tmp_path / "gpt-oss-20b" / "config.json").write_text("{}")
    assert checkpoint_label("gpt-oss-20b", tmp_path / "gpt-oss-20b") == "TINY MODEL"


@pytest.mark.parametrize(
    ("engine", "model", "words"),
    [
        ("vllm", "random:gpt-oss-21b", "choose one of: gpt-oss-20b, gpt-oss-120b"),
        ("vllm", "random:", "choose one of: gpt-oss-20b, gpt-oss-120b"),
        ("vllm", "random:gpt-oss-20b-25-layers", "25 layers are not possible; choose 1 to 24"),
        ("vllm", "random:gpt-oss-20b", "cannot|oss-harmony"),
    ],
)
def test_what_cannot_be_made_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str, model: str, words: str
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setattr(random_model, "RANDOM_CHECKPOINTS", tmp_path / "file")
    with pytest.raises(UsageError, match=words) as refused:
        asyncio.run(resolve_model(engine, model))
    assert "\n" not in str(refused.value)


def test_a_stated_label_is_added_to_those_of_the_server(tmp_path: Path) -> None:
    with held(serve_tiny(tmp_path, slots=1, context=512)) as server:
        choice = ServerChoice(url=server.url, label="RANDOM WEIGHTS")
        with held(open_engine(choice, log_dir=tmp_path)) as endpoint:
            assert endpoint.label == "TINY MODEL, RANDOM WEIGHTS"
    with pytest.raises(UsageError, match="label is for a running server"):
        ServerChoice(engine="vllm", label="RANDOM WEIGHTS")
    with pytest.raises(UsageError, match=r"label .*'RANDOM'"):
        ServerChoice(url="http://h", label="RANDOM")


def test_a_name_with_random_weights_in_it_is_labelled() -> None:
    assert model_label("gpt-oss-20b-random-weights:latest", 20_914_757_184) == "RANDOM WEIGHTS"
    assert model_label("gpt-oss gpt-oss-20b random-weights", None) == "RANDOM WEIGHTS"
    assert model_label("gpt-oss:20b", 20_914_757_184) is None


def test_some_layers_of_a_model_are_not_the_model() -> None:
    assert model_label("gpt-oss-20b-2-layers-random-weights", 2_804_643_712) == "TINY MODEL, RANDOM WEIGHTS"
    assert model_label("another model", 2_804_643_712) is None
