"""Write a run folder while the run goes on, finish it atomically, and read it back, complete or not.

A folder whose manifest still says "running" was interrupted, unless its writer is still there; what its spool lists
can be read all the same, and `RunFolder.reopen` finishes it.
"""

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cached_property
from html import escape
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pandas as pd
from pydantic import JsonValue

from gptoss_bench import paths
from gptoss_bench.files import read_json, reading, replacing, write_json, writing
from gptoss_bench.runs import schema_1
from gptoss_bench.runs.derived_tables import (
    SentRequests,
    read_event_columns,
    read_requests,
    read_sent_requests,
    read_table,
    read_tables,
    remove_tables,
    write_tables,
)
from gptoss_bench.runs.finding import Finding, read_findings
from gptoss_bench.runs.labels import split_labels
from gptoss_bench.runs.live_workers import remove_worker_progress
from gptoss_bench.runs.manifest import (
    SCHEMA_VERSION,
    EndpointRecord,
    Manifest,
    Status,
    Worker,
    new_manifest,
    read_manifest,
    utc_now,
)
from gptoss_bench.runs.pauses import Pauses, read_pauses
from gptoss_bench.runs.record import write_record
from gptoss_bench.runs.run_ids import check_run_name, named_run, nearest_run_ids
from gptoss_bench.runs.run_step import write_run_step
from gptoss_bench.runs.shards import shard_folder, shifted
from gptoss_bench.runs.spool import Spool, count_damaged_lines, from_parquet, one_by_one, read_spool, to_parquet
from gptoss_bench.runs.summary import LoadSummary, OtherSummary, Summary, read_summary
from gptoss_client import WALL_CLOCK, Endpoint, Trace, UnsentRequests, UsageError, one_line

KEPT = "free space or name another folder (what is there is kept)"
INTERRUPTED = "killed before its end, or still running: `gptoss-bench rebuild` finishes a run that was killed"


