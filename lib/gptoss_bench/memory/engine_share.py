"""What an engine leaves of a card for the KV cache: its share of the memory, padded weights and its profile run."""

from dataclasses import dataclass, replace

from gptoss_bench.memory.architecture import Architecture
from gptoss_bench.memory.dtypes import MXFP4_BLOCK_BYTES, MXFP4_BLOCK_WEIGHTS
from gptoss_bench.memory.gpus import Budget
from gptoss_client import UsageError

GIB = 2**30


@dataclass(frozen=True, slots=True)
class EngineShare:
    """The defaults of an engine that decide how much of a card is left for its KV cache."""

    engine: str
    share: float  # of the memory that CUDA programs see
    hidden_multiple: int  # MXFP4 expert weights are padded to multiples of these
    intermediate_multiple: int
    step_tokens: int  # tokens and sequences of the run by which the engine measures its own peak
    step_sequences: int
    logit_copies: float  # FP32 logits of all those sequences that sampling holds at once

    def budget_bytes(self, budget: Budget) -> int:
        """Return the part of a card that the engine uses."""
        return int(self.share * budget.cuda_bytes)

    def padding_bytes(self, architecture: Architecture, dtype: str) -> int:
        """Return what padding adds to the weights; zero for weights that are not MXFP4."""
        if dtype != "mxfp4":
            return 0
        hidden, middle = architecture.hidden_size, architecture.intermediate_size
        padded = _round_up(hidden, self.hidden_multiple) * _round_up(middle, self.intermediate_multiple)
        experts = architecture.num_hidden_layers * architecture.num_local_experts
        added = 3 * experts * (padded - hidden * middle)  # gate, up and down
        return added * (MXFP4_BLOCK_BYTES + 1) // MXFP4_BLOCK_WEIGHTS


# vLLM 0.10 to 0.26, arg_utils.py: defaults of the API server. The profile is larger on cards of 70 GiB and more, except
# A100. Padding is that of its Marlin kernels (quantization/mxfp4.py); its other kernels pad less.
# Derived from a public log of vLLM 0.10.1 (gpt-oss-120b, one H100 80GB HBM3): of 0.9 x 79.18 GiB, 65.97 GiB were
# weights and the KV cache would have had -2.14 GiB, so 7.43 GiB went elsewhere. Context, workspace and the activations
# of 8192 tokens are 1.68 GiB, 1024 FP32 logits are 0.77 GiB: 7.5 of them. With vLLM 0.11 at 0.95, 1.71 GiB were left.
VLLM = EngineShare("vllm", 0.9, 256, 128, 2048, 256, 7.5)
VLLM_LARGE = replace(VLLM, step_tokens=8192, step_sequences=1024)
ENGINES_WITH_SHARE = ("vllm",)


def engine_share(engine: str, budget: Budget, share: float | None = None) -> EngineShare:
    """Return the defaults of an engine on a card, with another `share` of the card if one is given.

    Raises UsageError for an engine whose defaults are not known, and for a share that is not above 0 and at most 1.
    """
    if engine not in ENGINES_WITH_SHARE:
        raise UsageError(f"engine {engine!r} is not known here; choose one of: {', '.join(ENGINES_WITH_SHARE)}")
    if share is not None and not 0 < share <= 1:
        raise UsageError(f"share {share:g} is not possible; pass a number above 0 and at most 1, such as 0.9")
    chosen = VLLM_LARGE if budget.cuda_bytes >= 70 * GIB and "A100" not in budget.name else VLLM
    return chosen if share is None else replace(chosen, share=share)


def _round_up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple
