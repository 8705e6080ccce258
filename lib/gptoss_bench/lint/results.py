"""Read any result from disk: the run of a run folder, or the results in a file of another tool."""

import gzip
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from gptoss_bench.importers import parse_results
from gptoss_bench.runs import Run
from gptoss_bench.stats import GAP_COLUMNS, ComparedResult
from gptoss_client import UsageError

GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class Result:
    """A result that can be checked and compared: its name, summary, request table and manifest.

    The summary has the keys of `summarise`. `notes` lists names to which another tool gives another meaning. `run` is
    the run of this kit, None for a result of another tool.
    """

    name: str
    summary: Mapping[str, Any]
    requests: pd.DataFrame
    manifest: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    run: Run | None = None

    @property
    def side(self) -> ComparedResult:
        """Return this result as one side of a comparison; for a run, the gaps between its events are read."""
        return ComparedResult(self.summary, self.requests) if self.run is None else comparison_side(self.run)

    def manifest_part(self, name: str) -> Mapping[str, Any]:
        """Return a part of the manifest, empty if it is unknown."""
        return self.manifest.get(name) or {}

    @property
    def engine_facts(self) -> Mapping[str, Any]:
        """Return the facts of the engine in the manifest, empty if there are none."""
        return self.manifest_part("endpoint").get("facts") or {}

    @property
    def server_counts(self) -> Mapping[str, Any]:
        """Return how far the server's counters rose during the run, empty without server metrics."""
        metrics: Mapping[str, Any] = self.summary.get("server_metrics") or {}
        return metrics.get("counts") or {}


def comparison_side(run: Run) -> ComparedResult:
    """Return a run as one side of a comparison."""
    return ComparedResult(run.summary, run.requests, run.event_columns(GAP_COLUMNS))


def read_results(path: Path) -> list[Result]:
    """Read the result of a run folder, or all results of another tool's file. Raises UsageError if there is none."""
    if path.is_dir():
        run = Run.load(path)
        if "percentile_rule" not in run.summary:
            raise UsageError(
                f"{path} has no figures to check: scenario {run.scenario}, {run.manifest['status']}; name another run"
            )
        label = run.manifest.get("label")
        name = f"{run.run_id} ({label})" if label else run.run_id
        return [Result(name, run.summary, run.requests, run.manifest, run=run)]
    try:
        content = path.read_bytes()
        text = (gzip.decompress(content) if content.startswith(GZIP_MAGIC) else content).decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    return [
        Result(f"{path.name}: {found.title}", found.summary, found.requests, found.manifest, found.notes)
        for found in parse_results(text, path.name)
    ]
