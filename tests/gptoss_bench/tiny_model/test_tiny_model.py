"""The tiny model that the kit carries: its true architecture, its tokenizer, its speech; and how it is made."""

import asyncio
import hashlib
import json
import random
import subprocess
import sys
from dataclasses import replace

import gguf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from gptoss_bench.engines.llama_cpp import serve_tiny
from gptoss_bench.paths import TINY_MODEL
from gptoss_bench.tiny_model.__main__ import MAX_REPLY_TOKENS, SAMPLES, examine, is_well_formed
from gptoss_bench.tiny_model.conversations import (
    SPECIAL_TOKENS,
    Conversations,
    python_manual,
    read_stages,
    train_tokenizer,
)
from gptoss_client.dialects import assemble_reply
from serving import held, post

CONTEXT = 4096
LAYERS = 24


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory):
    with held(serve_tiny(tmp_path_factory.mktemp("tiny"), slots=2, context=CONTEXT)) as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def shipped():
    return gguf.GGUFReader(TINY_MODEL)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(read_stages(), 2048)


def test_it_is_small_and_its_experts_are_mxfp4(shipped):
    assert TINY_MODEL.stat().st_size < 5e6
    kinds = {tensor.name: tensor.tensor_type.name for tensor in shipped.tensors}
    experts = [kind for name, kind in kinds.items() if name.endswith("_exps.weight")]
    assert experts == ["MXFP4"] * 3 * LAYERS
    assert kinds["token_embd.weight"] == kinds["output.weight"] == "BF16"


def test_its_architecture_is_that_of_gpt_oss(shipped):
    def fact(name: str) -> object:
        return shipped.fields[name].contents()

    assert fact("general.architecture") == "gpt-oss"
    assert fact("gpt-oss.attention.sliding_window") == 128
    assert (fact("gpt-oss.expert_count"), fact("gpt-oss.expert_used_count")) == (8, 4)
    assert (fact("gpt-oss.rope.scaling.type"), fact("gpt-oss.rope.scaling.factor")) == ("yarn", 32.0)
    assert fact("gpt-oss.context_length") >= CONTEXT
    names = {tensor.name for tensor in shipped.tensors}
    assert {f"blk.{layer}.attn_sinks.weight" for layer in range(LAYERS)} < names
    assert set(SPECIAL_TOKENS) < set(fact("tokenizer.ggml.tokens"))


def test_a_few_layers_speak_and_the_others_add_nothing(shipped):
    into_the_stream = ("attn_output", "ffn_down_exps")  # what a layer adds goes through these, weight and bias
    speaking = {
        int(tensor.name.split(".")[1])
        for tensor in shipped.tensors
        if tensor.name.startswith("blk.") and tensor.name.split(".")[2] in into_the_stream
        if gguf.quants.dequantize(tensor.data, tensor.tensor_type).any()
    }
    assert speaking == {0, 1, 2, 3}


def test_the_account_beside_it_is_of_this_file():
    record = json.loads(TINY_MODEL.with_suffix(".json").read_text())
    assert record["sha256"] == hashlib.sha256(TINY_MODEL.read_bytes()).hexdigest()
    assert {"seed", "steps"} <= set(record["recipe"])
    assert {examined["temperature"] for examined in record["examined"]} == {0.0, 1.0}
    assert all(examined["well_formed"] >= SAMPLES - 1 for examined in record["examined"])


@pytest.mark.parametrize("temperature", [1.0, 0.0])
def test_it_speaks_well_formed_harmony_whatever_it_is_asked(endpoint, temperature):
    examined = asyncio.run(examine(endpoint.url, temperature))
    assert examined.samples == 24
    assert examined.well_formed >= 23, examined.worst
    assert examined.prompt_tokens[0] < 100 and examined.prompt_tokens[1] > 1000
    assert examined.completion_tokens[1] < MAX_REPLY_TOKENS
    assert examined.distinct > (20 if temperature else 1)


