"""Read any result from disk: the run of a run folder, or the results in a file of another tool."""

import gzip
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from pydantic import JsonValue

from gptoss_bench.importers import ImportedSummary, parse_results
from gptoss_bench.runs import RANDOM_LABEL, LoadSummary, Manifest, Run, no_gpt_oss_labels, number_at
from gptoss_bench.stats import ComparedResult, MeasuredRate, PrintedFigure
from gptoss_client import UsageError, one_line

GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class Result:
    """A result that can be checked and compared: its name, summary, request table and manifest.

    `notes` lists names to which another tool gives another meaning. `run` is
    the run of this kit, None for a result of another tool. `printed` has figures with the rounding of their text, and
    figures that no summary has; a name is that of `stats.find_contradictions`.
    """

    name: str
    summary: LoadSummary
    requests: pd.DataFrame
    manifest: Manifest
    notes: tuple[str, ...] = ()
    run: Run | None = None
    printed: Mapping[str, PrintedFigure] = field(default_factory=dict)

    @property
    def side(self) -> ComparedResult:
        """Return this result as one run of one side of a comparison."""
        return ComparedResult(self.summary, self.manifest.start_utc, self.rates)

    @property
    def rates(self) -> tuple[MeasuredRate, ...]:
        """Return the prefill and decode rates that the server or the tool measured apart, by test."""
        if isinstance(self.summary, ImportedSummary):
            kinds = {"prefill": self.summary.prefill, "decode": self.summary.decode}
            return tuple(
                MeasuredRate(kind, one.test, one.tok_s, one.n, one.interval)
                for kind, rates in kinds.items()
                for one in rates
                if one.tok_s is not None
            )
        decode = self.summary.server.tok_s if self.summary.server else None
        if decode is None or decode.p50 is None:
            return ()
        return (MeasuredRate("decode", "", decode.p50, decode.n, decode.interval),)

    @property
    def stand_in(self) -> bool:
        """Return whether a stand-in of gpt-oss answered: such a run claims no performance."""
        return any(label != RANDOM_LABEL for label in no_gpt_oss_labels(self.manifest.labels))

    def fact(self, name: str) -> JsonValue:
        """Return a fact that the engine reported, None if it is unknown."""
        return self.manifest.server.facts.get(name)

    def number(self, name: str) -> float | None:
        """Return a number that the engine reported, None if it is unknown."""
        return number_at(self.manifest.server.facts, name)

    @property
    def server_counts(self) -> dict[str, float]:
        """Return how far the server's counters rose during the run, empty without server metrics."""
        return self.summary.server_metrics.counts if self.summary.server_metrics else {}


def _numbered(path: Path) -> tuple[Path, int] | None:
    """Return file and number of a path such as "results.jsonl#2", None for any other path."""
    name, mark, number = path.name.rpartition("#")
    file = path.with_name(name) if name else path
    if path.exists() or not mark or not number.isdecimal() or len(number) > 6 or not file.is_file():
        return None
    return file, int(number)


def read_results(path: Path) -> list[Result]:
    """Read the result of a run folder, or all results of another tool's file; of "FILE#2" the second one.

    Raises UsageError if there is none.
    """
    if (numbered := _numbered(path)) is not None:
        file, number = numbered
        found = read_results(file)
        if not 1 <= number <= len(found):
            raise UsageError(f"{path.name}: {file.name} has {len(found)} results, #1 to #{len(found)}")
        return [found[number - 1]]
    if path.is_dir():
        run = Run.load(path)
        labels = ", ".join(run.manifest.labels)
        name = f"{run.run_id} ({labels})" if labels else run.run_id
        return [Result(name, run.load_summary, run.requests, run.manifest, run=run)]
    try:
        content = path.read_bytes()
        text = (gzip.decompress(content) if content.startswith(GZIP_MAGIC) else content).decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {one_line(str(path))}: {getattr(error, 'strerror', None) or error}") from error
    parsed = parse_results(text, path.name)
    names = [f"{path.name}#{at}" if len(parsed) > 1 else path.name for at in range(1, len(parsed) + 1)]
    return [
        Result(f"{name}: {one.title}", one.summary, one.requests, one.manifest, one.notes)
        for name, one in zip(names, parsed, strict=True)
    ]
