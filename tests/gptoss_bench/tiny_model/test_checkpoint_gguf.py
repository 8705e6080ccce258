"""A checkpoint with random weights as GGUF: the same values, and llama.cpp's server speaks it to the token limit."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from transformers.integrations import mxfp4

from gptoss_bench.engines.llama_cpp import serve_tiny
from gptoss_bench.tiny_model.checkpoint_gguf import write_checkpoint_gguf
from gptoss_bench.tiny_model.gguf_import import load_tiny
from gptoss_client import LoadPlan, UsageError
from gptoss_client.request_bodies import request_body
from serving import held, said_by
from wide_layers import write_wide_layers


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A checkpoint of two wide layers with the tokenizer of the tiny model, and its GGUF file."""
    source, folder = tmp_path_factory.mktemp("tokenizer"), tmp_path_factory.mktemp("checkpoint")
    write_wide_layers(folder, source)
    write_checkpoint_gguf(folder, folder / "made.gguf", "gpt-oss random-weights")
    return folder, folder / "made.gguf"


def test_each_tensor_has_the_values_of_the_checkpoint(made: tuple[Path, Path]) -> None:
    folder, path = made
    found = load_tiny(path, layers=2)[0].state_dict()
    weights: dict[str, torch.Tensor] = {}
    for file in folder.glob("*.safetensors"):
        with safe_open(file, framework="pt") as content:
            weights |= {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118
    for name in [name for name in weights if name.endswith("_blocks")]:
        blocks, scales = weights.pop(name), weights.pop(name.replace("_blocks", "_scales"))
        weights[name.removesuffix("_blocks")] = mxfp4._convert_moe_packed_tensors(blocks, scales)
    assert found.keys() == weights.keys()
    for name, value in weights.items():
        assert torch.equal(found[name], value.float()), name


def test_llama_cpp_serves_it_and_an_answer_goes_on_to_its_limit(made: tuple[Path, Path], tmp_path: Path) -> None:
    with held(serve_tiny(tmp_path, slots=1, context=1024, model=made[1])) as endpoint:
        said = said_by(endpoint, request_body(LoadPlan(prompt="Hello", max_tokens=200), endpoint, 0))
    assert (said.completion_tokens, said.finish_reason, said.error) == (200, "length", None)
    assert said.answer_text and not said.reasoning_text


def test_only_a_packed_checkpoint_is_converted(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"lm_head.weight": "a"}}))
    with pytest.raises(UsageError, match="is not packed as MXFP4"):
        write_checkpoint_gguf(tmp_path, tmp_path / "made.gguf", "x")
