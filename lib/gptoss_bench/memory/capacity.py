"""Compute the bytes of a model's weights, KV cache and activations, and whether they fit on a device.

Exact arithmetic on whole bytes; nothing is measured. GB is 10^9 bytes, GiB is 2^30 bytes.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import accumulate
from math import prod
from typing import TYPE_CHECKING

from gptoss_bench.memory.architecture import FULL, Allocation, Architecture
from gptoss_bench.memory.dtypes import ELEMENT_BY_DTYPE, ELEMENT_BYTES
from gptoss_bench.memory.engine_share import GIB, EngineShare
from gptoss_client import UsageError

if TYPE_CHECKING:
    from gptoss_bench.runs import ArchitectureBytes

MAX_SEQUENCES = 1_000_000
KV_ELEMENT_BYTES = ELEMENT_BYTES["bfloat16"]  # F16 has the same size
CHECKPOINT = "checkpoint"  # as a dtype: as the checkpoint stores it, if that is neither MXFP4 nor one dtype for all
ACTIVATION_ELEMENT_BYTES = ELEMENT_BYTES["bfloat16"]
LOGIT_ELEMENT_BYTES = ELEMENT_BYTES["float32"]
# Prompt tokens per forward pass: vLLM's default on GPUs below 70 GiB.
STEP_TOKENS = 2048
# Assumptions. CUDA context: what the driver keeps for a process that has opened a device and loaded the kernels of
# its libraries. Workspace: what those libraries and the rounding of the allocator take in addition. Both depend on
# driver and engine; vLLM takes more.
CUDA_CONTEXT_BYTES = GIB // 2
WORKSPACE_BYTES = GIB // 4
# transformers unpacks one tensor of experts at a time, in chunks of rows of 16 packed bytes. In addition to the result
# it holds, for each packed byte, this many bytes for all rows and for the rows of the chunk. Measured with torch's
# profiler on the CPU (test_capacity.py measures again); a CUDA device may differ.
UNPACK_CHUNK_ROWS = 32768 * 1024
UNPACK_ALL, UNPACK_CHUNK, UNPACK_COPY = 0.25, 14.0, 4.25


def parameters_by_module(architecture: Architecture) -> dict[str, int]:
    """Return the parameters of each kind of module over all layers; the values sum to the model's total."""
    counts: Counter[str] = Counter()
    for allocation in architecture.allocations("bf16"):
        counts[allocation.module] += allocation.parameters
    return dict(counts)


def bytes_by_module(architecture: Architecture, dtype: str) -> dict[str, int]:
    """Return the bytes of each kind of module over all layers; the values sum to the weights."""
    counts: Counter[str] = Counter()
    for allocation in architecture.allocations(dtype):
        counts[allocation.module] += allocation.bytes
    return dict(counts)


@lru_cache(maxsize=256)
def weights_bytes(architecture: Architecture, dtype: str) -> int:
    """Return the bytes of all weights; `dtype` may also be `CHECKPOINT` if the architecture has a packing."""
    if dtype == CHECKPOINT and architecture.packing:
        return architecture.packing.bytes_of(architecture.allocations("bf16"))
    return sum(allocation.bytes for allocation in architecture.allocations(dtype))


def layer_bytes(architecture: Architecture, dtype: str) -> int:
    """Return the bytes of the weights of one layer; all layers have the same size."""
    return sum(allocation.bytes for allocation in architecture.allocations(dtype) if allocation.stage == 1)


def decode_bytes(architecture: Architecture, dtype: str) -> int:
    """Return the bytes of weights that one decoded token reads at batch size 1.

    Only the chosen experts are read, and one row of the embedding (all of it if it is also the head).
    """
    counts = bytes_by_module(architecture, dtype)
    experts = counts["expert weights"] + counts["expert biases"]
    chosen = experts * architecture.num_experts_per_tok // architecture.num_local_experts
    row = counts["embedding"] // architecture.vocab_size
    unread = 0 if architecture.tie_word_embeddings else counts["embedding"]
    return sum(counts.values()) - experts + chosen - unread + row


def kv_bytes(architecture: Architecture, context: int, *, trimmed: bool = True) -> int:
    """Return the bytes of the KV cache of one sequence of `context` tokens.

    A sliding layer attends to the last `sliding_window` tokens; if the engine trims, it keeps only those.
    Raises UsageError for a context that the model does not support.
    """
    most = architecture.max_position_embeddings
    if not 1 <= context <= most:
        raise UsageError(f"context {context} is not possible with {architecture.name}; choose 1 to {most}")
    token = 2 * architecture.num_key_value_heads * architecture.head_dim * KV_ELEMENT_BYTES  # a key and a value
    full = architecture.layer_types.count(FULL)
    kept = min(context, architecture.sliding_window) if trimmed else context
    return token * (full * context + (architecture.num_hidden_layers - full) * kept)


