"""What an engine leaves of a card, against public logs of vLLM; numbers by hand in the comments."""

import pytest

from gptoss_bench.memory.architecture import architectures
from gptoss_bench.memory.capacity import estimate_fit, kv_bytes, largest_context, largest_sequences, weights_bytes
from gptoss_bench.memory.engine_share import engine_share
from gptoss_bench.memory.gpus import parse_budget
from gptoss_client.errors import UsageError

MODELS = architectures()
SMALL, LARGE = MODELS["gpt-oss-20b"], MODELS["gpt-oss-120b"]
GIB = 2**30


def test_vllm_on_one_h100_as_its_logs_have_it() -> None:
    # vLLM 0.10.1, gpt-oss-120b, H100 80GB HBM3 (81559 MiB, of which CUDA programs see 81081): "Model loading took
    # 65.9651 GiB", "Available KV cache memory: -2.14 GiB" at its default of 0.9.
    card = parse_budget("H100 SXM")
    assert (card.bytes, card.cuda_bytes) == (81559 * 2**20, 81081 * 2**20)
    share = engine_share("vllm", card)
    have = share.budget_bytes(card)
    assert have == int(0.9 * 81081 * 2**20)
    fit = estimate_fit(LARGE, "mxfp4", card.name, have, context=8192, engine=share)
    # 2880 is padded to 3072 and 2944: 36 x 128 x 3 x (3072 x 2944 - 2880 x 2880) weights of 4.25 bits are 5.127 GiB
    # more than 60.768 GiB.
    assert fit.weights_bytes == weights_bytes(LARGE, "mxfp4") + 36 * 128 * 3 * 749_568 * 17 // 32
    assert fit.weights_bytes / GIB == pytest.approx(65.9651, abs=0.1)
    assert (fit.headroom_bytes + fit.kv_bytes) / GIB == pytest.approx(-2.14, abs=0.1)
    assert not fit.fits
    assert largest_context(LARGE, "mxfp4", have, engine=share) == 0
    assert largest_sequences(LARGE, "mxfp4", have, context=1024, engine=share) == 0
    # Without the engine, the whole card: 62.04 GiB of 79.65.
    assert estimate_fit(LARGE, "mxfp4", card.name, card.bytes, context=131_072).fits


def test_vllm_with_a_larger_share_starts_but_not_with_the_longest_context() -> None:
    # vLLM 0.11 at 0.95: 1.71 GiB for the KV cache, and 131,072 tokens are refused: they take 4.5 GiB.
    card = parse_budget("H100 SXM")
    share = engine_share("vllm", card, 0.95)
    left = estimate_fit(LARGE, "mxfp4", card.name, share.budget_bytes(card), context=131_072, engine=share)
    assert (left.headroom_bytes + left.kv_bytes) / GIB == pytest.approx(1.71, abs=0.25)
    assert kv_bytes(LARGE, 131_072) == 18 * 2048 * (131_072 + 128) == 4_836_556_800
    assert not left.fits


def test_the_profile_is_smaller_below_70_gib_and_on_an_a100() -> None:
    sizes = {name: engine_share("vllm", parse_budget(name)) for name in ("A10", "A100 80GB", "H100 NVL", "80GiB")}
    assert {name: (each.step_tokens, each.step_sequences) for name, each in sizes.items()} == {
        "A10": (2048, 256),
        "A100 80GB": (2048, 256),
        "H100 NVL": (8192, 1024),
        "80GiB": (8192, 1024),
    }
    # An L4 (CUDA programs see 22.03 GiB) at 0.9, 131,072 tokens with an FP8 cache: a public log has 2.78 sequences at
    # once, of 12 x 1024 x (131,072 + 128) bytes each: 4.17 GiB for the cache.
    card = parse_budget("L4")
    fit = estimate_fit(SMALL, "mxfp4", card.name, sizes["A10"].budget_bytes(card), context=8192, engine=sizes["A10"])
    assert (fit.headroom_bytes + fit.kv_bytes) / GIB == pytest.approx(4.17, abs=0.5)


def test_only_mxfp4_is_padded_and_nothing_is_unpacked() -> None:
    share = engine_share("vllm", parse_budget("H100 NVL"))
    assert share.padding_bytes(SMALL, "bf16") == 0
    fit = estimate_fit(SMALL, "bf16", "", 94 * GIB, context=8192, engine=share)
    assert fit.parts.dequantisation == 0


@pytest.mark.parametrize(
    ("engine", "share", "words"), [("sglang", None, "choose one of: vllm"), ("vllm", 0, "share 0")]
)
def test_an_unknown_engine_and_an_impossible_share_are_refused(engine: str, share: float | None, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        engine_share(engine, parse_budget("A10"), share)
