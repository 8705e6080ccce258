"""Which attention backend takes sinks, in which version, on which GPU: the kit's attention_sinks.csv, asked by card."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, fields

from gptoss_client import UsageError

ANSWERS = ("yes", "no", "dropped", "with TRTLLM")


@dataclass(frozen=True, slots=True)
class Backend:
    """One row: what was read of a version. "dropped": it runs and leaves the sinks out, which changes the output."""

    stack: str
    version: str
    dated: str
    backend: str
    capability_from: tuple[int, int] | None  # None: no bound is known, or it runs on a CPU as well
    capability_below: tuple[int, int] | None
    sinks: str
    source: str
    note: str

    def runs_on(self, capability: tuple[int, int]) -> bool:
        """Whether the backend is for a GPU of that compute capability."""
        above = self.capability_from is None or capability >= self.capability_from
        return above and (self.capability_below is None or capability < self.capability_below)


def read_backends(text: str) -> tuple[Backend, ...]:
    """The rows of attention_sinks.csv. Raises UsageError for a row that is none."""
    return tuple(map(_backend, csv.DictReader(io.StringIO(text))))


def choices(backends: Sequence[Backend], stack: str, version: str, capability: tuple[int, int]) -> tuple[str, ...]:
    """The backends of one version that take sinks on that card; empty where none does."""
    return tuple(
        each.backend
        for each in backends
        if (each.stack, each.version, each.sinks) == (stack, version, "yes") and each.runs_on(capability)
    )


def capability(text: str) -> tuple[int, int]:
    """ "8.6" as (8, 6). Raises UsageError where it is no compute capability."""
    try:
        major, minor = map(int, text.split("."))
    except ValueError as error:
        raise UsageError(f"{text!r} is no compute capability; give one such as 8.6") from error
    return major, minor


def _backend(row: dict[str, str]) -> Backend:
    names = {field.name for field in fields(Backend)}
    if set(row) != names or None in row.values() or row["sinks"] not in ANSWERS:
        raise UsageError(f"attention_sinks.csv: the row of {row.get('backend')!r} is none; look at it")
    least, below = (capability(row[name]) if row[name] else None for name in ("capability_from", "capability_below"))
    texts = {name: row[name] for name in ("stack", "version", "dated", "backend", "sinks", "source", "note")}
    return Backend(capability_from=least, capability_below=below, **texts)