def running_totals(allocations: Sequence[Allocation]) -> tuple[int, ...]:
    """Return the bytes in use after each allocation, in order."""
    return tuple(accumulate(allocation.bytes for allocation in allocations))


def first_not_to_fit(allocations: Sequence[Allocation], budget_bytes: int) -> Allocation | None:
    """Return the allocation at which loading in order exceeds the budget; None if all fit."""
    taken = zip(allocations, running_totals(allocations), strict=True)
    return next((allocation for allocation, total in taken if total > budget_bytes), None)


@dataclass(frozen=True, slots=True)
class Parts:
    """Bytes needed by each part. `dequantisation` is held while weights are unpacked, the last three while serving."""

    weights: int
    cuda_context: int
    dequantisation: int
    kv_cache: int
    activations: int
    workspace: int

    @property
    def loading(self) -> int:
        """Return the peak of loading: the unpacking of the last tensor."""
        return self.weights + self.cuda_context + self.dequantisation

    @property
    def serving(self) -> int:
        """Return the peak of serving: every sequence at its full context."""
        return self.weights + self.cuda_context + self.kv_cache + self.activations + self.workspace


@dataclass(frozen=True, slots=True)
class Fit:
    """The need of one model at one dtype, context and number of sequences, compared with one device."""

    model: str
    device: str
    dtype: str
    context: int
    sequences: int
    parts: Parts
    have_bytes: int

    @property
    def weights_bytes(self) -> int:
        """Return the bytes of the weights."""
        return self.parts.weights

    @property
    def kv_bytes(self) -> int:
        """Return the bytes of the KV cache of all sequences."""
        return self.parts.kv_cache

    @property
    def allowance_bytes(self) -> int:
        """Return what serving needs besides weights and cache: CUDA context, activations, workspace."""
        return self.parts.serving - self.parts.weights - self.parts.kv_cache

    @property
    def need_bytes(self) -> int:
        """Return the larger of the needs of loading and serving."""
        return max(self.parts.loading, self.parts.serving)

    @property
    def headroom_bytes(self) -> int:
        """Return the free bytes of the device; below zero: the missing bytes."""
        return self.have_bytes - self.need_bytes

    @property
    def share(self) -> float:
        """Return need divided by available bytes; above 1 the model does not fit."""
        return self.need_bytes / self.have_bytes

    @property
    def fits(self) -> bool:
        """Return whether the device has the bytes needed."""
        return self.need_bytes <= self.have_bytes


def activation_bytes(architecture: Architecture, tokens: int, logit_rows: float) -> int:
    """Return the bytes of one layer's tensors for one step of `tokens`, and of so many rows of FP32 logits.

    Counted are the residual stream and its norm; queries, keys, values and the output of attention; gate, up, their
    product and the down projection of each chosen expert. Assumes a fused attention kernel: see `eager_score_bytes`.
    """
    queries = architecture.num_attention_heads * architecture.head_dim
    keys = architecture.num_key_value_heads * architecture.head_dim
    attention = 2 * architecture.hidden_size + 2 * queries + 2 * keys
    expert = 3 * architecture.intermediate_size + architecture.hidden_size
    token = (attention + architecture.num_experts_per_tok * expert) * ACTIVATION_ELEMENT_BYTES
    return tokens * token + int(logit_rows * architecture.vocab_size) * LOGIT_ELEMENT_BYTES


def eager_score_bytes(architecture: Architecture, context: int) -> int:
    """Return the bytes of one score matrix of eager attention over a prompt, sink column included.

    Eager code holds several of them.
    """
    return architecture.num_attention_heads * context * (context + 1) * ACTIVATION_ELEMENT_BYTES


@lru_cache(maxsize=256)
def dequantisation_bytes(architecture: Architecture, dtype: str) -> int:
    """Return the extra bytes that transformers holds while it unpacks the model's largest MXFP4 tensor to BF16.

    Zero if nothing is unpacked: the checkpoint is not packed, or stays packed.
    """
    if architecture.quantisation != "mxfp4" or dtype not in ("bf16", "fp32"):
        return 0
    packed = [each for each in architecture.allocations("mxfp4") if each.name.endswith("_blocks")]
    return max(unpacking_bytes(each.shape) for each in packed)


def unpacking_bytes(shape: Sequence[int], chunk_rows: int = UNPACK_CHUNK_ROWS) -> int:
    """Return the same for one packed tensor of shape (…, blocks, 16), the tensor and its scales included."""
    rows, width = prod(shape[:-1]), shape[-1]
    extra = max(UNPACK_ALL * rows + UNPACK_CHUNK * min(rows, chunk_rows), UNPACK_COPY * rows)
    return int(width * (rows + extra)) + rows


