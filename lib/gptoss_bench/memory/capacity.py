"""From an architecture to bytes: its weights by dtype, its KV cache by context; and the cards to hold them against.

Exact arithmetic on whole bytes, nothing is measured here. GB is 10^9 bytes, GiB is 2^30.
"""
# MERGED: What a model needs on a card, part by part, and whether the card has it: now, at most context, at most se
# MERGED: Many fits at once: every model, dtype, card and load, and what of it a run keeps.

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import accumulate
from math import prod
from typing import Any

from gptoss_bench.memory.architecture import FULL, REST, Allocation, Architecture
from gptoss_client import UsageError

GIB = 2**30
KV_ITEM_BYTES = 2  # a cached key or value is BF16 or F16


def parameters_by_module(architecture: Architecture) -> dict[str, int]:
    """Parameters of each kind of module, over all layers; the values sum to the model's total."""
    counts: Counter[str] = Counter()
    for allocation in architecture.allocations("bf16"):
        counts[allocation.module] += allocation.parameters
    return dict(counts)


def bytes_by_module(architecture: Architecture, dtype: str) -> dict[str, int]:
    """Bytes of each kind of module, over all layers; the values sum to the weights."""
    counts: Counter[str] = Counter()
    for allocation in architecture.allocations(dtype):
        counts[allocation.module] += allocation.bytes
    return dict(counts)


@lru_cache(maxsize=256)
def weights_bytes(architecture: Architecture, dtype: str) -> int:
    """Bytes of all weights."""
    return sum(allocation.bytes for allocation in architecture.allocations(dtype))


def layer_bytes(architecture: Architecture, dtype: str) -> int:
    """Bytes of the weights of one layer; all layers are alike."""
    return sum(allocation.bytes for allocation in architecture.allocations(dtype) if allocation.stage == 1)


def decode_bytes(architecture: Architecture, dtype: str) -> int:
    """Bytes of weights that one decoded token reads at batch 1.

    Of the experts only those chosen, of the embedding one row (all of it where it is the head as well).
    """
    counts = bytes_by_module(architecture, dtype)
    experts = counts["expert weights"] + counts["expert biases"]
    chosen = experts * architecture.num_experts_per_tok // architecture.num_local_experts
    row = counts["embedding"] // architecture.vocab_size
    unread = 0 if architecture.tie_word_embeddings else counts["embedding"]
    return sum(counts.values()) - experts + chosen - unread + row


def kv_bytes(architecture: Architecture, context: int, *, trimmed: bool = True) -> int:
    """Bytes of the KV cache of one sequence of `context` tokens.

    A sliding layer looks back `sliding_window` tokens and, where the engine trims, keeps no more than those.
    Raises UsageError for a context that the model does not have.
    """
    most = architecture.max_position_embeddings
    if not 1 <= context <= most:
        raise UsageError(f"context {context} is not possible with {architecture.name}; choose 1 to {most}")
    token = 2 * architecture.num_key_value_heads * architecture.head_dim * KV_ITEM_BYTES  # a key and a value
    full = architecture.layer_types.count(FULL)
    kept = min(context, architecture.sliding_window) if trimmed else context
    return token * (full * context + (architecture.num_hidden_layers - full) * kept)


def running_totals(allocations: Sequence[Allocation]) -> tuple[int, ...]:
    """Bytes that are taken once each allocation, in order, has been made."""
    return tuple(accumulate(allocation.bytes for allocation in allocations))


def first_not_to_fit(allocations: Sequence[Allocation], budget_bytes: int) -> Allocation | None:
    """The allocation at which loading in order overruns the budget; None where all of them fit."""
    taken = zip(allocations, running_totals(allocations), strict=True)
    return next((allocation for allocation, total in taken if total > budget_bytes), None)


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


def estimate_fit(
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
        return estimate_fit(architecture, dtype, "", have_bytes, context=context, sequences=sequences).need_bytes

    return bisect_right(range(1, architecture.max_position_embeddings + 1), have_bytes, key=need)


def largest_sequences(architecture: Architecture, dtype: str, have_bytes: int, *, context: int) -> int:
    """How many sequences of `context` tokens fit at once, up to `MOST_SEQUENCES`; 0 where not even one does."""

    def need(sequences: int) -> int:
        return estimate_fit(architecture, dtype, "", have_bytes, context=context, sequences=sequences).need_bytes

    return bisect_right(range(1, MOST_SEQUENCES + 1), have_bytes, key=need)


@dataclass(frozen=True, slots=True)
class FitResult:
    """What is left on one device under one load, and how many sequences of its context would fit there at most."""

    fit: Fit
    largest_sequences: int


def fit_grid(
    architectures: Sequence[Architecture],
    dtypes: Sequence[str],
    devices: Iterable[tuple[str, int]],
    loads: Sequence[tuple[int, int]],
) -> list[FitResult]:
    """Each model at each dtype under each load of (context, sequences) on each device, given as name and bytes."""
    cards = list(devices)
    found = [
        estimate_fit(model, dtype, name, have, context=context, sequences=sequences)
        for model in architectures
        for dtype in dtypes
        for context, sequences in loads
        for name, have in cards
    ]
    models = {model.name: model for model in architectures}
    return [
        FitResult(one, largest_sequences(models[one.model], one.dtype, one.have_bytes, context=one.context))
        for one in found
    ]


def fit_summary(
    architectures: Iterable[Architecture], fits: Iterable[Fit], contexts: Sequence[int]
) -> dict[str, dict[str, Any]]:
    """What a run keeps of all this, as JSON types.

    "architectures": {name: {"parameters", "weights_bytes": {dtype}, "kv_bytes": {context as text}}};
    "fits": {device: {name: {dtype: bool}}}.
    """
    described = {
        each.name: {
            "parameters": sum(parameters_by_module(each).values()),
            "weights_bytes": {dtype: weights_bytes(each, dtype) for dtype in REST},
            "kv_bytes": {str(context): kv_bytes(each, context) for context in contexts},
        }
        for each in architectures
    }
    fitting: dict[str, Any] = {}
    for one in fits:
        fitting.setdefault(one.device, {}).setdefault(one.model, {})[one.dtype] = one.fits
    return {"architectures": described, "fits": fitting}
