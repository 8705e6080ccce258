"""The parts of the need against the real function that makes them, and each largest value against the next one."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.profiler import ProfilerActivity, profile
from transformers.integrations import mxfp4

from gptoss_bench.memory.architecture import architectures
from gptoss_bench.memory.capacity import (
    dequantisation_bytes,
    estimate_fit,
    kv_bytes,
    largest_context,
    largest_sequences,
    unpacking_bytes,
)
from gptoss_bench.memory.gpus import gpu_catalogue, parse_budget
from gptoss_client.errors import UsageError

MODELS = architectures()
GPUS = gpu_catalogue()
SMALL = MODELS["gpt-oss-20b"]
GIB = 2**30
DTYPES = ("mxfp4", "fp8", "bf16", "fp32")


@pytest.mark.parametrize(
    ("shape", "at_once"), [((4, 64, 8, 16), 10**6), ((8, 256, 16, 16), 10**6), ((8, 256, 16, 16), 4096)]
)
def test_what_unpacking_holds_is_what_torch_counts(shape, at_once):
    blocks = torch.zeros(shape, dtype=torch.uint8)
    scales = torch.zeros(shape[:-1], dtype=torch.uint8)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        made = mxfp4._convert_moe_packed_tensors(blocks, scales, rows_per_chunk=at_once)
    held = peak = 0
    for event in watched.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    beside = peak - made.nbytes + blocks.nbytes + scales.nbytes
    assert unpacking_bytes(shape, at_once) == pytest.approx(beside, rel=0.01)


def test_only_what_is_unpacked_needs_extra_memory():
    assert dequantisation_bytes(SMALL, "bf16") == 4_064_256_000
    assert dequantisation_bytes(SMALL, "mxfp4") == dequantisation_bytes(SMALL, "fp8") == 0


def test_the_parts_are_the_whole():
    one = estimate_fit(SMALL, "bf16", "card", 80 * 10**9, context=8192, sequences=4)
    parts = one.parts
    assert parts.weights == 41_829_514_368
    assert parts.kv_cache == one.kv_bytes == 4 * kv_bytes(SMALL, 8192)
    assert parts.loading == parts.weights + parts.cuda_context + parts.dequantisation
    assert one.allowance_bytes == parts.cuda_context + parts.activations + parts.workspace
    assert one.need_bytes == max(parts.loading, one.weights_bytes + one.kv_bytes + one.allowance_bytes)
    assert one.headroom_bytes == 80 * 10**9 - one.need_bytes


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(DTYPES), st.integers(1, 200 * GIB), st.integers(1, 300), st.integers(1, 131_072))
def test_the_largest_fits_and_one_more_does_not(dtype, have, sequences, context):
    def fits(context, sequences):
        return estimate_fit(SMALL, dtype, "card", have, context=context, sequences=sequences).fits

    most = largest_context(SMALL, dtype, have, sequences=sequences)
    assert most == 0 or fits(most, sequences)
    assert most == SMALL.max_position_embeddings or not fits(most + 1, sequences)
    many = largest_sequences(SMALL, dtype, have, context=context)
    assert many == 0 or fits(context, many)
    assert not fits(context, many + 1)


def test_a_number_of_sequences_that_is_none_is_refused():
    for sequences in (0, -1, 10**9):
        with pytest.raises(UsageError, match="choose 1 to 1000000"):
            estimate_fit(SMALL, "bf16", "card", GIB, context=1, sequences=sequences)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("A10", "NVIDIA A10 (bare metal / pass-through)"),
        ("nvidia a10", "NVIDIA A10 (bare metal / pass-through)"),
        ("A10-24Q", "NVIDIA A10-24Q (Azure vGPU of one whole A10)"),
        ("standard_nv36ads_a10_v5", "NVIDIA A10-24Q (Azure vGPU of one whole A10)"),
        ("h100 nvl", "NVIDIA H100 NVL"),
        ("H100-NVL", "NVIDIA H100 NVL"),
        ("Standard_NC40ads_H100_v5", "NVIDIA H100 NVL"),
        ("L4", "NVIDIA L4"),
        ("l40s", "NVIDIA L40S"),
        ("rtx4090", "NVIDIA RTX 4090"),
        ("4090", "NVIDIA RTX 4090"),
        ("A100 80GB", "NVIDIA A100 80GB"),
        ("A100", "NVIDIA A100 40GB"),
    ],
)
def test_a_card_is_found_however_it_is_written(text, name):
    found = parse_budget(text)
    assert (found.name, found.bytes) == (name, GPUS[name].memory_bytes)
    assert name not in found.others


@pytest.mark.parametrize(
    ("text", "size"), [("22.49GiB", int(22.49 * GIB)), ("16 GB", 16 * 10**9), ("900mib", 900 * 2**20), ("1TB", 10**12)]
)
def test_an_amount_is_a_budget(text, size):
    found = parse_budget(text)
    assert (found.bytes, found.gpu) == (size, None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "known GPUs"),
        ("A11", "did you mean"),
        ("RTX 9090", "did you mean"),
        ("A10 H100", "unknown GPU"),
        ("22", "unknown GPU"),
        ("-3GiB", "unknown GPU"),
        ("0GB", "above zero"),
        ("99999999999TiB", "not a possible amount"),
    ],
)
def test_what_is_no_card_is_refused_in_one_line(text, words):
    with pytest.raises(UsageError, match=words) as reported:
        parse_budget(text)
    assert "\n" not in str(reported.value)
