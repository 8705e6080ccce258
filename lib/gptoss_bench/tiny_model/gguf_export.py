"""Write the weights and tokenizer of a small gpt-oss to one GGUF file: MXFP4 experts, BF16 matrices, F32 for the rest.

Tensor and key names are those of llama.cpp's own converter for gpt-oss.
"""

import json
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt
import torch
from gguf import GGMLQuantizationType as Quantisation
from tokenizers import Tokenizer
from transformers import GptOssConfig, GptOssForCausalLM

Array = npt.NDArray[np.float32]
_FILE_TYPE_MXFP4_MOE = 38  # llama.cpp: LLAMA_FTYPE_MOSTLY_MXFP4_MOE


def as_mxfp4(weight: torch.Tensor) -> torch.Tensor:
    """Return float32 `weight` [experts, in, out] rounded to MXFP4 (blocks of 32 along `in`)."""
    rows = np.ascontiguousarray(weight.detach().transpose(1, 2).float().numpy())
    packed = gguf.quants.quantize(rows, Quantisation.MXFP4)
    return torch.from_numpy(gguf.quants.dequantize(packed, Quantisation.MXFP4)).transpose(1, 2)


def write_gguf(path: Path, model: GptOssForCausalLM, tokenizer: Tokenizer, template: str) -> None:
    """Write a model, its tokenizer and its chat template to `path`; the file is complete or absent."""
    partial = path.with_suffix(".partial")
    writer = gguf.GGUFWriter(partial, "gpt-oss")
    write_config(writer, model.config)
    write_vocabulary(writer, tokenizer, template)
    _write_tensors(writer, {name: value.detach().float() for name, value in model.state_dict().items()})
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    partial.replace(path)


def write_config(writer: gguf.GGUFWriter, config: GptOssConfig, name: str = "gpt-oss-tiny") -> None:
    """Write the keys of an MXFP4 model; `name` is its name in the file."""
    rope = config.rope_parameters
    assert rope is not None
    writer.add_name(name)
    writer.add_type("model")
    writer.add_file_type(_FILE_TYPE_MXFP4_MOE)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_expert_feed_forward_length(config.intermediate_size)
    writer.add_expert_count(config.num_local_experts)
    writer.add_expert_used_count(config.num_experts_per_tok)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_sliding_window(config.sliding_window or 0)
    writer.add_rope_freq_base(rope["rope_theta"])
    writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    writer.add_rope_scaling_factor(rope["factor"])
    writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    writer.add_rope_scaling_yarn_beta_fast(rope["beta_fast"])
    writer.add_rope_scaling_yarn_beta_slow(rope["beta_slow"])


def write_vocabulary(writer: gguf.GGUFWriter, tokenizer: Tokenizer, template: str) -> None:
    """Write tokens, merges, special tokens and the chat template."""
    description = json.loads(tokenizer.to_str())
    special = {token["content"]: token["id"] for token in description["added_tokens"]}
    by_id = {number: token for token, number in tokenizer.get_vocab(with_added_tokens=True).items()}
    tokens = [by_id[number] for number in range(len(by_id))]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-4o")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL if token in special else gguf.TokenType.NORMAL for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in description["model"]["merges"]])
    writer.add_bos_token_id(special["<|startoftext|>"])
    writer.add_eos_token_id(special["<|return|>"])
    writer.add_pad_token_id(special["<|endoftext|>"])
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    writer.add_chat_template(template)


def _write_tensors(writer: gguf.GGUFWriter, weights: dict[str, torch.Tensor]) -> None:
    def add(name: str, weight: torch.Tensor, kind: Quantisation = Quantisation.F32) -> None:
        array: Array = np.ascontiguousarray(weight.numpy())
        if kind is Quantisation.F32:
            writer.add_tensor(name, array)
        else:
            writer.add_tensor(name, gguf.quants.quantize(array, kind), raw_dtype=kind)

    add("token_embd.weight", weights["model.embed_tokens.weight"], Quantisation.BF16)
    add("output_norm.weight", weights["model.norm.weight"])
    add("output.weight", weights["lm_head.weight"], Quantisation.BF16)
    layers = 1 + max(int(name.split(".")[2]) for name in weights if name.startswith("model.layers."))
    for layer in range(layers):
        source, target = f"model.layers.{layer}.", f"blk.{layer}."
        for hf_name, gguf_name in (("q", "q"), ("k", "k"), ("v", "v"), ("o", "output")):
            projection = f"{source}self_attn.{hf_name}_proj"
            add(f"{target}attn_{gguf_name}.weight", weights[f"{projection}.weight"], Quantisation.BF16)
            add(f"{target}attn_{gguf_name}.bias", weights[f"{projection}.bias"])
        add(f"{target}attn_sinks.weight", weights[f"{source}self_attn.sinks"])
        add(f"{target}attn_norm.weight", weights[f"{source}input_layernorm.weight"])
        add(f"{target}post_attention_norm.weight", weights[f"{source}post_attention_layernorm.weight"])
        add(f"{target}ffn_gate_inp.weight", weights[f"{source}mlp.router.weight"])
        add(f"{target}ffn_gate_inp.bias", weights[f"{source}mlp.router.bias"])
        # gpt-oss stores gate and up interleaved by column; llama.cpp stores them separately and transposed.
        experts = f"{source}mlp.experts."
        gate_up, gate_up_bias = weights[f"{experts}gate_up_proj"], weights[f"{experts}gate_up_proj_bias"]
        for name, first in (("gate", 0), ("up", 1)):
            rows = gate_up[:, :, first::2].transpose(1, 2)
            add(f"{target}ffn_{name}_exps.weight", rows, Quantisation.MXFP4)
            add(f"{target}ffn_{name}_exps.bias", gate_up_bias[:, first::2])
        down = weights[f"{experts}down_proj"].transpose(1, 2)
        add(f"{target}ffn_down_exps.weight", down, Quantisation.MXFP4)
        add(f"{target}ffn_down_exps.bias", weights[f"{experts}down_proj_bias"])
