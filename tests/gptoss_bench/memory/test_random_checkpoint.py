"""A checkpoint with random weights: its tensors are those of the model, and its answers follow the chain of tokens."""

import itertools
import json
import shutil
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from transformers import GptOssConfig, GptOssForCausalLM
from transformers.integrations import mxfp4

from gptoss_bench.memory.architecture import FULL, SLIDING, architectures
from gptoss_bench.memory.checkpoint import checkpoint_totals, read_headers
from gptoss_bench.memory.random_checkpoint import Speech, has_random_weights, with_layers, write_random_checkpoint
from gptoss_client.errors import UsageError

SMALL = architectures()["gpt-oss-20b"]
# Wide enough for the chain: the logits of what may follow are near 50, the sums of eight other embeddings about 5.
WIDE = replace(
    SMALL,
    name="wide",
    vocab_size=600,
    hidden_size=1024,
    intermediate_size=64,
    num_hidden_layers=2,
    layer_types=(SLIDING, FULL),
    num_attention_heads=4,
    num_key_value_heads=2,
    num_local_experts=4,
    num_experts_per_tok=2,
)
OPENING, WORDS = (7, 500, 9, 501), tuple(range(100, 164))
SPEECH = Speech.harmony(WORDS, OPENING, seed=3)


def loaded(folder: Path) -> GptOssForCausalLM:
    """The model of a checkpoint; packed experts are unpacked by transformers' own function."""
    weights: dict[str, torch.Tensor] = {}
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            weights |= {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    for name in [name for name in weights if name.endswith("_blocks")]:
        blocks, scales = weights.pop(name), weights.pop(name.replace("_blocks", "_scales"))
        weights[name.removesuffix("_blocks")] = mxfp4._convert_moe_packed_tensors(blocks, scales)
    config = json.loads((folder / "config.json").read_text())
    config.pop("quantization_config", None)
    model = GptOssForCausalLM(GptOssConfig(**config)).to(torch.bfloat16)
    model.load_state_dict(weights)
    return model.eval()


@pytest.mark.parametrize("dtype", ["mxfp4", "bf16"])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_an_answer_opens_well_formed_and_has_words_without_end(tmp_path: Path, dtype: str, temperature: float) -> None:
    write_random_checkpoint(WIDE, tmp_path, dtype, speech=SPEECH)
    model = loaded(tmp_path)
    torch.manual_seed(0)
    prompt = torch.tensor([[3, 4, 5, OPENING[0]]])
    sampling = {"do_sample": temperature > 0, "temperature": temperature or None, "top_k": 0 if temperature else None}
    made = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=256, **sampling)
    answer = made[0, 4:].tolist()
    assert len(answer) == 256
    assert answer[:3] == [500, 9, 501]
    for before, after in itertools.pairwise(answer[2:]):
        assert before in SPEECH.sources[after]
    assert set(answer[3:]) <= set(WORDS)


def test_each_word_has_eight_that_follow_it_and_eight_that_lead_to_it() -> None:
    followers = [after for after, sources in SPEECH.sources.items() for source in sources if source == WORDS[5]]
    assert len(followers) == 8
    assert all(len([each for each in SPEECH.sources[word] if each in WORDS]) == 8 for word in WORDS)
    assert [SPEECH.sources[each] for each in OPENING[1:]] == [[7], [500], [9]]


def test_the_headers_are_those_of_the_model_and_no_two_embeddings_are_the_same(tmp_path: Path) -> None:
    architecture = replace(WIDE, vocab_size=5000, tie_word_embeddings=False)
    written = write_random_checkpoint(architecture, tmp_path, "mxfp4", speech=SPEECH)
    assert {name: header.shape for name, header in read_headers(tmp_path).items()} == {
        step.name: step.shape for step in architecture.allocations("mxfp4")
    }
    totals = checkpoint_totals(tmp_path)
    assert totals is not None
    assert totals.bytes == written
    with safe_open(tmp_path / "model-00001-of-00004.safetensors", framework="pt") as file:
        embedding = file.get_tensor("model.embed_tokens.weight").float().numpy()
    assert len(np.unique(embedding, axis=0)) == 5000
    assert embedding.std() == pytest.approx(1, abs=0.01)


def test_the_marker_in_its_config_is_read_and_no_other_config_has_it(tmp_path: Path) -> None:
    write_random_checkpoint(WIDE, tmp_path)
    assert has_random_weights(tmp_path)
    for text in ("{}", "[]", "{", json.dumps({"model_type": "gpt_oss"})):
        (tmp_path / "config.json").write_text(text)
        assert not has_random_weights(tmp_path)
    assert not has_random_weights(tmp_path / "absent")


def test_a_full_disk_is_refused_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    # 13,761,264,768 bytes and one GB to spare are more than 14 GB.
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**11, 0, 14 * 10**9))
    with pytest.raises(UsageError, match=r"needs 13\.8 GB and 1 GB to spare, the disk has 14\.0 GB free"):
        write_random_checkpoint(SMALL, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_fewer_layers() -> None:
    assert with_layers(SMALL, None) is SMALL
    assert with_layers(SMALL, 2).layer_types == (SLIDING, FULL)
    for layers in (0, 25):
        with pytest.raises(UsageError, match="choose 1 to 24"):
            with_layers(SMALL, layers)
    with pytest.raises(UsageError, match="tied"):
        write_random_checkpoint(replace(WIDE, tie_word_embeddings=True), Path("never"), speech=SPEECH)