def estimate_fit(
    architecture: Architecture,
    dtype: str,
    device: str,
    have_bytes: int,
    *,
    context: int,
    sequences: int = 1,
    engine: EngineShare | None = None,
) -> Fit:
    """Compare what one model needs with what one device has.

    With an `engine`, `have_bytes` is its part of the device, weights are padded as it pads them, nothing is unpacked
    while loading, and the activations are those of its profile run.
    Raises UsageError for an unknown dtype, an impossible context or an impossible number of sequences.
    """
    if not 1 <= sequences <= MAX_SEQUENCES:
        raise UsageError(f"{sequences} concurrent sequences are not possible; choose 1 to {MAX_SEQUENCES}")
    if engine:
        tokens, logit_rows = engine.step_tokens, engine.step_sequences * engine.logit_copies
    else:
        tokens, logit_rows = min(context * sequences, STEP_TOKENS), sequences
    parts = Parts(
        weights=weights_bytes(architecture, dtype) + (engine.padding_bytes(architecture, dtype) if engine else 0),
        cuda_context=CUDA_CONTEXT_BYTES,
        dequantisation=0 if engine else dequantisation_bytes(architecture, dtype),
        kv_cache=sequences * kv_bytes(architecture, context),
        activations=activation_bytes(architecture, tokens, logit_rows),
        workspace=WORKSPACE_BYTES,
    )
    return Fit(architecture.name, device, dtype, context, sequences, parts, have_bytes)


def largest_context(
    architecture: Architecture, dtype: str, have_bytes: int, *, sequences: int = 1, engine: EngineShare | None = None
) -> int:
    """Return the longest context, up to the model's own, at which `sequences` sequences fit; 0 if none does."""
    fit = partial(estimate_fit, architecture, dtype, "", have_bytes, sequences=sequences, engine=engine)
    contexts = range(1, architecture.max_position_embeddings + 1)
    return bisect_right(contexts, have_bytes, key=lambda context: fit(context=context).need_bytes)


def largest_sequences(
    architecture: Architecture, dtype: str, have_bytes: int, *, context: int, engine: EngineShare | None = None
) -> int:
    """Return how many sequences of `context` tokens fit at once, up to `MAX_SEQUENCES`."""
    fit = partial(estimate_fit, architecture, dtype, "", have_bytes, context=context, engine=engine)
    return bisect_right(range(1, MAX_SEQUENCES + 1), have_bytes, key=lambda many: fit(sequences=many).need_bytes)


@dataclass(frozen=True, slots=True)
class FitResult:
    """One cell of a fit grid, and the largest number of sequences of its context that would fit."""

    fit: Fit
    largest_sequences: int


def fit_grid(
    architectures: Sequence[Architecture],
    dtypes: Sequence[str],
    devices: Iterable[tuple[str, int]],
    loads: Sequence[tuple[int, int]],
) -> list[FitResult]:
    """Compute the fit of each model at each dtype, load and device.

    Args:
        architectures: the models.
        dtypes: as in `Architecture.allocations`.
        devices: (name, bytes) of each device.
        loads: (context in tokens, sequences) of each load.
    """
    devices = list(devices)
    fits = [
        estimate_fit(model, dtype, name, have, context=context, sequences=sequences)
        for model in architectures
        for dtype in dtypes
        for context, sequences in loads
        for name, have in devices
    ]
    models = {model.name: model for model in architectures}
    return [
        FitResult(fit, largest_sequences(models[fit.model], fit.dtype, fit.have_bytes, context=fit.context))
        for fit in fits
    ]


def architecture_summary(architecture: Architecture, contexts: Iterable[int]) -> "ArchitectureBytes":
    """Return what a run's summary stores of an architecture; the KV cache is of one sequence at each context."""
    from gptoss_bench.runs import ArchitectureBytes  # with pydantic, which the arithmetic does not need

    return ArchitectureBytes(
        parameters=sum(parameters_by_module(architecture).values()),
        weights_bytes={dtype: weights_bytes(architecture, dtype) for dtype in ELEMENT_BY_DTYPE},
        kv_bytes={str(context): kv_bytes(architecture, context) for context in contexts},
    )


def fits_by_device(fits: Iterable[Fit]) -> dict[str, dict[str, dict[str, bool]]]:
    """Return whether each fit fits, by device, model and dtype."""
    found: dict[str, dict[str, dict[str, bool]]] = {}
    for fit in fits:
        found.setdefault(fit.device, {}).setdefault(fit.model, {})[fit.dtype] = fit.fits
    return found
