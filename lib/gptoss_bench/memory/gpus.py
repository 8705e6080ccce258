"""Read the GPU catalogue, and parse a GPU name or an amount of memory ("A10", "h100 nvl", "22.49GiB")."""

import csv
import difflib
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from gptoss_bench import paths
from gptoss_bench.memory.catalogue import Catalogue
from gptoss_client import UsageError

UNIT_BYTES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
UNIT_BYTES |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
MEMORY_AMOUNT = re.compile(r"([0-9]+(?:\.[0-9]+)?) *([KMGT]?I?B)", re.IGNORECASE)
LARGEST_BUDGET_BYTES = 2**60


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU as it is sold."""

    name: str
    memory_nominal_gb: int
    total_mib: int | None  # as printed by nvidia-smi; None: unknown
    cuda_mib: int | None  # what CUDA programs see of it, as they print it; it differs slightly by driver
    bandwidth_gb_s: float | None
    compute_capability: str
    azure_sizes: str
    source: str

    @property
    def memory_bytes(self) -> int:
        """Return the total by nvidia-smi, else what CUDA programs see, else the nominal GB as 10^9 bytes."""
        total_mib = self.total_mib or self.cuda_mib
        return self.memory_nominal_gb * 10**9 if total_mib is None else total_mib * 2**20

    @property
    def cuda_bytes(self) -> int:
        """Return what CUDA programs see, else `memory_bytes`."""
        return self.memory_bytes if self.cuda_mib is None else self.cuda_mib * 2**20


@cache
def gpu_catalogue() -> Catalogue[Gpu]:
    """Return the GPUs of the kit's gpus.csv by name, in the order of the file."""
    return read_gpus(paths.GPUS.read_text(encoding="utf-8"))


def read_gpus(text: str) -> Catalogue[Gpu]:
    """Parse a table with the columns of gpus.csv. Raises UsageError for an invalid row."""
    return Catalogue({gpu.name: gpu for gpu in map(_gpu, csv.DictReader(io.StringIO(text)))})


def _gpu(row: Mapping[str, str]) -> Gpu:
    try:
        return Gpu(
            name=row["name"],
            memory_nominal_gb=int(row["memory_nominal_gb"]),
            total_mib=int(row["total_mib"]) if row["total_mib"] else None,
            cuda_mib=int(row["cuda_mib"]) if row["cuda_mib"] else None,
            bandwidth_gb_s=float(row["bandwidth_gb_s"]) if row["bandwidth_gb_s"] else None,
            compute_capability=row["compute_capability"],
            azure_sizes=row["azure_sizes"],
            source=row["source"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"gpus.csv: the row of {row.get('name')!r} is invalid ({error}); correct it") from error


@dataclass(frozen=True, slots=True)
class Budget:
    """An amount of memory, and the GPU that it belongs to, if any."""

    name: str
    bytes: int
    gpu: Gpu | None = None
    others: tuple[str, ...] = ()  # further GPUs that match the same text

    @property
    def cuda_bytes(self) -> int:
        """Return what CUDA programs see of the GPU; of an amount, all of it."""
        return self.gpu.cuda_bytes if self.gpu else self.bytes


def parse_budget(text: str) -> Budget:
    """Parse an amount such as "22.49GiB", or a loosely written GPU name. Raises UsageError if it is neither.

    A GPU matches if each word of `text` is a word of its name or one of its Azure sizes. The first match in the
    catalogue is taken, so that "A10" is the whole GPU and not a fraction of it.
    """
    if amount := MEMORY_AMOUNT.fullmatch(text.strip()):
        number, unit = amount.groups()
        size = int(float(number) * UNIT_BYTES[unit.upper()])
        if not 0 < size <= LARGEST_BUDGET_BYTES:
            raise UsageError(f"{text} is not a possible amount of memory; pass one above zero, such as 22.49GiB")
        return Budget(text.strip(), size)
    exact = gpu_catalogue().get(text.strip())
    matches = [exact] if exact else next(filter(None, map(_matching_gpus, _tokenisations(text))), [])
    if not matches:
        raise UsageError(f"unknown GPU {text!r}{_suggestion(text)} An amount such as 22.49GiB is read too")
    first, *others = matches
    return Budget(first.name, first.memory_bytes, first, tuple(gpu.name for gpu in others))


def _matching_gpus(wanted: frozenset[str]) -> list[Gpu]:
    gpus = gpu_catalogue().values()
    return [gpu for gpu in gpus if wanted and wanted <= _name_words(f"{gpu.name} {gpu.azure_sizes}")]


def _tokenisations(text: str) -> list[frozenset[str]]:
    """Return the words as written, then split at hyphens (H100-NVL), then also between letters and digits (RTX4090)."""
    written = text.lower().split()
    cut = [part for word in written for part in re.split(r"[-/]", word)]
    pieces = [part for word in cut for part in re.findall(r"[a-z_]+|[0-9]+", word)]
    return [frozenset(words) - {""} for words in (written, cut, pieces)]


def _name_words(text: str) -> frozenset[str]:
    """Return the words in lower case; "A10-24Q" gives itself and its parts, so that A10 matches it."""
    whole = re.findall(r"[a-z0-9_/-]+", text.lower())
    return frozenset(whole) | frozenset(part for word in whole for part in re.split(r"[-/]", word) if part)


def _suggestion(text: str) -> str:
    names = list(gpu_catalogue())
    name_of = {word: name for name in reversed(names) for word in (name.lower(), *_name_words(name))}
    close = difflib.get_close_matches(text.lower(), name_of, n=1, cutoff=0.6)
    close = close or difflib.get_close_matches(text.lower().rpartition(" ")[2], name_of, n=1, cutoff=0.6)
    return f": did you mean {name_of[close[0]]!r}?" if close else f"; known GPUs: {', '.join(names)}."
