"""Read the headers of a safetensors checkpoint: names, shapes and dtypes, without the weights."""

import json
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from gptoss_bench.memory.architecture import Architecture
from gptoss_client import UsageError

MAX_HEADER_BYTES = 100 * 10**6  # the limit of safetensors itself


@dataclass(frozen=True, slots=True)
class CheckpointTotals:
    """Sums over a checkpoint's headers. A packed MXFP4 byte counts as two parameters, a scale as none."""

    files: int
    tensors: int
    parameters: int
    bytes: int
    bytes_by_dtype: Mapping[str, int]


def read_headers(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the header entry of each tensor in a folder's .safetensors files, by name; empty if there are none.

    Raises UsageError for a file that is not safetensors, is truncated, or repeats a tensor.
    """
    entries: dict[str, dict[str, Any]] = {}
    for file in sorted(folder.glob("*.safetensors")):
        for name, entry in _header(file).items():
            if name in entries:
                raise UsageError(f"{file.name}: {name} is also in another file of {folder.name}; keep one set of files")
            entries[name] = entry
    return entries


def checkpoint_totals(folder: Path) -> CheckpointTotals | None:
    """Return the sums over a folder's files; None without safetensors. Raises UsageError as `read_headers` does."""
    entries = read_headers(folder)
    if not entries:
        return None
    sizes: Counter[str] = Counter()
    parameters = 0
    for name, entry in entries.items():
        begin, end = entry["data_offsets"]
        sizes[entry["dtype"]] += end - begin
        packed = {"_blocks": 2, "_scales": 0}.get(name[-7:], 1) if entry["dtype"] == "U8" else 1
        parameters += packed * prod(entry["shape"])
    files = len(list(folder.glob("*.safetensors")))
    return CheckpointTotals(files, len(entries), parameters, sizes.total(), dict(sizes))


def describe_header_mismatch(totals: CheckpointTotals, architecture: Architecture) -> str | None:
    """Return how the headers differ from the config, as text; None if the counts are equal."""
    implied = sum(each.parameters for each in architecture.allocations("bf16"))
    if totals.parameters == implied:
        return None
    return f"the headers hold {totals.parameters:,} parameters and the config implies {implied:,}"


def _header(file: Path) -> dict[str, dict[str, Any]]:
    try:
        with file.open("rb") as content:
            (length,) = struct.unpack("<Q", content.read(8))
            if length > MAX_HEADER_BYTES:
                raise ValueError(f"its header has {length} bytes")
            header = json.loads(content.read(length))
            header.pop("__metadata__", None)
            for entry in header.values():
                begin, end = entry["data_offsets"]
                if not (isinstance(entry["dtype"], str) and all(type(n) is int for n in (begin, end, *entry["shape"]))):
                    raise ValueError("an entry has no shape, dtype or offsets")
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}; check the folder") from error
    except (ValueError, TypeError, AttributeError, KeyError, struct.error) as error:
        raise UsageError(f"{file.name} has no valid safetensors header ({error}); download it again") from error
    if file.stat().st_size < 8 + length + max((entry["data_offsets"][1] for entry in header.values()), default=0):
        raise UsageError(f"{file.name} is shorter than its header states; download it again")
    return dict(header)
