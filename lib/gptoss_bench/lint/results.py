"""A result from disk, of this kit or of another tool, and all that the rules find in it."""

import gzip
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from gptoss_bench.importers import parse_result
from gptoss_bench.lint.check import check_run
from gptoss_bench.runs import Finding, Run
from gptoss_bench.stats import GAPS, Side
from gptoss_client import UsageError

GZIPPED = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class Result:
    """What can be judged: a name to call it by, a summary as `summarise` makes it, requests, and how it was made."""

    name: str
    summary: Mapping[str, Any]
    requests: pd.DataFrame
    manifest: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    run: Run | None = None

    @property
    def side(self) -> Side:
        """As one side of a comparison; of a run its gaps are read, which may be many."""
        return Side(self.summary, self.requests) if self.run is None else side_of(self.run)


def side_of(run: Run) -> Side:
    """A run as one side of a comparison."""
    return Side(run.summary, run.requests, run.event_columns(GAPS))


@dataclass(frozen=True, slots=True)
class JudgedResult:
    """A result's name, summary and manifest, and what was found in it, the gravest first."""

    name: str
    summary: Mapping[str, Any]
    manifest: Mapping[str, Any]
    findings: list[Finding] = field(default_factory=list)


def read_results(path: Path) -> list[Result]:
    """The results at a path: the run of a folder, or those in the file of a tool. Raises UsageError in words."""
    if path.is_dir():
        run = Run.load(path)
        if "percentile_rule" not in run.summary:
            raise UsageError(f"{path} has no figures to judge: it is of {run.scenario}, {run.manifest['status']}")
        label = run.manifest.get("label")
        name = f"{run.run_id} ({label})" if label else run.run_id
        return [Result(name, run.summary, run.requests, run.manifest, run=run)]
    try:
        content = path.read_bytes()
        text = (gzip.decompress(content) if content.startswith(GZIPPED) else content).decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    found = parse_result(text, path.name)
    return [Result(f"{path.name}: {one.title}", one.summary, one.requests, one.manifest, one.notes) for one in found]


def judge_result(result: Result) -> JudgedResult:
    """Hold it against every rule; what a tool means by its names is noted."""
    findings = check_run(result.summary, result.requests, result.manifest)
    advice = "compare it under these names only"
    findings += [Finding("names-differ", "note", note, advice) for note in result.notes]
    return JudgedResult(result.name, result.summary, result.manifest, findings)
