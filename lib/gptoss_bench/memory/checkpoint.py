"""Read the headers of a safetensors checkpoint: names, shapes and dtypes, without the weights."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

from safetensors import SafetensorError, safe_open

from gptoss_bench.memory.architecture import Architecture
from gptoss_client import UsageError


@dataclass(frozen=True, slots=True)
class TensorHeader:
    """One tensor of a safetensors file."""

    dtype: str  # as in the header: "BF16", "U8", "F8_E4M3"
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Return the size of the tensor; the first number in the name of a dtype is its bits."""
        bits = re.search(r"\d+", self.dtype)
        return prod(self.shape) * (int(bits[0]) if bits else 8) // 8  # BOOL takes a byte


@dataclass(frozen=True, slots=True)
class CheckpointTotals:
    """Sums over a checkpoint's headers. A packed MXFP4 byte counts as two parameters, a scale as none."""

    files: int
    tensors: int
    parameters: int
    bytes: int
    bytes_by_dtype: Mapping[str, int]


def read_headers(folder: Path) -> dict[str, TensorHeader]:
    """Return the header of each tensor in a folder's .safetensors files, by name; empty if there are none.

    Raises UsageError for a file that cannot be read, is not safetensors or is truncated, and for a repeated tensor.
    """
    headers: dict[str, TensorHeader] = {}
    for file in sorted(folder.glob("*.safetensors")):
        for name, header in _file_headers(file).items():
            if name in headers:
                raise UsageError(f"{file.name}: {name} is also in another file of {folder.name}; keep one set of files")
            headers[name] = header
    return headers


def checkpoint_totals(folder: Path) -> CheckpointTotals | None:
    """Return the sums over a folder's files; None without safetensors. Raises UsageError as `read_headers` does."""
    headers = read_headers(folder)
    if not headers:
        return None
    sizes: Counter[str] = Counter()
    parameters = 0
    for name, header in headers.items():
        sizes[header.dtype] += header.bytes
        packed = {"_blocks": 2, "_scales": 0}.get(name[-7:], 1) if header.dtype == "U8" else 1
        parameters += packed * prod(header.shape)
    files = len(list(folder.glob("*.safetensors")))
    return CheckpointTotals(files, len(headers), parameters, sizes.total(), dict(sizes))


def describe_header_mismatch(totals: CheckpointTotals, architecture: Architecture) -> str | None:
    """Return how the headers differ from the config, as text; None if the counts are equal."""
    implied = sum(each.parameters for each in architecture.allocations("bf16"))
    if totals.parameters == implied:
        return None
    return f"the headers hold {totals.parameters:,} parameters and the config implies {implied:,}"


def _file_headers(file: Path) -> dict[str, TensorHeader]:
    try:
        with safe_open(file, framework="numpy") as content:  # it maps the file and reads no weights
            slices = {name: content.get_slice(name) for name in content.keys()}  # noqa: SIM118
            return {name: TensorHeader(each.get_dtype(), tuple(each.get_shape())) for name, each in slices.items()}
    except SafetensorError as error:
        reason = str(error).removeprefix("Error while deserializing header: ")
        raise UsageError(f"{file.name} is broken or incomplete ({reason}); download it again") from error
    except OSError as error:
        raise UsageError(f"cannot read {file} ({error}); check the folder") from error
