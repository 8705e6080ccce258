"""From an architecture to bytes: its weights by dtype, its KV cache by context; and the cards to hold them against.

Exact arithmetic on whole bytes, nothing is measured here. GB is 10^9 bytes, GiB is 2^30.
"""

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import TypeVar

from gptoss_bench.architecture import FULL, Allocation, Architecture
from gptoss_bench.errors import UsageError

GIB = 2**30
KV_ITEM_BYTES = 2  # a cached key or value is BF16 or F16

Named = TypeVar("Named")


@dataclass(frozen=True, slots=True)
class Gpu:
    """A card as it is sold, and the total that nvidia-smi was seen to print for it, where one was seen."""

    name: str
    memory_nominal_gb: int
    total_mib: int | None
    bandwidth_gb_s: float | None
    compute_capability: str
    azure_sizes: str
    source: str

    @property
    def memory_bytes(self) -> int:
        """The seen total, else the nominal GB taken as 10^9 bytes, which is less than cards turn out to have."""
        return self.memory_nominal_gb * 10**9 if self.total_mib is None else self.total_mib * 2**20


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


def read_architectures(text: str) -> dict[str, Architecture]:
    """The kit's architectures.json: {name: {"config": a config.json, ...}}. Raises UsageError for a bad config."""
    try:
        configs = {name: entry["config"] for name, entry in json.loads(text).items()}
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise UsageError(f"this is not an architectures.json ({error}); give {{name: {{config: ...}}}}") from error
    return {name: Architecture.from_config(name, config) for name, config in configs.items()}


def read_gpus(text: str) -> dict[str, Gpu]:
    """The kit's gpus.csv by name, in its order. Raises UsageError for a row that is not a card."""
    return {gpu.name: gpu for gpu in map(_gpu, csv.DictReader(io.StringIO(text)))}


def named(catalogue: Mapping[str, Named], name: str) -> Named:
    """The entry of that name. Raises UsageError listing the names that there are."""
    if name not in catalogue:
        raise UsageError(f"{name!r} is not known here; choose one of: {', '.join(catalogue)}")
    return catalogue[name]


def _gpu(row: Mapping[str, str]) -> Gpu:
    try:
        return Gpu(
            name=row["name"],
            memory_nominal_gb=int(row["memory_nominal_gb"]),
            total_mib=int(row["total_mib"]) if row["total_mib"] else None,
            bandwidth_gb_s=float(row["bandwidth_gb_s"]) if row["bandwidth_gb_s"] else None,
            compute_capability=row["compute_capability"],
            azure_sizes=row["azure_sizes"],
            source=row["source"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"gpus.csv: the row of {row.get('name')!r} is not a card ({error}); look at it") from error
