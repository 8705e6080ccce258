"""TODO docstring."""
# MERGED: A GPU as somebody would write it, or an amount of memory, to what it has: "A10", "h100 nvl", "22.49GiB".

import csv
import difflib
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass

from gptoss_client import UsageError


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


def read_gpus(text: str) -> dict[str, Gpu]:
    """The kit's gpus.csv by name, in its order. Raises UsageError for a row that is not a card."""
    return {gpu.name: gpu for gpu in map(_gpu, csv.DictReader(io.StringIO(text)))}


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


UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
AMOUNT = re.compile(r"([0-9]+(?:\.[0-9]+)?) *([KMGT]?I?B)", re.IGNORECASE)
MOST_BYTES = 2**60


@dataclass(frozen=True, slots=True)
class Budget:
    """How much memory there is, and whose. `others` are cards that the same words fit as well."""

    name: str
    bytes: int
    gpu: Gpu | None = None
    others: tuple[str, ...] = ()


def parse_budget(text: str, gpus: Mapping[str, Gpu]) -> Budget:
    """An amount such as "22.49GiB", or a card of `gpus`, named loosely. Raises UsageError where it is neither.

    A card fits where each word of `text` is a word of its name or one of its Azure sizes; of several the first in
    the table is taken, so that "A10" is the bare card and not a fraction of it.
    """
    if amount := AMOUNT.fullmatch(text.strip()):
        number, unit = amount.groups()
        size = int(float(number) * UNITS[unit.upper()])
        if not 0 < size <= MOST_BYTES:
            raise UsageError(f"{text} is no amount of memory that a device has; give one above zero, such as 22.49GiB")
        return Budget(text.strip(), size)
    fitting = next(filter(None, (_fitting(words, gpus) for words in _readings(text))), [])
    if not fitting:
        raise UsageError(f"no card is known as {text!r}{_nearest(text, gpus)}; or give an amount such as 22.49GiB")
    first, *others = fitting
    return Budget(first.name, first.memory_bytes, first, tuple(gpu.name for gpu in others))


def short_name(gpu: Gpu) -> str:
    """A card's name as a figure has room for it."""
    return gpu.name.removeprefix("NVIDIA ").partition(" (")[0]


def _fitting(wanted: frozenset[str], gpus: Mapping[str, Gpu]) -> list[Gpu]:
    return [gpu for gpu in gpus.values() if wanted and wanted <= _words(f"{gpu.name} {gpu.azure_sizes}")]


def _readings(text: str) -> list[frozenset[str]]:
    """The words as written, then cut at hyphens (H100-NVL), then between letters and digits as well (RTX4090)."""
    written = text.lower().split()
    cut = [part for word in written for part in re.split(r"[-/]", word)]
    pieces = [part for word in cut for part in re.findall(r"[a-z_]+|[0-9]+", word)]
    return [frozenset(words) - {""} for words in (written, cut, pieces)]


def _words(text: str) -> frozenset[str]:
    """Words in small letters; "A10-24Q" gives itself and its parts, so that A10 finds it."""
    whole = re.findall(r"[a-z0-9_/-]+", text.lower())
    return frozenset(whole) | frozenset(part for word in whole for part in re.split(r"[-/]", word) if part)


def _nearest(text: str, gpus: Mapping[str, Gpu]) -> str:
    said = {word: gpu.name for gpu in reversed(list(gpus.values())) for word in (gpu.name.lower(), *_words(gpu.name))}
    close = difflib.get_close_matches(text.lower(), said, n=1, cutoff=0.6)
    close = close or difflib.get_close_matches(text.lower().rpartition(" ")[2], said, n=1, cutoff=0.6)
    return f", did you mean {said[close[0]]!r}?" if close else f"; there are {', '.join(gpus)}"
