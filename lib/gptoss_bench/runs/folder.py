"""Write a run folder while the run goes on, finish it atomically, and read it back, complete or not.

A folder whose manifest still says "running" was interrupted; what its spool lists can be read all the same.
"""

import json
import secrets
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
from gptoss_bench.runs.manifest import SCHEMA_VERSION, new_manifest, utc_now
from gptoss_bench.runs.spool import Spool, from_parquet, read_spool, to_parquet
from gptoss_client import WALL_CLOCK, Endpoint, Trace, UsageError


class RunFolder:
    """Write one run. Used as a context manager, it marks an unfinished run as incomplete on exit."""

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
        manifest = new_manifest(run_id, scenario, parameters, command)
        with _disk_errors_in_words(path):
            path.mkdir(parents=True, exist_ok=True)
            return cls(path, manifest)

    def set_endpoint(self, endpoint: Endpoint) -> None:
        """Record the measured server; its label becomes the label of the run."""
        self.manifest |= {"label": endpoint.label, "endpoint": asdict(endpoint)}
        self.write_document("manifest", self.manifest)

    def add(self, trace: Trace) -> None:
        """Append one finished request. Raises UsageError if the disk refuses; earlier requests stay readable."""
        with _disk_errors_in_words(self.path):
            if self._derived:
                remove_tables(self.path)
                self._derived = False
            self._spool.add(trace)

    @contextmanager
    def counting_clock_steps(self) -> Iterator[None]:
        """Count in the manifest how often the wall clock was set within the block, however the block ends."""
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
        """Return the request table and the event table of the requests added so far, decoded once."""
        with _disk_errors_in_words(self.path):
            self._derive()
            return read_tables(self.path)

    def requests(self) -> pd.DataFrame:
        """Return the request table."""
        with _disk_errors_in_words(self.path):
            self._derive()
            return read_requests(self.path)

    def event_columns(self, names: Sequence[str]) -> pd.DataFrame:
        """Return some columns of the event table, which may be large."""
        with _disk_errors_in_words(self.path):
            self._derive()
            return read_event_columns(self.path, names)

    def _derive(self) -> None:
        if not self._derived:
            write_tables(read_spool(self.path), self.path)
            self._derived = True

    def finish(self, summary: dict[str, Any], status: str = "complete", reason: str | None = None) -> "Run":
        """Derive the tables, write everything with the manifest last, and return the run as read from disk.

        `reason` is the message why a run is not complete.

        Raises UsageError where the disk refuses; the spool then stays, and the run can still be loaded.
        """
        with _disk_errors_in_words(self.path):
            self._spool.close()
            if next(read_spool(self.path), None):
                with replacing(self.path / "raw.parquet") as part:
                    to_parquet(read_spool(self.path), part)
            self._derive()
            write_json(self.path / "summary.json", summary)
            self.manifest |= {"status": status, "reason": reason, "end_utc": utc_now()}
            write_json(self.path / "manifest.json", self.manifest)
            self._spool.remove()
        self._finished = True
        return Run.load(self.path)

    def abandon(self, reason: str) -> None:
        """End an unfinished run as incomplete. Its spool stays readable even if the disk refuses."""
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
    """Read one run from disk; its tables are pandas frames."""

    def __init__(self, path: Path, manifest: dict[str, Any], summary: dict[str, Any]) -> None:
        """Hold what `load` read; the tables are read when they are asked for."""
        self.path = path
        self.manifest = manifest
        self.summary = summary

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read a run folder. Raises UsageError if it is unreadable or of a newer schema."""
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
        """Name of the run and of its folder."""
        return str(self.manifest["run_id"])

    @property
    def scenario(self) -> str:
        """Name of the scenario."""
        return str(self.manifest["scenario"])

    @cached_property
    def events(self) -> pd.DataFrame:
        """Event table: one row per event of a response stream."""
        return read_table(self.path, "events", self.traces())

    def event_columns(self, names: Sequence[str]) -> pd.DataFrame:
        """Return some columns of the event table, which may be large."""
        kept = schema_1.table_file(self.path, "events").exists()
        return read_event_columns(self.path, names) if kept else self.events[list(names)]

    @cached_property
    def requests(self) -> pd.DataFrame:
        """Request table: one row per planned request."""
        return read_table(self.path, "requests", self.traces())

    def table(self, name: str) -> pd.DataFrame:
        """Return another table of the run. Raises UsageError if the run has no table of that name."""
        file = self.path / f"{name}.parquet"
        if not file.exists():
            raise UsageError(f"run {self.run_id} has no table {name!r}")
        return schema_1.table(pd.read_parquet(file))

    def traces(self) -> Iterator[Trace]:
        """Yield the traces of the requests, in the order in which they ended."""
        whole = self.path / "raw.parquet"
        return from_parquet(whole) if whole.exists() else read_spool(self.path)


def new_run_id(scenario: str) -> str:
    """Return <utc>-<scenario>-<id>, which sorts by time and differs for two runs of the same second."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{scenario}-{secrets.token_hex(3)}"


@contextmanager
def _disk_errors_in_words(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        words = f"cannot write to {path}: {reason}; free space or name another folder (what is there is kept)"
        raise UsageError(words) from error
