"""Counts and bytes against published totals, against the real model class, and against their own sums."""

import csv
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptoss_bench import paths
from gptoss_bench.memory.architecture import FULL, SLIDING, Architecture, architectures, read_architectures
from gptoss_bench.memory.capacity import (
    architecture_summary,
    bytes_by_module,
    decode_bytes,
    estimate_fit,
    first_not_to_fit,
    fits_by_device,
    kv_bytes,
    layer_bytes,
    parameters_by_module,
    weights_bytes,
)
from gptoss_bench.memory.gpus import gpu_catalogue, read_gpus
from gptoss_bench.memory.models import meta_device_tensors
from gptoss_client.errors import UsageError

MODELS = architectures()
GPUS = gpu_catalogue()
SMALL, LARGE = MODELS["gpt-oss-20b"], MODELS["gpt-oss-120b"]
A10 = GPUS["NVIDIA A10 (bare metal / pass-through)"]


@st.composite
def drawn_architectures(draw: st.DrawFn) -> Architecture:
    kinds = draw(st.lists(st.sampled_from([SLIDING, FULL]), min_size=1, max_size=4))
    experts, groups = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    return Architecture(
        name="drawn",
        vocab_size=draw(st.integers(2, 90)),
        hidden_size=32 * draw(st.integers(1, 3)),
        intermediate_size=32 * draw(st.integers(1, 3)),
        num_hidden_layers=len(kinds),
        num_attention_heads=groups * draw(st.integers(1, 3)),
        num_key_value_heads=groups,
        head_dim=2 * draw(st.integers(1, 4)),
        num_local_experts=experts,
        num_experts_per_tok=draw(st.integers(1, experts)),
        sliding_window=draw(st.integers(1, 200)),
        max_position_embeddings=4096,
        layer_types=tuple(kinds),
        attention_bias=draw(st.booleans()),
        tie_word_embeddings=draw(st.booleans()),
        quantisation=None,
    )


def config(**changes: object) -> dict[str, object]:
    """A sound config of two layers, changed; a value of None takes the field away."""
    sound = {field: getattr(SMALL, field) for field in Architecture.__slots__}
    sound |= {"model_type": "gpt_oss", "num_hidden_layers": 2, "layer_types": [SLIDING, FULL]}
    return {field: value for field, value in (sound | changes).items() if value is not None}


@pytest.mark.parametrize(
    ("model", "parameters", "mxfp4", "layer", "decode"),
    [
        (SMALL, 20_914_757_184, 13_761_264_768, 1_646_373_952, 3_708_089_088),
        (LARGE, 116_829_156_672, 65_248_815_744, 6_426_160_384, 5_002_907_904),
    ],
)
def test_the_published_models_to_the_byte(
    model: Architecture, parameters: int, mxfp4: int, layer: int, decode: int
) -> None:
    assert sum(parameters_by_module(model).values()) == parameters
    assert weights_bytes(model, "bf16") == 2 * parameters
    assert weights_bytes(model, "fp32") == 4 * parameters
    assert weights_bytes(model, "mxfp4") == mxfp4
    assert layer_bytes(model, "bf16") == layer
    assert decode_bytes(model, "mxfp4") == decode


@pytest.mark.parametrize("model", [SMALL, LARGE], ids=lambda model: model.name)
def test_the_real_model_class_has_the_same_tensors(model: Architecture) -> None:
    assert meta_device_tensors(model) == tuple((step.name, step.shape) for step in model.allocations("bf16"))


@settings(max_examples=25, deadline=None)
@given(drawn_architectures())
def test_any_gpt_oss_has_the_tensors_of_the_real_model_class(model: Architecture) -> None:
    assert meta_device_tensors(model) == tuple((step.name, step.shape) for step in model.allocations("bf16"))


@given(drawn_architectures())
def test_parts_sum_up_and_dtypes_are_ordered(model: Architecture) -> None:
    total = sum(parameters_by_module(model).values())
    for dtype in ("mxfp4", "bf16", "fp32"):
        steps = model.allocations(dtype)
        assert sum(step.parameters for step in steps) == total
        assert sum(bytes_by_module(model, dtype).values()) == weights_bytes(model, dtype)
        inside = sum(step.bytes for step in steps if 1 <= step.stage <= model.num_hidden_layers)
        assert inside == model.num_hidden_layers * layer_bytes(model, dtype)
    experts = parameters_by_module(model)["expert weights"]
    saved = weights_bytes(model, "bf16") - weights_bytes(model, "mxfp4")
    assert 32 * saved == experts * (64 - 17)  # 17 bytes for 32 weights where BF16 has 64
    assert decode_bytes(model, "bf16") <= weights_bytes(model, "bf16") + 2 * model.hidden_size


@pytest.mark.parametrize(
    ("context", "trimmed", "untrimmed"),
    [
        (344, 11_599_872, 16_908_288),
        (8_192, 204_472_320, 402_653_184),
        (131_072, 3_224_371_200, 6_442_450_944),
    ],
)
def test_kv_cache_of_the_20b(context: int, trimmed: int, untrimmed: int) -> None:
    assert kv_bytes(SMALL, context) == trimmed
    assert kv_bytes(SMALL, context, trimmed=False) == untrimmed


@given(drawn_architectures(), st.integers(1, 4095))
def test_more_context_needs_more_cache(model: Architecture, context: int) -> None:
    cache, longer = kv_bytes(model, context), kv_bytes(model, context + 1)
    whole = kv_bytes(model, context, trimmed=False)
    assert cache <= longer
    assert cache < longer or FULL not in model.layer_types
    assert cache <= whole < kv_bytes(model, context + 1, trimmed=False)
    assert (cache == whole) == (context <= model.sliding_window or SLIDING not in model.layer_types)


@given(drawn_architectures(), st.sampled_from(["bf16", "mxfp4", "fp32"]), st.data())
def test_the_first_not_to_fit_is_the_one_that_crosses_the_budget(
    model: Architecture, dtype: str, data: st.DataObject
) -> None:
    steps = model.allocations(dtype)
    whole = weights_bytes(model, dtype)
    budget = data.draw(st.integers(0, whole - 1))
    first = first_not_to_fit(steps, budget)
    assert first is not None
    before = sum(step.bytes for step in steps[: steps.index(first)])
    assert before <= budget < before + first.bytes
    assert first_not_to_fit(steps, whole) is None


def test_where_loading_ends_has_a_label() -> None:
    first = first_not_to_fit(SMALL.allocations("bf16"), A10.memory_bytes)
    assert first is not None
    assert first.label == "layer 14 of 24, experts.down_proj"
    assert round(weights_bytes(SMALL, "bf16") / 2**30, 2) == 38.96
    assert round(weights_bytes(SMALL, "bf16") / A10.memory_bytes, 1) == 1.7
    assert SMALL.allocations("bf16")[-1].label == "head, lm_head.weight"


@pytest.mark.parametrize(
    ("gpu", "fitting"),
    [
        ("NVIDIA A10 (bare metal / pass-through)", {"20b mxfp4"}),
        ("NVIDIA A10-24Q (Azure vGPU of one whole A10)", {"20b mxfp4"}),
        ("NVIDIA A10 fraction 1/2 (A10-12Q)", set()),
        ("NVIDIA L40S", {"20b mxfp4", "20b bf16"}),
        ("NVIDIA H100 NVL", {"20b mxfp4", "20b bf16", "120b mxfp4"}),
    ],
)
def test_what_fits_where(gpu: str, fitting: set[str]) -> None:
    have = GPUS[gpu].memory_bytes
    fits = [estimate_fit(m, d, gpu, have, context=8192) for m in (SMALL, LARGE) for d in ("bf16", "mxfp4")]
    assert {f"{fit.model.removeprefix('gpt-oss-')} {fit.dtype}" for fit in fits if fit.fits} == fitting
    assert all(fit.fits == (fit.share <= 1) for fit in fits)