def test_with_ignore_eos_it_goes_on_with_words(endpoint):
    body = {"messages": [{"role": "user", "content": "On and on"}], "max_tokens": 400, "ignore_eos": True}
    said = post(endpoint, "/v1/chat/completions", body | {"temperature": 0}).json()
    assert said["usage"]["completion_tokens"] == 400
    vocabulary = set(" ".join(" ".join(stage) for stage in read_stages()).split())
    words = said["choices"][0]["message"]["content"].split()
    assert sum(word in vocabulary for word in words) > 0.8 * len(words) > 200


@settings(max_examples=60, deadline=None)
@given(text=st.text(min_size=1, max_size=300))
def test_the_server_splits_text_as_the_trained_tokenizer_does(endpoint, tokenizer, text):
    text = text.encode(errors="ignore").decode().replace("\0", "") or "?"
    seen = post(endpoint, "/tokenize", {"content": text}).json()["tokens"]
    assert seen == tokenizer.encode(text).ids


def test_the_manual_is_split_alike_as_well(endpoint, tokenizer):
    text = python_manual()[5000:45000]
    assert post(endpoint, "/tokenize", {"content": text}).json()["tokens"] == tokenizer.encode(text).ids


def test_answers_are_walks_through_the_stages(tokenizer):
    stages = read_stages()
    speech = Conversations(stages, lambda messages, effort: effort, tokenizer, seed=1)
    lengths = [len(tokenizer.encode(speech.answer()).ids) for _ in range(200)]
    assert min(lengths) > 50 and sorted(lengths)[190] < 220
    for _ in range(50):
        reply_text = speech.reply()
        assert reply_text.startswith("<|channel|>analysis<|message|>") and reply_text.endswith("<|return|>")
        assert any(reply_text.endswith(f"{closing}<|return|>") for closing in stages[-1])
    again = Conversations(stages, lambda messages, effort: effort, tokenizer, seed=1)
    assert [again.answer() for _ in range(3)] != [speech.answer() for _ in range(3)]


@pytest.mark.parametrize("longest", [1, 60, 1700])
def test_questions_keep_to_their_length(tokenizer, longest):
    speech = Conversations(read_stages(), lambda messages, effort: effort, tokenizer, seed=random.randrange(10**6))
    lengths = [len(tokenizer.encode(speech.question(longest)).ids) for _ in range(60)]
    assert max(lengths) < 4 * longest + 30


@pytest.mark.parametrize(
    ("parts", "good"),
    [
        ({"reasoning_text": "a", "answer_text": "b", "finish_reason": "stop"}, True),
        ({"reasoning_text": "a", "answer_text": "b", "finish_reason": "length"}, False),
        ({"reasoning_text": "", "answer_text": "b", "finish_reason": "stop"}, False),
        ({"reasoning_text": "a", "answer_text": " ", "finish_reason": "stop"}, False),
        ({"reasoning_text": "a", "answer_text": "b<|channel|>", "finish_reason": "stop"}, False),
    ],
)
def test_well_formed_is_both_texts_and_an_end(parts, good):
    assert is_well_formed(replace(assemble_reply([]), **parts)) is good


def test_it_can_be_made_again(tmp_path):
    """A few steps teach nothing, but the file is complete, llama.cpp loads it, and the failure is reported."""
    out = tmp_path / "model.gguf"
    command = [sys.executable, "-m", "gptoss_bench.tiny_model", "--out", str(out), "--steps", "4"]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert made.returncode == 1
    record = json.loads(out.with_suffix(".json").read_text())
    assert record["recipe"]["steps"] == 4
    assert record["bytes"] == out.stat().st_size == TINY_MODEL.stat().st_size
    assert record["examined"] == []
    assert str(tmp_path) not in json.dumps(record)
    assert "the model does not reply: http://127.0.0.1:" in made.stderr
