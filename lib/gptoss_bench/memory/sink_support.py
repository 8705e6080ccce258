"""Read which attention backend supports sinks, in which version and on which GPU, from attention_sinks.csv."""

import csv
import io
from dataclasses import dataclass, fields

from gptoss_bench import paths
from gptoss_client import UsageError

ANSWERS = ("yes", "no", "dropped", "with TRTLLM", "on request")


@dataclass(frozen=True, slots=True)
class SinkBackend:
    """One backend of one version.

    `sinks` "dropped": it runs without the sinks, which changes the output; "on request": it has to be chosen by hand.
    """

    stack: str
    version: str
    dated: str
    backend: str
    capability_from: tuple[int, int] | None  # None: unknown bound, or it also runs on a CPU
    capability_below: tuple[int, int] | None
    sinks: str
    source: str
    read: str  # the day
    note: str

    @property
    def capabilities(self) -> str:
        """Return the compute capabilities of the backend, such as "capability 9.0 to below 10.0"."""
        ends = [".".join(map(str, end)) if end else "" for end in (self.capability_from, self.capability_below)]
        return " ".join(filter(None, ("capability", ends[0] or "any", f"to below {ends[1]}" if ends[1] else "")))

    def runs_on(self, capability: tuple[int, int]) -> bool:
        """Return whether the backend supports a GPU of that compute capability."""
        above = self.capability_from is None or capability >= self.capability_from
        return above and (self.capability_below is None or capability < self.capability_below)


def sink_backends() -> tuple[SinkBackend, ...]:
    """Return the rows of the kit's attention_sinks.csv."""
    return read_sink_backends(paths.ATTENTION_SINKS.read_text(encoding="utf-8"))


def read_sink_backends(text: str) -> tuple[SinkBackend, ...]:
    """Parse a table with the columns of attention_sinks.csv. Raises UsageError for an invalid row."""
    return tuple(map(_backend, csv.DictReader(io.StringIO(text))))


def parse_compute_capability(text: str) -> tuple[int, int]:
    """Parse "8.6" to (8, 6). Raises UsageError for another format."""
    try:
        major, minor = map(int, text.split("."))
    except ValueError as error:
        raise UsageError(f"{text!r} is not a compute capability; pass one such as 8.6") from error
    return major, minor


def _backend(row: dict[str, str]) -> SinkBackend:
    names = {field.name for field in fields(SinkBackend)}
    if set(row) != names or None in row.values() or row["sinks"] not in ANSWERS:
        raise UsageError(f"attention_sinks.csv: the row of {row.get('backend')!r} is invalid; correct it")
    least, below = (
        parse_compute_capability(row[name]) if row[name] else None for name in ("capability_from", "capability_below")
    )
    texts = {name: row[name] for name in ("stack", "version", "dated", "backend", "sinks", "source", "read", "note")}
    return SinkBackend(capability_from=least, capability_below=below, **texts)