def test_sixteen_gigabytes_hold_the_mxfp4_weights_and_a_short_context_but_not_the_longest() -> None:
    assert estimate_fit(SMALL, "mxfp4", "16 GB", 16 * 10**9, context=8192).fits
    assert not estimate_fit(SMALL, "mxfp4", "16 GB", 16 * 10**9, context=131_072).fits


def test_a_summary_has_the_bytes_of_a_model_and_what_fits_where() -> None:
    fits = [estimate_fit(SMALL, dtype, A10.name, A10.memory_bytes, context=8192) for dtype in ("bf16", "mxfp4")]
    assert fits_by_device(fits) == {A10.name: {"gpt-oss-20b": {"bf16": False, "mxfp4": True}}}
    assert architecture_summary(SMALL, [8192]).document() == {
        "parameters": 20_914_757_184,
        "weights_bytes": {
            "bf16": 41_829_514_368,
            "fp32": 83_659_028_736,
            "mxfp4": 13_761_264_768,
            "fp8": 20_914_757_184,
        },
        "kv_bytes": {"8192": 204_472_320},
    }


def test_each_row_of_the_gpu_table_agrees_with_itself_and_names_its_source() -> None:
    for row in csv.DictReader(paths.GPUS.read_text().splitlines()):
        gpu = GPUS[row["name"]]
        assert gpu.source
        assert row["memory_gib"] == (f"{gpu.memory_bytes / 2**30:.2f}" if gpu.total_mib else "")
        assert gpu.cuda_bytes <= gpu.memory_bytes


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_type": "llama"}, "only 'gpt_oss' is supported"),
        ({"num_local_experts": None}, "is missing num_local_experts"),
        ({"hidden_size": "2880"}, "hidden_size is '2880', it must be a whole number"),
        ({"head_dim": 64.0}, "head_dim is 64.0"),
        ({"vocab_size": 0}, "vocab_size is 0"),
        ({"num_local_experts": True}, "num_local_experts is True"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000"),
        ({"attention_bias": "yes"}, "must be true or false"),
        ({"layer_types": [FULL]}, "must list 2 layers"),
        ({"layer_types": "ab"}, "must list 2 layers"),
        ({"layer_types": [FULL, "mamba"]}, "holds 'mamba'"),
        ({"num_experts_per_tok": 33}, "larger than num_local_experts"),
        ({"num_key_value_heads": 7}, "not a multiple"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantisation 'gptq' cannot be counted from this config"),
        ({"quantization_config": "mxfp4"}, "quantization_config is 'mxfp4'"),
    ],
)
def test_a_bad_config_is_refused_in_one_line(changes: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words) as refused:
        Architecture.from_config("mine", config(**changes))
    assert str(refused.value).startswith("mine: ")
    assert "\n" not in str(refused.value)


def test_a_sound_config_is_read_and_other_fields_are_ignored() -> None:
    model = Architecture.from_config("mine", config(rope_theta=150000, quantization_config={"quant_method": "mxfp4"}))
    assert model == replace(SMALL, name="mine", num_hidden_layers=2, layer_types=(SLIDING, FULL))


def test_impossible_questions_are_refused() -> None:
    with pytest.raises(UsageError, match="choose one of bf16, fp32, mxfp4"):
        SMALL.allocations("int3")
    with pytest.raises(UsageError, match="multiples of 32"):
        replace(SMALL, hidden_size=2881).allocations("mxfp4")
    for context in (0, 131_073):
        with pytest.raises(UsageError, match="choose 1 to 131072"):
            kv_bytes(SMALL, context)
    with pytest.raises(UsageError, match="choose one of: gpt-oss-20b, gpt-oss-120b"):
        MODELS["gpt-oss-20B"]
    for table in ("name\nMine\n", paths.GPUS.read_text().replace("NVIDIA L4,24", "NVIDIA L4,lots")):
        with pytest.raises(UsageError, match="is invalid"):
            read_gpus(table)
    with pytest.raises(UsageError, match=r"architectures\.json is not"):
        read_architectures("{")
