"""Checkpoints of the hub by their config.json: bytes computed by hand, and what cannot be counted is refused."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_bench import paths
from gptoss_bench.memory.architecture import FULL, SLIDING, Architecture, architectures
from gptoss_bench.memory.capacity import CHECKPOINT, dequantisation_bytes, kv_bytes, weights_bytes
from gptoss_client.errors import UsageError

CATALOGUE = json.loads(paths.ARCHITECTURES.read_text())
CONFIGS = {name: CATALOGUE[name]["config"] for name in ("gpt-oss-20b", "gpt-oss-120b")}
SMALL = architectures()["gpt-oss-20b"]
# Weights of the 20b and 120b by kind. Per layer: query and output 2880 x 4096 each, key and value 2880 x 512 each; an
# expert has 3 matrices of 2880 x 2880. 24 layers of 32 experts, and 36 of 128.
ATTENTION_20B = 24 * (2 * 2880 * 4096 + 2 * 2880 * 512)  # 637,009,920 without biases and sinks
ATTENTION_120B = 36 * (2 * 2880 * 4096 + 2 * 2880 * 512)  # 955,514,880
EXPERTS_20B = 24 * 32 * 3 * 2880 * 2880  # 19,110,297,600
EXPERTS_120B = 36 * 128 * 3 * 2880 * 2880  # 114,661,785,600
HEAD = 201_088 * 2880  # 579,133,440, as the embedding
ROUTER_20B = 24 * 32 * 2880
ALL_20B, ALL_120B = 20_914_757_184, 116_829_156_672


def model(size: str = "gpt-oss-20b", stored_bytes: int | None = None, **changes: object) -> Architecture:
    config = {key: value for key, value in CONFIGS[size].items() if key != "quantization_config"}
    return Architecture.from_config("mine", config | changes, stored_bytes)


def counted(quantization: object, size: str = "gpt-oss-20b") -> int:
    return weights_bytes(model(size, quantization_config=quantization), CHECKPOINT)


def packed(bits: float, weights: int, every: int = ALL_20B) -> int:
    """Bytes of `weights` of so many bits, and of all other weights in BF16."""
    return round(weights * bits / 8) + 2 * (every - weights)


NVFP4 = {"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["lm_head"]}
GROUP = {"weights": {"num_bits": 4, "type": "float", "group_size": 16}, "targets": ["Linear"]}
BNB = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
SKIPPED = {"llm_int8_skip_modules": ["router", "lm_head", "embed_tokens"]}


def test_nvfp4_of_the_120b() -> None:
    # 4 bits and one byte per 16 weights are 4.5 bits: 115,617,300,480 x 4.5 / 8 = 65,034,731,520 bytes of experts and
    # attention; the other 1,211,856,192 weights in BF16 are 2,423,712,384 bytes. Together 62.83 GiB.
    found = counted(NVFP4, "gpt-oss-120b")
    assert found == 65_034_731_520 + 2_423_712_384 == packed(4.5, EXPERTS_120B + ATTENTION_120B, ALL_120B)
    assert round(found / 2**30, 2) == 62.83
    groups = {"quant_method": "compressed-tensors", "config_groups": {"group_0": GROUP}, "ignore": ["re:.*lm_head"]}
    assert counted(groups, "gpt-oss-120b") == found


def test_bitsandbytes_of_the_20b() -> None:
    # 4 bits, one byte per 64 weights and one float32 per 64 x 256: 4.126953125 bits. Without double quantisation one
    # float32 per 64 weights: 4.5 bits.
    double = counted(BNB | SKIPPED | {"bnb_4bit_use_double_quant": True})
    assert double == packed(4.126953125, EXPERTS_20B + ATTENTION_20B)
    assert round(double / 2**30, 2) == 11.66
    assert counted(BNB | SKIPPED) == packed(4.5, EXPERTS_20B + ATTENTION_20B)
    eight = {"quant_method": "bitsandbytes", "load_in_8bit": True} | SKIPPED
    assert counted(eight) == packed(8, EXPERTS_20B + ATTENTION_20B)


def test_mlx_of_the_20b_has_bits_per_layer_and_names_no_method() -> None:
    # Experts 4 bits and one byte per 32 weights: 4.25 bits. Attention, embedding and head 8 bits and two 16-bit values
    # per 64 weights: 8.5 bits. The router has the bits of the experts. 10,152,345,600 + 676,823,040 + 1,230,658,560
    # + 1,175,040, and 8,990,784 weights of biases, sinks and norms in BF16: 11.25 GiB.
    affine = {"group_size": 64, "bits": 8, "mode": "affine"}
    names = [f"model.layers.{layer}.self_attn.{each}_proj" for layer in range(24) for each in "qkvo"]
    layers = dict.fromkeys([*names, "model.embed_tokens", "lm_head"], affine)
    quantization = {"group_size": 32, "bits": 4, "mode": "mxfp4"} | layers
    found = counted(quantization)
    others = ALL_20B - EXPERTS_20B - ATTENTION_20B - 2 * HEAD - ROUTER_20B
    assert found == 10_152_345_600 + 676_823_040 + 1_230_658_560 + 1_175_040 + 2 * others
    assert round(found / 2**30, 2) == 11.25
    assert weights_bytes(model(quantization=quantization), CHECKPOINT) == found


@pytest.mark.parametrize(
    ("quantization", "bits", "weights"),
    [
        # a 16-bit scale and a zero point of 4 bits per 128 weights
        ({"quant_method": "gptq", "bits": 4, "group_size": 128}, 4.15625, EXPERTS_20B + ATTENTION_20B + HEAD),
        ({"quant_method": "awq", "w_bit": 4, "q_group_size": 64}, 4.3125, EXPERTS_20B + ATTENTION_20B + HEAD),
        ({"quant_method": "gptq", "bits": 8, "group_size": -1}, 8, EXPERTS_20B + ATTENTION_20B + HEAD),
        # a float32 per block of 128 x 128
        (
            {"quant_method": "fp8", "weight_block_size": [128, 128], "modules_to_not_convert": ["lm_head"]},
            8.001953125,
            EXPERTS_20B + ATTENTION_20B,
        ),
        ({"quant_method": "fp8", "modules_to_not_convert": ["model.layers.*.self_attn"]}, 8, EXPERTS_20B + HEAD),
        ({"quant_method": "modelopt", "quant_algo": "FP8", "ignore": ["lm_head"]}, 8, EXPERTS_20B + ATTENTION_20B),
        # OCP MXFP4 of Quark: one byte per 32 weights
        (
            {
                "quant_method": "quark",
                "global_quant_config": {"weight": {"dtype": "fp4", "group_size": 32}},
                "exclude": ["*self_attn*", "lm_head"],
            },
            4.25,
            EXPERTS_20B,
        ),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"a": {"weights": {"num_bits": 4, "type": "int", "group_size": 128}}},
                "ignore": ["lm_head"],
            },
            4.125,
            EXPERTS_20B + ATTENTION_20B,
        ),
    ],
)
def test_other_methods_of_the_20b(quantization: dict[str, object], bits: float, weights: int) -> None:
    assert counted(quantization) == packed(bits, weights)


def test_what_is_not_packed_from_mxfp4_is_not_unpacked_while_loading() -> None:
    assert dequantisation_bytes(model(quantization_config=NVFP4), "bf16") == 0


@pytest.mark.parametrize(
    ("quantization", "words"),
    [
        ({"quant_method": "quark"}, "quantisation 'quark'"),
        ({"quant_method": "auto-round", "bits": 4}, "quantisation 'auto-round'"),
        ({"bits": 4}, "quantization_config without quant_method"),
        ({"group_size": 32, "bits": "four"}, "quantization_config without quant_method"),
        ({"quant_method": "gptq", "bits": 4, "group_size": "all"}, "quantisation 'gptq'"),
        ({"quant_method": "fp8", "weight_block_size": []}, "quantisation 'fp8'"),
        ({"quant_method": "bitsandbytes"}, "quantisation 'bitsandbytes'"),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"a": GROUP, "b": {"weights": {"num_bits": 8, "type": "float"}}},
            },
            "quantisation 'compressed-tensors'",
        ),
    ],
)
def test_what_cannot_be_counted_is_refused_with_a_way_on_and_the_headers_are_one(
    quantization: dict[str, object], words: str
) -> None:
    with pytest.raises(UsageError, match=words) as refused:
        model(quantization_config=quantization)
    assert "pass the folder with its .safetensors files" in str(refused.value)
    stored = model(quantization_config=quantization, stored_bytes=12_345_678)
    assert weights_bytes(stored, CHECKPOINT) == 12_345_678
    assert stored.quantisation is not None


words = st.text(max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
methods = st.sampled_from(["bitsandbytes", "gptq", "awq", "fp8", "modelopt", "compressed-tensors", "quark"]) | words
keys = ("bits", "group_size", "load_in_4bit", "load_in_8bit", "weight_block_size", "quant_algo", "config_groups")
keys += ("global_quant_config", "ignore", "exclude", "mode", "w_bit", "modules_to_not_convert")


@given(st.dictionaries(st.sampled_from(keys), values, max_size=4), methods | st.none())
def test_any_quantization_config_is_counted_or_refused(quantization: dict[str, object], method: str | None) -> None:
    given_method = {} if method is None else {"quant_method": method}
    try:
        made = model(quantization_config={"some": 1} | given_method | quantization)
    except UsageError as error:
        made, words = None, str(error)
    else:
        words = ""
    assert "\n" not in words
    if made and made.packing:
        assert 0 < weights_bytes(made, CHECKPOINT) <= 10**16


ORIGINAL = {
    "num_hidden_layers": 24,
    "num_experts": 32,
    "experts_per_token": 4,
    "vocab_size": 201088,
    "hidden_size": 2880,
    "intermediate_size": 2880,
    "swiglu_limit": 7.0,
    "head_dim": 64,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "sliding_window": 128,
    "initial_context_length": 4096,
    "rope_theta": 150000,
    "rope_scaling_factor": 32.0,
    "rope_ntk_alpha": 1,
    "rope_ntk_beta": 32,
}


def test_openais_original_config_and_a_nested_one_are_the_published_model() -> None:
    original = Architecture.from_config("gpt-oss-20b", ORIGINAL)
    assert original == SMALL
    nested = {"model_type": "gptoss_vl", "text_config": CONFIGS["gpt-oss-20b"], "vision_config": {}}
    assert Architecture.from_config("gpt-oss-20b", nested) == SMALL
    for field, value in {"num_hidden_layers": [1], "rope_scaling_factor": "32", "initial_context_length": 0}.items():
        with pytest.raises(UsageError):
            Architecture.from_config("mine", ORIGINAL | {field: value})
    with pytest.raises(UsageError, match="rope_scaling_factor"):
        Architecture.from_config("mine", ORIGINAL | {"rope_scaling_factor": float("nan")})


def test_unquantised_fine_tunes_pruned_and_small_models() -> None:
    # Saved by transformers 5: rope_parameters instead of rope_scaling.
    assert weights_bytes(model(rope_parameters={"rope_type": "yarn"}, dtype="bfloat16"), "bf16") == 41_829_514_368
    # 12 of 32 experts: 20 x 24 x (3 x 2880 x 2880 weights, 3 x 2880 biases, 2880 + 1 of the router) less.
    pruned = model(num_local_experts=12)
    assert weights_bytes(pruned, "bf16") // 2 == ALL_20B - 20 * 24 * (3 * 2880**2 + 3 * 2880 + 2881) == 8_965_291_104
    # Trained from scratch: 6 layers, 16 experts, hidden 1536. Embedding and head 2 x 32000 x 1536; per layer norms
    # 2 x 1536, attention 2 x 1536 x 1536 + 2 x 1536 x 256 + biases 1536 + 2 x 256 + 1536 + sinks 24, router
    # 16 x 1537, experts 16 x (1536 x 6144 + 6144 + 3072 x 1536 + 1536); last norm 1536.
    small = model(
        vocab_size=32_000,
        hidden_size=1536,
        intermediate_size=3072,
        num_hidden_layers=6,
        num_attention_heads=24,
        num_key_value_heads=4,
        num_local_experts=16,
        sliding_window=256,
        max_position_embeddings=4096,
        layer_types=[SLIDING, FULL] * 3,
    )
    attention = 2 * 1536 * 1536 + 2 * 1536 * 256 + 1536 + 2 * 256 + 1536 + 24
    experts = 16 * (1536 * 6144 + 6144 + 3072 * 1536 + 1536)
    whole = 2 * 32_000 * 1536 + 6 * (2 * 1536 + attention + 16 * 1537 + experts) + 1536
    assert weights_bytes(small, "bf16") == 2 * whole == 2 * 1_491_215_088
    # A key and a value of 4 x 64 in BF16 are 1024 bytes; 3 layers keep 256 tokens, 3 keep 4096.
    assert kv_bytes(small, 4096) == 1024 * 3 * (256 + 4096)
