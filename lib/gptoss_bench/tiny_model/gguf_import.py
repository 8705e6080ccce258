"""Load the tiny model from its GGUF file into transformers: the inverse of gguf_export.py.

The experts have the values rounded to MXFP4, the other matrices those rounded to BF16.
"""

from pathlib import Path
from typing import Any

import torch
from gguf import GGUFReader
from gguf.quants import dequantize
from tokenizers import Tokenizer, models
from transformers import GptOssConfig, GptOssForCausalLM

from gptoss_bench.paths import TINY_MODEL
from gptoss_bench.tiny_model.conversations import byte_level_tokenizer

TRAINED_LAYERS = 4  # the layers after them add nothing
GGUF_NAMES = {
    "input_layernorm.weight": "attn_norm.weight",
    "post_attention_layernorm.weight": "post_attention_norm.weight",
    "mlp.router.weight": "ffn_gate_inp.weight",
    "mlp.router.bias": "ffn_gate_inp.bias",
    "self_attn.sinks": "attn_sinks.weight",
    "self_attn.o_proj.weight": "attn_output.weight",
    "self_attn.o_proj.bias": "attn_output.bias",
}
GGUF_NAMES |= {f"self_attn.{x}_proj.{kind}": f"attn_{x}.{kind}" for x in "qkv" for kind in ("weight", "bias")}


def load_tiny(path: Path = TINY_MODEL, layers: int = TRAINED_LAYERS) -> tuple[GptOssForCausalLM, Tokenizer]:
    """Return the first `layers` layers as a model with eager attention in FP32, and the tokenizer."""
    reader = GGUFReader(path)
    tensors = {each.name: torch.tensor(dequantize(each.data, each.tensor_type)) for each in reader.tensors}
    config = _config(reader, layers)
    config._attn_implementation = "eager"
    model = GptOssForCausalLM(config)
    weights = {
        "model.embed_tokens.weight": tensors["token_embd.weight"],
        "model.norm.weight": tensors["output_norm.weight"],
        "lm_head.weight": tensors["output.weight"],
    }
    for layer in range(layers):
        hf_prefix, gguf_prefix = f"model.layers.{layer}.", f"blk.{layer}."
        weights |= {hf_prefix + name: tensors[gguf_prefix + gguf_name] for name, gguf_name in GGUF_NAMES.items()}
        gate, up, down = (tensors[f"{gguf_prefix}ffn_{name}_exps.weight"] for name in ("gate", "up", "down"))
        biases = [tensors[f"{gguf_prefix}ffn_{name}_exps.bias"] for name in ("gate", "up")]
        experts = f"{hf_prefix}mlp.experts."
        # Gate and up are interleaved by column, and experts are (in, out).
        weights[f"{experts}gate_up_proj"] = torch.stack((gate, up), dim=2).flatten(1, 2).transpose(1, 2)
        weights[f"{experts}gate_up_proj_bias"] = torch.stack(biases, dim=2).flatten(1)
        weights[f"{experts}down_proj"] = down.transpose(1, 2)
        weights[f"{experts}down_proj_bias"] = tensors[f"{gguf_prefix}ffn_down_exps.bias"]
    model.load_state_dict(weights)
    model.train(mode=False)
    return model, _tokenizer(reader)


def _config(reader: GGUFReader, layers: int) -> GptOssConfig:
    def value(name: str) -> Any:
        return reader.fields[f"gpt-oss.{name}"].contents()

    return GptOssConfig(
        vocab_size=len(reader.fields["tokenizer.ggml.tokens"].contents()),
        hidden_size=value("embedding_length"),
        intermediate_size=value("expert_feed_forward_length"),
        num_hidden_layers=layers,
        num_local_experts=value("expert_count"),
        num_experts_per_tok=value("expert_used_count"),
        num_attention_heads=value("attention.head_count"),
        num_key_value_heads=value("attention.head_count_kv"),
        head_dim=value("attention.key_length"),
        sliding_window=value("attention.sliding_window"),
        rms_norm_eps=value("attention.layer_norm_rms_epsilon"),
    )


def _tokenizer(reader: GGUFReader) -> Tokenizer:
    tokens = reader.fields["tokenizer.ggml.tokens"].contents()
    merges = [tuple(pair.split(" ")) for pair in reader.fields["tokenizer.ggml.merges"].contents()]
    tokenizer = byte_level_tokenizer(models.BPE({token: number for number, token in enumerate(tokens)}, merges))
    tokenizer.add_special_tokens([token for token in tokens if token.startswith("<|")])
    return tokenizer
