"""The sinks of the tiny model in a real computation, and the table of who takes them against code and claims."""

import numpy as np
import pytest
import torch
from matplotlib.text import Text

from gptoss_bench import paths
from gptoss_bench.claims.schema import load_write_up
from gptoss_bench.figures.sinks import sink_shares, sink_support_map
from gptoss_bench.memory.sink_support import SinkBackend, parse_compute_capability, read_sink_backends, sink_backends
from gptoss_bench.memory.sinks import measure_sink_effect
from gptoss_bench.runs.manifest import Manifest
from gptoss_bench.tiny_model.gguf_import import load_tiny
from gptoss_client.errors import UsageError

BACKENDS = sink_backends()
A10, H100 = (8, 6), (9, 0)


@pytest.fixture(scope="module")
def tiny():
    return load_tiny()


@pytest.fixture(scope="module")
def reading(tiny):
    return measure_sink_effect(*tiny)


def test_the_weights_come_back_as_they_were_trained(tiny):
    model, tokenizer = tiny
    text = "<|start|>assistant<|channel|>final<|message|>I should begin with the clock."
    encoded = tokenizer.encode(text)
    assert tokenizer.decode(encoded.ids, skip_special_tokens=False) == text
    assert encoded.tokens[:3] == ["<|start|>", "assistant", "<|channel|>"]
    assert sum(tensor.numel() for tensor in model.parameters()) < 3_271_520
    assert all(torch.isfinite(tensor).all() for tensor in model.parameters())


def test_a_sink_takes_a_share_of_each_row_and_only_scales_the_rest(reading):
    assert reading.share.shape[:2] == (4, 4)
    assert np.all((reading.share >= 0) & (reading.share <= 1))
    assert reading.share.mean(axis=2).min() > 0.001
    assert reading.scaling_error < 1e-6
    assert reading.share[:, :, 0].mean() > reading.share.mean()  # the first token has nobody but the sink and itself


def test_the_tiny_model_knows_its_text_and_says_it_a_little_worse_without_sinks(reading):
    assert reading.loss < 0.5
    assert reading.loss != reading.loss_without
    assert 0 <= reading.changed <= 1


def test_the_sinks_are_put_back(tiny, reading):
    again = measure_sink_effect(*tiny)
    assert again.loss == reading.loss
    assert np.array_equal(again.share, reading.share)


def test_the_summary_has_a_row_per_layer_and_the_picture_says_what_it_is_of(reading):
    assert len(reading.summary().share) == 4
    words = [text.get_text() for text in sink_shares(reading.summary(), Manifest(run_id="run-7")).findobj(Text)]
    assert "TINY MODEL" in words
    assert any("run-7" in text and "on the CPU" in text for text in words)


def test_the_map_has_a_row_for_each_backend():
    table = sink_support_map(BACKENDS, {"A10": "8.6", "H100": "9.0"}, Manifest())
    assert [cell.text for cell in table.rows["vLLM 0.10.1.1, Triton"]] == ["yes", "yes"]
    assert [cell.text for cell in table.rows["vLLM 0.10.1.1, FlashAttention 3"]] == ["–", "yes"]
    assert {"dropped", "no"} <= {cell.text for cells in table.rows.values() for cell in cells}


def choices(
    backends: tuple[SinkBackend, ...], stack: str, version: str, capability: tuple[int, int]
) -> tuple[str, ...]:
    """The backends of one version that support sinks on a GPU."""
    return tuple(
        each.backend
        for each in backends
        if (each.stack, each.version, each.sinks) == (stack, version, "yes") and each.runs_on(capability)
    )


def test_on_an_a10_vllm_had_no_backend_with_sinks_at_first_and_has_one_since():
    assert choices(BACKENDS, "vLLM", "0.10.1+gptoss", A10) == ()
    assert choices(BACKENDS, "vLLM", "0.10.1+gptoss", H100) == ("FlashAttention 3",)
    assert choices(BACKENDS, "vLLM", "0.10.1.1", A10) == choices(BACKENDS, "vLLM", "0.33.0", A10) == ("Triton",)
    assert "eager" in choices(BACKENDS, "transformers", "5.24.0", A10)


def test_the_claims_on_sinks_agree_with_the_table_for_each_version():
    claims = load_write_up().by_id
    versions = {each.version for each in BACKENDS if each.stack == "vLLM"}
    for name in ("C10-sinks-need-fa3", "C13-a10-choices"):
        surveyed = claims[name].arguments.surveyed()
        assert {one.version for one in surveyed} == versions
        for one in surveyed:
            assert one.holds == (choices(BACKENDS, "vLLM", one.version, A10) == ())
    assert all(one.holds for one in claims["C11-fa2-lacks-sinks"].arguments.surveyed())
    assert all(one.holds for one in claims["C12-fa3-on-ampere"].arguments.surveyed())


def test_what_has_to_be_chosen_by_hand_is_no_default():
    [triton] = [b for b in BACKENDS if (b.version, b.backend) == ("0.10.1+gptoss", "Triton")]
    assert (triton.sinks, triton.capabilities, triton.runs_on(A10)) == ("on request", "capability 8.0", True)
    assert all(each.read.startswith("2026-11-2") for each in BACKENDS)


def test_flash_attention_3_is_for_hopper_alone_in_every_version():
    third = [each for each in BACKENDS if each.backend.startswith("FlashAttention 3")]
    assert all(each.runs_on(H100) and not each.runs_on(A10) for each in third)


def test_the_installed_transformers_does_what_the_table_says_of_it():
    from transformers import GptOssConfig, GptOssForCausalLM
    from transformers.models.gpt_oss.modeling_gpt_oss import GptOssPreTrainedModel

    assert GptOssPreTrainedModel._supports_flex_attn
    assert "kernels-community/vllm-flash-attn3" in GptOssPreTrainedModel._compatible_flash_implementations
    sizes = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 1, "head_dim": 8}
    config = GptOssConfig(**sizes, num_attention_heads=2, num_key_value_heads=1, num_local_experts=2)
    config._attn_implementation = "sdpa"
    with torch.device("meta"), pytest.raises(ValueError, match="scaled_dot_product_attention"):
        GptOssForCausalLM(config)


@pytest.mark.parametrize("text", ["stack\nvLLM\n", paths.ATTENTION_SINKS.read_text().replace(",yes,", ",maybe,")])
def test_a_table_that_is_none_is_refused(text):
    with pytest.raises(UsageError, match="correct it"):
        read_sink_backends(text)
    with pytest.raises(UsageError, match="not a compute capability"):
        parse_compute_capability("Ampere")
