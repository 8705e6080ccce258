"""What a model needs on a card, part by part, and whether the card has it: now, at most context, at most sequences.

Weights and cache are exact; activations follow from the config by the formula in `activation_bytes`; the CUDA context
and the workspace are assumptions, named below. Nothing is measured here. All sizes are in bytes.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from math import prod
from typing import Any

from gptoss_bench.architecture import Architecture
from gptoss_bench.errors import UsageError
from gptoss_bench.memory import GIB, kv_bytes, weights_bytes

# Assumptions: what the driver keeps for a process that has opened a device with its libraries' kernels, and what
# those libraries and the allocator's rounding take besides. Both differ by driver and engine; vLLM takes more.
CUDA_CONTEXT_BYTES = GIB // 2
WORKSPACE_BYTES = GIB // 4
# Tokens of a prompt that go through the model at once: vLLM's default on cards below 70 GiB.
STEP_TOKENS = 2048
ACTIVATION_ITEM_BYTES = 2
LOGIT_ITEM_BYTES = 4
# transformers unpacks one tensor of experts at a time, by rows of 16 packed bytes. Beside its result it holds, for
# each packed byte, this many bytes of all rows and of the rows at hand. Counted by torch's profiler on the CPU
# (tests/test_capacity.py counts again); a CUDA device may differ.
UNPACK_ROWS = 32768 * 1024
UNPACK_ALL, UNPACK_CHUNK, UNPACK_COPY = 0.25, 14.0, 4.25
MOST_SEQUENCES = 1_000_000


@dataclass(frozen=True, slots=True)
class Parts:
    """What is needed, by name. `dequantisation` is held while weights are unpacked, the last three while serving."""

    weights: int
    cuda_context: int
    dequantisation: int
    kv_cache: int
    activations: int
    workspace: int

    @property
    def loading(self) -> int:
        """At the worst moment of loading: the unpacking of the last tensor."""
        return self.weights + self.cuda_context + self.dequantisation

    @property
    def serving(self) -> int:
        """With every sequence at its full context."""
        return self.weights + self.cuda_context + self.kv_cache + self.activations + self.workspace


@dataclass(frozen=True, slots=True)
class Fit:
    """One model at one dtype, context and number of sequences, against what one device has."""

    model: str
    device: str
    dtype: str
    context: int
    sequences: int
    parts: Parts
    have_bytes: int

    @property
    def weights_bytes(self) -> int:
        """Weights alone."""
        return self.parts.weights

    @property
    def kv_bytes(self) -> int:
        """The cache of all sequences."""
        return self.parts.kv_cache

    @property
    def allowance_bytes(self) -> int:
        """What serving needs beside weights and cache: CUDA context, activations, workspace."""
        return self.parts.serving - self.parts.weights - self.parts.kv_cache

    @property
    def need_bytes(self) -> int:
        """The larger of what loading and what serving needs."""
        return max(self.parts.loading, self.parts.serving)

    @property
    def headroom_bytes(self) -> int:
        """What is left of the device; below zero it is what is missing."""
        return self.have_bytes - self.need_bytes

    @property
    def share(self) -> float:
        """Need over have: above 1 it does not fit."""
        return self.need_bytes / self.have_bytes

    @property
    def fits(self) -> bool:
        """Whether all of the need goes on the device."""
        return self.need_bytes <= self.have_bytes

    def summary(self) -> dict[str, Any]:
        """All of it as JSON types."""
        return asdict(self) | {
            "need_bytes": self.need_bytes,
            "headroom_bytes": self.headroom_bytes,
            "fits": self.fits,
        }


def activation_bytes(architecture: Architecture, context: int, sequences: int) -> int:
    """The tensors of one layer for one step of `STEP_TOKENS`, and a row of FP32 logits for each sequence.

    Residual stream and its norm; queries, keys, values and the attention's output; gate, up, their product and the
    down projection of each chosen expert. A fused attention kernel is taken for granted: see `eager_score_bytes`.
    """
    tokens = min(context * sequences, STEP_TOKENS)
    queries = architecture.num_attention_heads * architecture.head_dim
    keys = architecture.num_key_value_heads * architecture.head_dim
    attention = 2 * architecture.hidden_size + 2 * queries + 2 * keys
    expert = 3 * architecture.intermediate_size + architecture.hidden_size
    token = (attention + architecture.num_experts_per_tok * expert) * ACTIVATION_ITEM_BYTES
    return tokens * token + sequences * architecture.vocab_size * LOGIT_ITEM_BYTES


def eager_score_bytes(architecture: Architecture, context: int) -> int:
    """One score matrix of eager attention over a whole prompt, its sink column included; eager code holds several."""
    return architecture.num_attention_heads * context * (context + 1) * ACTIVATION_ITEM_BYTES


@lru_cache(maxsize=256)
def dequantisation_bytes(architecture: Architecture, dtype: str) -> int:
    """What transformers holds beside its result while it unpacks the largest MXFP4 tensor of the model to BF16.

    Zero where nothing is unpacked: the checkpoint is not packed, or stays so.
    """
    if architecture.quantisation != "mxfp4" or dtype not in ("bf16", "fp32"):
        return 0
    packed = [each for each in architecture.allocations("mxfp4") if each.name.endswith("_blocks")]
    return max(unpacking_bytes(each.shape) for each in packed)


def unpacking_bytes(shape: Sequence[int], rows_at_once: int = UNPACK_ROWS) -> int:
    """The same for one packed tensor of this shape (…, blocks, 16), itself and its scales included."""
    rows, width = prod(shape[:-1]), shape[-1]
    at_hand = min(rows, rows_at_once)
    beside = max(UNPACK_ALL * rows + UNPACK_CHUNK * at_hand, UNPACK_COPY * rows)
    return int(width * (rows + beside)) + rows


def fit(
    architecture: Architecture,
    dtype: str,
    device: str,
    have_bytes: int,
    *,
    context: int,
    sequences: int = 1,
) -> Fit:
    """Hold one model against one device. Raises UsageError for an unknown dtype, context or number of sequences."""
    if not 1 <= sequences <= MOST_SEQUENCES:
        raise UsageError(f"{sequences} sequences at once are not possible; choose 1 to {MOST_SEQUENCES}")
    parts = Parts(
        weights=weights_bytes(architecture, dtype),
        cuda_context=CUDA_CONTEXT_BYTES,
        dequantisation=dequantisation_bytes(architecture, dtype),
        kv_cache=sequences * kv_bytes(architecture, context),
        activations=activation_bytes(architecture, context, sequences),
        workspace=WORKSPACE_BYTES,
    )
    return Fit(architecture.name, device, dtype, context, sequences, parts, have_bytes)


def largest_context(architecture: Architecture, dtype: str, have_bytes: int, *, sequences: int = 1) -> int:
    """The longest context, up to the model's own, with which `sequences` sequences fit; 0 where none does."""

    def need(context: int) -> int:
        return fit(architecture, dtype, "", have_bytes, context=context, sequences=sequences).need_bytes

    return bisect_right(range(1, architecture.max_position_embeddings + 1), have_bytes, key=need)


def largest_sequences(architecture: Architecture, dtype: str, have_bytes: int, *, context: int) -> int:
    """How many sequences of `context` tokens fit at once, up to `MOST_SEQUENCES`; 0 where not even one does."""

    def need(sequences: int) -> int:
        return fit(architecture, dtype, "", have_bytes, context=context, sequences=sequences).need_bytes

    return bisect_right(range(1, MOST_SEQUENCES + 1), have_bytes, key=need)
