"""A run folder: appended to while the run goes on, finished atomically, read back whole or broken.

A folder whose manifest still says "running" was interrupted; what its spool lists can be read all the same.
"""

import json
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pandas as pd

from gptoss_bench.files import replacing, write_json
from gptoss_bench.runs import schema_1
from gptoss_bench.runs.derived_tables import (
    read_event_columns,
    read_requests,
    read_table,
    read_tables,
    remove_tables,
    write_tables,
)
from gptoss_bench.runs.manifest import code_version, installed_gpus, machine_facts, package_versions
from gptoss_bench.runs.spool import Spool, from_parquet, read_spool, to_parquet
from gptoss_client import WALL_CLOCK, Endpoint, Trace, UsageError

SCHEMA_VERSION = 2


class RunFolder:
    """The writing side of a run. Use as a context manager: leaving it unfinished marks the run incomplete."""

    def __init__(self, path: Path, manifest: dict[str, Any]) -> None:
        """Open the spool of a folder that exists; `create` is the way in."""
        self.path = path
        self.run_id: str = manifest["run_id"]
        self.manifest = manifest
        self._spool = Spool(path)
        self._derived = False  # whether the tables on disk are those of all that was added
        self._finished = False
        write_json(path / "manifest.json", manifest)

    @classmethod
    def create(
        cls,
        results: Path,
        scenario: str,
        *,
        parameters: dict[str, Any],
        run_id: str | None = None,
        command: str | None = None,
    ) -> Self:
        """Make `results`/runs/`run_id` (a new id by default) and write its first manifest.

        Raises UsageError where the folder cannot be written or already holds a run.
        """
        run_id = run_id or new_run_id(scenario)
        path = results / "runs" / run_id
        if (path / "manifest.json").exists():
            raise UsageError(f"run {run_id} is there already: a run is never overwritten, leave run_id empty")
        manifest = {
            "schema_version": SCHEMA_VERSION,
            "run_id": run_id,
            "scenario": scenario,
            "status": "running",
            "reason": None,
            "label": None,
            "command": command,
            "parameters": parameters,
            "code": code_version(),
            "machine": machine_facts(),
            "gpus": installed_gpus(),
            "endpoint": None,
            "clock": {"source": "CLOCK_MONOTONIC", "unit": "ns", "start_ns": time.perf_counter_ns()},
            "start_utc": _utc_now(),
            "end_utc": None,
            "packages": package_versions(),
        }
        with _disk_errors_in_words(path):
            path.mkdir(parents=True, exist_ok=True)
            return cls(path, manifest)

    def set_endpoint(self, endpoint: Endpoint) -> None:
        """Say which server this run measures; its label becomes the run's."""
        self.manifest |= {"label": endpoint.label, "endpoint": asdict(endpoint)}
        self.write_document("manifest", self.manifest)

    def add(self, trace: Trace) -> None:
        """Append one finished request. Raises UsageError where the disk refuses; what it took stays readable."""
        with _disk_errors_in_words(self.path):
            if self._derived:
                remove_tables(self.path)
                self._derived = False
            self._spool.add(trace)

    @contextmanager
    def counting_clock_steps(self) -> Iterator[None]:
        """Add to the manifest how often the wall clock was set within the block, however the block ends."""
        before, clock = WALL_CLOCK.steps, self.manifest["clock"]
        try:
            yield
        finally:
            clock["steps"] = clock.get("steps", 0) + WALL_CLOCK.steps - before

    def write_table(self, name: str, frame: pd.DataFrame) -> None:
        """Write one more table of this run as `name`.parquet."""
        with _disk_errors_in_words(self.path), replacing(self.path / f"{name}.parquet") as part:
            frame.to_parquet(part, index=False, compression="zstd")

    def write_document(self, name: str, content: Any) -> None:
        """Write one more JSON document of this run as `name`.json."""
        with _disk_errors_in_words(self.path):
            write_json(self.path / f"{name}.json", content)

    def tables(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The request table and the event table of what was added so far (`derived.read_tables`), decoded once."""
        with _disk_errors_in_words(self.path):
            self._derive()
            return read_tables(self.path)

    def requests(self) -> pd.DataFrame:
        """The request table alone."""
        with _disk_errors_in_words(self.path):
            self._derive()
            return read_requests(self.path)

    def event_columns(self, names: Sequence[str]) -> pd.DataFrame:
        """Some columns of the event table, which may be large."""
        with _disk_errors_in_words(self.path):
            self._derive()
            return read_event_columns(self.path, names)

    def _derive(self) -> None:
        if not self._derived:
            write_tables(read_spool(self.path), self.path)
            self._derived = True

    def finish(self, summary: dict[str, Any], status: str = "complete", reason: str | None = None) -> "Run":
        """Derive the tables, write everything, the manifest last, and return the run as it reads from disk.

        `reason` says in words why a run is not complete.

        Raises UsageError where the disk refuses; the spool then stays, and the run can still be loaded.
        """
        with _disk_errors_in_words(self.path):
            self._spool.close()
            if next(read_spool(self.path), None):
                with replacing(self.path / "raw.parquet") as part:
                    to_parquet(read_spool(self.path), part)
            self._derive()
            write_json(self.path / "summary.json", summary)
            self.manifest |= {"status": status, "reason": reason, "end_utc": _utc_now()}
            write_json(self.path / "manifest.json", self.manifest)
            self._spool.remove()
        self._finished = True
        return Run.load(self.path)

    def abandon(self, reason: str) -> None:
        """End an unfinished run as incomplete. Its spool stays readable even where the disk refuses this."""
        if not self._finished:
            with suppress(UsageError):
                self.finish({}, "incomplete", reason)

    def __enter__(self) -> Self:
        """Start writing."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Mark the run incomplete if it was not finished."""
        self.abandon(repr(error) if error else "left before it was finished")


class Run:
    """The reading side: one run on disk, its tables as pandas frames with the columns of METRICS.md."""

    def __init__(self, path: Path, manifest: dict[str, Any], summary: dict[str, Any]) -> None:
        """Hold what `load` read; the tables are read when they are asked for."""
        self.path = path
        self.manifest = manifest
        self.summary = summary

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read a run folder. Raises UsageError where it is none, or is of a newer schema."""
        path = Path(path)
        try:
            manifest = json.loads((path / "manifest.json").read_bytes())
            summary_file = path / "summary.json"
            summary = json.loads(summary_file.read_bytes()) if summary_file.exists() else {}
            if not isinstance(manifest, dict):
                raise ValueError("its manifest is no JSON object")
        except (OSError, ValueError) as error:
            raise UsageError(f"{path} is not a readable run folder: {error}") from error
        if manifest.get("schema_version", 0) > SCHEMA_VERSION:
            raise UsageError(
                f"{path} was written by a newer kit (schema {manifest['schema_version']}): update this one"
            )
        if manifest.get("schema_version", 0) < SCHEMA_VERSION:
            manifest, summary = schema_1.manifest(manifest), schema_1.summary(summary)
        if manifest["status"] == "running":
            manifest["status"] = "incomplete"
        return cls(path, manifest, summary)

    @property
    def run_id(self) -> str:
        """The name of the run, which is the name of its folder."""
        return str(self.manifest["run_id"])

    @property
    def scenario(self) -> str:
        """Which scenario was run."""
        return str(self.manifest["scenario"])

    @cached_property
    def events(self) -> pd.DataFrame:
        """One row an event of a response stream."""
        return read_table(self.path, "events", self.traces())

    def event_columns(self, names: Sequence[str]) -> pd.DataFrame:
        """Some columns of the event table, which may be large."""
        kept = schema_1.table_file(self.path, "events").exists()
        return read_event_columns(self.path, names) if kept else self.events[list(names)]

    @cached_property
    def requests(self) -> pd.DataFrame:
        """One row a planned request."""
        return read_table(self.path, "requests", self.traces())

    def table(self, name: str) -> pd.DataFrame:
        """One of the run's other tables. Raises UsageError where the run has none of that name."""
        file = self.path / f"{name}.parquet"
        if not file.exists():
            raise UsageError(f"run {self.run_id} has no table {name!r}")
        return schema_1.table(pd.read_parquet(file))

    def traces(self) -> Iterator[Trace]:
        """What went over the wire, request by request, in the order in which the requests ended."""
        whole = self.path / "raw.parquet"
        return from_parquet(whole) if whole.exists() else read_spool(self.path)


def new_run_id(scenario: str) -> str:
    """<utc>-<scenario>-<id>: sorts by time, and two started in the same second differ."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{scenario}-{secrets.token_hex(3)}"


@contextmanager
def _disk_errors_in_words(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        words = f"cannot write to {path}: {reason}; free space or name another folder (what is there is kept)"
        raise UsageError(words) from error


def _utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
