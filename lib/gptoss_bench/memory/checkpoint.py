"""What a safetensors checkpoint says of itself: names, shapes and dtypes from the headers, no weights are read."""

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

MOST_HEADER_BYTES = 100 * 10**6  # safetensors' own limit


@dataclass(frozen=True, slots=True)
class Totals:
    """The sums over a checkpoint's headers. A packed MXFP4 byte counts as two parameters, a scale as none."""

    files: int
    tensors: int
    parameters: int
    bytes: int
    bytes_by_dtype: Mapping[str, int]


def read_headers(folder: Path) -> dict[str, dict[str, Any]]:
    """Each tensor's header entry of every .safetensors file in a folder, by name; empty where there is no such file.

    Raises UsageError for a file that is not safetensors, is cut short, or repeats a tensor.
    """
    entries: dict[str, dict[str, Any]] = {}
    for file in sorted(folder.glob("*.safetensors")):
        for name, entry in _header(file).items():
            if name in entries:
                raise UsageError(
                    f"{file.name}: {name} is in another file of {folder.name} as well; keep one set of them"
                )
            entries[name] = entry
    return entries


def totals(folder: Path) -> Totals | None:
    """The sums over all files of a folder, None where it holds no safetensors. Raises UsageError as read_headers."""
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
    return Totals(files, len(entries), parameters, sizes.total(), dict(sizes))


def disagreement(found: Totals, architecture: Architecture) -> str | None:
    """How the headers differ from what the config implies, in words; None where the counts are the same."""
    implied = sum(each.parameters for each in architecture.allocations("bf16"))
    if found.parameters == implied:
        return None
    return f"the headers hold {found.parameters:,} parameters and the config implies {implied:,}"


def _header(file: Path) -> dict[str, dict[str, Any]]:
    try:
        with file.open("rb") as content:
            (length,) = struct.unpack("<Q", content.read(8))
            if length > MOST_HEADER_BYTES:
                raise ValueError(f"a header of {length} bytes")
            header = json.loads(content.read(length))
            header.pop("__metadata__", None)
            for entry in header.values():
                begin, end = entry["data_offsets"]
                if not (isinstance(entry["dtype"], str) and all(type(n) is int for n in (begin, end, *entry["shape"]))):
                    raise ValueError("an entry without shape, dtype or offsets")
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}; look at the folder") from error
    except (ValueError, TypeError, AttributeError, KeyError, struct.error) as error:
        raise UsageError(f"{file.name} has no safetensors header ({error}); fetch it again") from error
    if file.stat().st_size < 8 + length + max((entry["data_offsets"][1] for entry in header.values()), default=0):
        raise UsageError(f"{file.name} is shorter than its header says; fetch it again")
    return dict(header)