class RunFolder:
    """Write one run. Used as a context manager, it marks an unfinished run as incomplete on exit."""

    def __init__(self, path: Path, manifest: Manifest, spool: Spool) -> None:
        """Take a folder that exists and its spool; use `create` or `reopen`."""
        self.path = path
        self.run_id = manifest.run_id
        self.manifest = manifest
        self._spool = spool
        self._derived = False  # whether the tables on disk are those of all that was added
        self._finished = False

    @classmethod
    def create(
        cls,
        results: Path,
        scenario: str,
        *,
        parameters: dict[str, JsonValue],
        run_id: str | None = None,
        command: str | None = None,
        path: Path | None = None,
    ) -> Self:
        """Make `path`, by default `results`/runs/`run_id` (a new id by default), and write its first manifest.

        Raises UsageError where the folder cannot be written or already holds a run.
        """
        run_id = run_id or new_run_id(scenario)
        check_run_name(run_id, scenario)
        path = path or results / "runs" / run_id
        try:
            str(path).encode()
        except UnicodeEncodeError:  # pyarrow opens no such file
            raise UsageError(f"the path {one_line(str(path))} is not UTF-8: name another results folder") from None
        taken = UsageError(f"run {run_id} exists: a run is never overwritten; leave run_id empty for a new one")
        manifest = new_manifest(run_id, scenario, parameters, command)  # takes longest: before anything is there
        with writing(path, KEPT):
            path.mkdir(parents=True, exist_ok=True)
            try:
                spool = Spool(path)  # only one of several writers can create it
            except FileExistsError:
                raise taken from None
            if (path / "manifest.json").exists():  # of a finished run, which has no spool
                spool.close()
                spool.remove()
                raise taken
            write_record(path / "manifest.json", manifest)
            return cls(path, manifest, spool)

    @classmethod
    def reopen(cls, path: Path) -> Self:
        """Return the folder of a run that was killed, to finish it.

        Raises UsageError where it cannot be read or written, and if another process still writes it.
        """
        run = Run.load(path)
        with writing(path, KEPT):
            try:
                return cls(path, run.manifest, Spool(path, reopen=True))
            except BlockingIOError as error:
                raise UsageError(f"run {run.run_id} is still running: stop it first") from error

    def is_gone(self) -> bool:
        """Return whether the folder was deleted or moved while it was written."""
        return self._spool.is_gone()

    def count_damaged_lines(self) -> int:
        """Return how many requests of the spool cannot be read."""
        return count_damaged_lines(self.path)

    def set_endpoint(self, endpoint: Endpoint) -> None:
        """Record the measured server; its labels become the labels of the run."""
        self.manifest.labels = split_labels(endpoint.label)
        self.manifest.endpoint = EndpointRecord.of(endpoint)
        self.write_manifest()

    def write_manifest(self) -> None:
        """Write the manifest as it is now. Raises UsageError if the disk refuses."""
        with writing(self.path, KEPT):
            write_record(self.path / "manifest.json", self.manifest)

    def add(self, trace: Trace) -> None:
        """Append one finished request. Raises UsageError if the disk refuses; earlier requests stay readable."""
        with self._appending():
            self._spool.add(trace)

    def add_unsent(self, unsent: UnsentRequests) -> None:
        """Append requests that were never sent. Raises UsageError as `add` does."""
        with self._appending():
            self._spool.add_unsent(unsent)

    @contextmanager
    def _appending(self) -> Iterator[None]:
        """Remove derived tables that will no longer hold all requests."""
        with writing(self.path, KEPT):
            if self._derived:
                remove_tables(self.path)
                self._derived = False
            yield

    @contextmanager
    def counting_clock_steps(self) -> Iterator[None]:
        """Count in the manifest how often the wall clock was set within the block, however the block ends."""
        before, clock = WALL_CLOCK.steps, self.manifest.clock
        try:
            yield
        finally:
            if clock is not None:
                clock.steps = (clock.steps or 0) + WALL_CLOCK.steps - before

    def write_table(self, name: str, frame: pd.DataFrame) -> None:
        """Write one more table of this run as `name`.parquet."""
        with writing(self.path, KEPT), replacing(self.path / f"{name}.parquet") as part:
            frame.to_parquet(part, index=False, compression="zstd")

    def write_document(self, name: str, content: JsonValue) -> None:
        """Write one more JSON document of this run as `name`.json."""
        with writing(self.path, KEPT):
            write_json(self.path / f"{name}.json", content)

    def tables(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return the request table and the event table of the requests added so far, decoded once."""
        with writing(self.path, KEPT):
            self._derive()
            return read_tables(self.path)

    def pauses(self) -> Pauses | None:
        """Return the times at which the client stood still, None if they are unknown."""
        with writing(self.path, KEPT):
            self._derive()
            return read_pauses(self.path)

    def requests(self) -> pd.DataFrame:
        """Return the request table."""
        with writing(self.path, KEPT):
            self._derive()
            return read_requests(self.path)

    def sent_requests(self) -> SentRequests:
        """Return the request table without the requests that were never sent, which may be very many."""
        with writing(self.path, KEPT):
            self._derive()
            return read_sent_requests(self.path)

    def event_columns(self, names: Sequence[str]) -> pd.DataFrame:
        """Return some columns of the event table, which may be large."""
        with writing(self.path, KEPT):
            self._derive()
            return read_event_columns(self.path, names)

    def _derive(self) -> None:
        if not self._derived:
            write_tables(read_spool(self.path), self.path)
            self._derived = True

    def finish(self, summary: Summary | None = None, status: Status = "complete", reason: str | None = None) -> "Run":
        """Derive the tables, write everything with the manifest last, and return the run as read from disk.

        `reason` is the message why a run is not complete.

        Raises UsageError where the disk refuses; the spool then stays, and the run can still be loaded.
        """
        with writing(self.path, KEPT):
            self._spool.close()
            if next(read_spool(self.path), None):
                with replacing(self.path / "raw.parquet") as part:
                    to_parquet(read_spool(self.path), part)
            self._derive()
            write_record(self.path / "summary.json", summary or OtherSummary())
            self.manifest.status, self.manifest.reason, self.manifest.end_utc = status, reason, utc_now()
            write_record(self.path / "manifest.json", self.manifest)
            self._spool.remove()
            remove_worker_progress(self.path)
            write_run_step(self.path, None)
        self._finished = True
        return Run.load(self.path)

    def abandon(self, reason: str) -> None:
        """End an unfinished run as incomplete. Its spool stays readable even if the disk refuses."""
        if not self._finished:
            with suppress(UsageError):
                self.finish(None, "incomplete", reason)

    def __enter__(self) -> Self:
        """Start writing."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Mark the run incomplete if it was not finished."""
        self.abandon(repr(error) if error else "left before it was finished")


class Run:
    """Read one run from disk; its tables are pandas frames."""

    def __init__(self, path: Path, manifest: Manifest, summary: Summary, *, finished: bool = True) -> None:
        """Hold what `load` read; the tables are read when they are asked for. `finished`: its writer ended it."""
        self.path = path
        self.finished = finished
        self.manifest = manifest
        self.summary = summary

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read a run folder, or the run with this id in `results/runs`; its last six characters are enough.

        Raises UsageError if there is none, or if it is unreadable or of a newer schema.
        """
        name, path = str(path), Path(path)
        if not path.exists():
            path = named_run(name, paths.RUNS) or path
        if not path.exists():
            near = nearest_run_ids(path.name, paths.RUNS if path.name == name else path.parent)
            shown = one_line(str(path))
            raise UsageError(f"there is no run {shown}" + (f"; nearest runs: {', '.join(near)}" if near else ""))
        manifest_file, summary_file = path / "manifest.json", path / "summary.json"
        manifest = _read_object(manifest_file, path)
        summary = _read_object(summary_file, path) if summary_file.exists() else {}
        schema = manifest.get("schema_version")
        if isinstance(schema, int) and schema > SCHEMA_VERSION:
            raise UsageError(f"{one_line(str(path))} was written by a newer kit (schema {schema}): update this one")
        with reading(manifest_file):
            if not isinstance(schema, int) or schema < SCHEMA_VERSION or "label" in manifest:  # early runs of schema 2
                manifest, summary = schema_1.manifest(manifest), schema_1.summary(summary)
        found = read_manifest(manifest, manifest_file)
        check_run_name(found.run_id, found.scenario)
        name = path.resolve().name
        if found.run_id != name and path.resolve().parent.name == "runs":  # it would stand for another run
            raise UsageError(f"{one_line(str(path))} is of run {found.run_id}: a folder of runs has the run's name")
        if not (finished := found.status != "running"):
            found.status, found.reason = "incomplete", INTERRUPTED
        return cls(path, found, read_summary(found.scenario, summary, summary_file), finished=finished)

    def __repr__(self) -> str:
        """Return run id, labels, status, and what was measured, on one line."""
        parts = [f"Run {self.run_id}", *self.manifest.labels, self.manifest.status]
        if isinstance(self.summary, LoadSummary):
            parts.append(f"{self.summary.completed} of {self.summary.requests} requests completed")
            if (rate := self.summary.output_tok_s or self.summary.output_tok_s_total) is not None:
                parts.append(f"{rate:,.1f} tok/s")
            if self.summary.ttft_s.p50 is not None:
                parts.append(f"TTFT p50 {self.summary.ttft_s.p50:.3f} s")
            if (due := self.summary.ttft_scheduled_s) is not None and due.p50 is not None:
                parts.append(f"from due {due.p50:.3f} s")
            if self.summary.goodput_share is not None:
                parts.append(f"{self.summary.goodput_share:.1%} within the SLO")
        return ", ".join(parts)

    def _repr_html_(self) -> str:
        """Return the same for a notebook cell, with the attributes that hold the tables."""
        attributes = "run.requests, run.events, run.summary, run.manifest, run.findings"
        place = "/".join(self.path.parts[-2:])  # a notebook that is published names no folder of a machine
        return f"<b>{escape(repr(self))}</b><br><code>{attributes}</code>, in <code>{escape(place)}</code>"

    @property
    def run_id(self) -> str:
        """Name of the run and of its folder."""
        return self.manifest.run_id

    @property
    def scenario(self) -> str:
        """Name of the scenario."""
        return self.manifest.scenario

    @property
    def has_main_verdicts(self) -> bool:
        """Whether it has the verdicts on the claims file of the kit, and not on that of another write-up."""
        return self.scenario == "verdicts" and not self.manifest.parameters.get("claims_file")

    @property
    def load_summary(self) -> LoadSummary:
        """The summary of the measured load. Raises UsageError if the run has none."""
        if not isinstance(self.summary, LoadSummary):
            raise UsageError(
                f"{self.path} has no figures to check: scenario {self.scenario}, {self.manifest.status}; "
                "name another run"
            )
        return self.summary

    @cached_property
    def events(self) -> pd.DataFrame:
        """Event table: one row per event of a response stream."""
        return read_table(self.path, "events", self.recorded())

    def event_columns(self, names: Sequence[str]) -> pd.DataFrame:
        """Return some columns of the event table, which may be large."""
        kept = schema_1.table_file(self.path, "events").exists()
        return read_event_columns(self.path, names) if kept else self.events[list(names)]

    @cached_property
    def requests(self) -> pd.DataFrame:
        """Request table: one row per planned request."""
        return read_table(self.path, "requests", self.recorded())

    @property
    def pauses(self) -> Pauses | None:
        """The times at which the client stood still, None if they are unknown."""
        return read_pauses(self.path)

    def table(self, name: str) -> pd.DataFrame:
        """Return another table of the run. Raises UsageError if the run has no table of that name."""
        file = self.path / f"{name}.parquet"
        if not file.exists():
            raise UsageError(f"run {self.run_id} has no table {name!r}")
        with reading(file):
            return schema_1.table(pd.read_parquet(file))

    @cached_property
    def findings(self) -> list[Finding] | None:
        """Findings of the linter, None if the run was not linted. Raises UsageError if they are not readable."""
        file = self.path / "lint.json"
        if not file.exists():
            return None
        return read_findings(file)

    def traces(self) -> Iterator[Trace]:
        """Yield the traces of the requests, in the order in which they ended."""
        return one_by_one(self.recorded())

    def recorded(self) -> Iterator[Trace | UnsentRequests]:
        """Yield the same as `traces`, with the requests that were never sent as ranges.

        Those of several workers come one worker after the other, by the clock of the coordinator.
        """
        if self.manifest.workers is not None:
            return chain.from_iterable(map(self._recorded_by, self.manifest.workers))
        whole = self.path / "raw.parquet"
        return from_parquet(whole) if whole.exists() else read_spool(self.path)

    def _recorded_by(self, worker: Worker) -> Iterator[Trace | UnsentRequests]:
        folder = shard_folder(self.path, worker.index)
        offset_ns = worker.clock.offset_ns if worker.clock else 0
        if (folder / "manifest.json").exists():
            yield from (shifted(found, offset_ns) for found in type(self).load(folder).recorded())


def _read_object(file: Path, run: Path) -> dict[str, Any]:
    try:
        content = read_json(file)
    except UsageError as error:
        raise UsageError(f"{one_line(str(run))} is not a readable run folder: {error}") from error
    if not isinstance(content, dict):
        raise UsageError(f"{one_line(str(run))} is not a readable run folder: its {file.stem} is no JSON object")
    return content


def new_run_id(scenario: str) -> str:
    """Return <utc>-<scenario>-<id>, which sorts by time and differs for two runs of the same second."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{scenario}-{secrets.token_hex(3)}"
