"""Write traces to disk and read them back: `raw.bin` and `traces.jsonl` during a run, one Parquet table afterwards.

`raw.bin` holds the body bytes of each finished request, one after the other; `traces.jsonl` has one line a request
with its timestamps and the offset of its bytes. The bytes are written first, so a line implies that they are there.
"""

import json
import os
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import accumulate, pairwise
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gptoss_bench.files import open_own, reading
from gptoss_bench.runs import schema_1
from gptoss_client import Trace, UnsentRequests, UsageError

BATCH, BATCH_BYTES = 200, 4 << 20  # of sent requests: most that is in memory at a time, and in one row group
RAW_FORMAT = 2  # of raw.parquet; 1, which does not say so, has no width_ns, read_marks and beats
FORMAT_KEY = b"raw_format"
UNSENT_BATCH = 20_000  # of requests that were never sent, which are small: a stopped load may leave a million
SCHEMA = pa.schema(
    [
        *((name, pa.int64()) for name in ("request_id", "prompt_id", "scheduled_ns", "sent_ns", "done_ns")),
        *((name, pa.int64()) for name in ("status", "retries", "max_tokens")),
        *((name, pa.int64()) for name in ("conversation", "turn")),
        *((name, pa.string()) for name in ("phase", "ending", "error", "timestamp_source", "request_sha256")),
        ("connect_s", pa.float64()),
        ("read_marks", pa.string()),
        ("sizes", pa.list_(pa.int32())),
        ("arrival_ns", pa.list_(pa.int64())),
        ("lags_ns", pa.list_(pa.int64())),
        *((name, pa.list_(pa.int64())) for name in ("width_ns", "beat_due_ns", "beat_late_ns")),
        ("body", pa.large_binary()),
    ],
    {FORMAT_KEY: str(RAW_FORMAT).encode()},
)
# Arrival times hardly repeat, so that a dictionary only makes them larger; their differences are small.
ENCODING: dict[str, Any] = {
    "use_dictionary": [
        *("phase", "ending", "error", "timestamp_source"),
        *("sizes.list.element", "lags_ns.list.element"),
    ],
    "column_encoding": {
        f"{name}.list.element": "DELTA_BINARY_PACKED"
        for name in ("arrival_ns", "width_ns", "beat_due_ns", "beat_late_ns")
    },
}
_LISTS_OF_INT = {"sizes", "arrival_ns", "lags_ns", "width_ns", "beat_due_ns", "beat_late_ns"}
_TEXTS = {"phase", "ending", "error", "timestamp_source", "read_marks", "request_sha256"}
_LISTS = ("pieces", "lags_ns", "not_before_ns", "beats")
SCALARS = [field.name for field in fields(Trace) if field.name not in _LISTS]


class Spool:
    """Append traces to the two files of a running load. Raises OSError if the disk refuses.

    The lock on `raw.bin` tells a run that goes on from one that was killed: the system releases it with the process.
    """

    def __init__(self, folder: Path, *, reopen: bool = False) -> None:
        """Create both files empty, or `reopen` those of a run that was killed.

        Raises FileExistsError if the folder already has a spool, and BlockingIOError if another process writes it.
        """
        self._folder = folder
        self._raw: IO[bytes] = open_own(folder / "raw.bin", "ab" if reopen else "xb", buffering=0)
        _lock(self._raw)
        self._index: IO[bytes] = open_own(folder / "traces.jsonl", "ab", buffering=0)
        self._offset = self._raw.seek(0, os.SEEK_END)

    def add(self, trace: Trace) -> None:
        """Append one finished request."""
        body = b"".join(piece for _, piece in trace.pieces)
        line = {name: getattr(trace, name) for name in SCALARS}
        line |= {
            "offset": self._offset,
            "sizes": [len(piece) for _, piece in trace.pieces],
            "arrival_ns": [timestamp for timestamp, _ in trace.pieces],
            "lags_ns": trace.lags_ns,
            "width_ns": _widths_ns(trace),
            "beat_due_ns": _beats(trace, 0),
            "beat_late_ns": _beats(trace, 1),
        }
        _write_all(self._raw, body)
        self._offset += len(body)
        _write_all(self._index, json.dumps(line, separators=(",", ":")).encode() + b"\n")

    def add_unsent(self, unsent: UnsentRequests) -> None:
        """Append requests that were never sent as one line, however many they are."""
        line = {name: getattr(unsent.first, name) for name in SCALARS}
        line |= {"unsent": unsent.count, "distinct": unsent.distinct}
        line |= {"step": unsent.step} if unsent.step > 1 else {}  # of one of several processes
        line |= {"offset": self._offset, "sizes": [], "arrival_ns": [], "lags_ns": []}
        _write_all(self._index, json.dumps(line, separators=(",", ":")).encode() + b"\n")

    def is_gone(self) -> bool:
        """Return whether the folder was deleted or moved since the files were opened."""
        if self._raw.closed:
            return not self._folder.exists()
        try:
            return not os.path.samestat(os.stat(self._folder / "raw.bin"), os.fstat(self._raw.fileno()))
        except FileNotFoundError:
            return True

    def close(self) -> None:
        """Close both files; what they hold stays."""
        self._raw.close()
        self._index.close()

    def remove(self) -> None:
        """Delete both files; the table that replaces them must be on disk."""
        (self._folder / "raw.bin").unlink()
        (self._folder / "traces.jsonl").unlink()


def read_spool(folder: Path) -> Iterator[Trace | UnsentRequests]:
    """Yield the requests of an unfinished folder, without damaged lines (`count_damaged_lines`)."""
    return (found for found, _ in _spool_lines(folder, 0) if found is not None)


def read_spool_from(folder: Path, offset: int) -> Iterator[tuple[Trace, int]]:
    """Yield the requests from this byte of the index on, each with the next byte; a writer may be active.

    A last line that a crash cut is left out, and so is a line that cannot be read or whose bytes are missing.
    """
    for found, end in _spool_lines(folder, offset):
        for trace in one_by_one([] if found is None else [found]):
            yield trace, end


def count_damaged_lines(folder: Path) -> int:
    """Return how many whole lines of the index cannot be read, or have no bytes in raw.bin."""
    return sum(found is None for found, _ in _spool_lines(folder, 0))


def one_by_one(requests: Iterable[Trace | UnsentRequests]) -> Iterator[Trace]:
    """Yield the trace of each request."""
    for found in requests:
        if isinstance(found, UnsentRequests):
            yield from found.traces()
        else:
            yield found


def _spool_lines(folder: Path, offset: int) -> Iterator[tuple[Trace | UnsentRequests | None, int]]:
    index = folder / "traces.jsonl"
    if not index.exists():
        return
    with reading(index), open_own(index, "rb") as lines, open_own(folder / "raw.bin", "rb") as raw:
        lines.seek(offset)
        for line in lines:
            if line.endswith(b"\n"):
                offset += len(line)
                yield _spool_line(line, raw), offset


def _spool_line(line: bytes, raw: IO[bytes]) -> Trace | UnsentRequests | None:
    """Return what one line of the index lists; None if the line is damaged."""
    try:
        row = schema_1.row(json.loads(line))
        _check_types(row)
        raw.seek(row["offset"])
        size = sum(row["sizes"])
        body = raw.read(size)
        if len(body) != size:
            return None
        trace = _trace(row, body)
        if "unsent" not in row:
            return trace
        return UnsentRequests(trace, row["unsent"], row["distinct"], row.get("step", 1))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError, OSError):
        return None


def _check_types(row: Mapping[str, Any]) -> None:
    """Raise ValueError, TypeError or OverflowError for values that a table cannot hold."""
    for name in _LISTS_OF_INT & row.keys():
        array("q", row[name] or ())
    for name, value in row.items():
        if isinstance(value, str):
            value.encode()
        elif isinstance(value, int):
            array("q", (value,))
        elif name in _TEXTS and value is not None:
            raise TypeError(name)


def batches(requests: Iterable[Trace | UnsentRequests]) -> Iterator[list[Trace] | UnsentRequests]:
    """Yield the requests in order: lists of at most BATCH sent ones or about BATCH_BYTES, and ranges of unsent ones."""
    batch, size, sent = list[Trace](), 0, 0
    for found in requests:
        if isinstance(found, Trace):
            batch.append(found)
            size += sum(len(piece) for _, piece in found.pieces)
            sent += found.sent_ns is not None
        whole = sent == BATCH or size >= BATCH_BYTES or len(batch) == UNSENT_BATCH
        if batch and (whole or isinstance(found, UnsentRequests)):
            yield batch
            batch, size, sent = [], 0, 0
        if isinstance(found, UnsentRequests):
            yield from found.split(UNSENT_BATCH)
    if batch:
        yield batch


def to_parquet(requests: Iterable[Trace | UnsentRequests], path: Path) -> None:
    """Write requests as one table: one row per request, arrival times and sizes as lists, bytes joined."""
    with pq.ParquetWriter(path, SCHEMA, compression="zstd", **ENCODING) as writer:
        for batch in batches(requests):
            if isinstance(batch, list):
                writer.write_table(_table(batch))
            else:
                writer.write_table(_repeated(_table([batch.first]), batch))


def from_parquet(path: Path) -> Iterator[Trace | UnsentRequests]:
    """Yield the requests that `to_parquet` wrote, ranges of unsent ones too.

    Raises UsageError for a file of a newer kit.
    """
    with reading(path, "the raw data cannot be derived again: leave this run out"), pq.ParquetFile(path) as file:
        version = int((file.schema_arrow.metadata or {}).get(FORMAT_KEY, b"1"))
        if version > RAW_FORMAT:
            raise UsageError(f"{path} was written by a newer kit (raw format {version}): update this one")
        for index in range(file.num_row_groups):
            if (unsent := _unsent_group(file, index)) is not None:
                yield unsent
                continue
            for part in file.iter_batches(BATCH // 10, row_groups=[index]):
                for row in part.to_pylist():
                    yield _trace(schema_1.row(row), row["body"])


def _table(batch: Sequence[Trace]) -> pa.Table:
    columns: dict[str, Any] = {name: [getattr(trace, name) for trace in batch] for name in SCALARS}
    columns["sizes"] = [[len(piece) for _, piece in trace.pieces] for trace in batch]
    columns["arrival_ns"] = [[timestamp for timestamp, _ in trace.pieces] for trace in batch]
    columns["lags_ns"] = [list(trace.lags_ns) for trace in batch]
    columns["width_ns"] = [_widths_ns(trace) for trace in batch]
    columns["beat_due_ns"] = [_beats(trace, 0) for trace in batch]
    columns["beat_late_ns"] = [_beats(trace, 1) for trace in batch]
    columns["body"] = [b"".join(piece for _, piece in trace.pieces) for trace in batch]
    return pa.table(columns, SCHEMA)


def _repeated(row: pa.Table, unsent: UnsentRequests) -> pa.Table:
    """Return the rows of unsent requests: that of the first, with the ids of each."""
    return with_ids(row.take(pa.array(np.zeros(unsent.count, dtype="int64"))), unsent)


def with_ids(table: pa.Table, unsent: UnsentRequests) -> pa.Table:
    """Return the rows of a table with the ids of these requests; all other columns are shared with it."""
    for name, ids in zip(("request_id", "prompt_id"), unsent.ids(), strict=True):
        index = table.schema.get_field_index(name)
        table = table.set_column(index, table.schema.field(index), pa.array(ids, pa.int64()))
    return table


def _unsent_group(file: pq.ParquetFile, index: int) -> UnsentRequests | None:
    """Return the range of unsent requests that a row group holds, None if it holds other requests."""
    group = file.metadata.row_group(index)
    sent = group.column(file.schema_arrow.get_field_index("sent_ns")).statistics
    if group.num_rows == 1 or sent is None or not sent.has_null_count or sent.null_count != group.num_rows:
        return None
    table = file.read_row_group(index)
    first, second = (_trace(schema_1.row(row), row["body"]) for row in table.slice(0, 2).to_pylist())
    step = max(1, second.request_id - first.request_id)
    found = UnsentRequests(first, group.num_rows, first.prompt_id != second.prompt_id, step)
    return found if "lags_ns" in table.schema.names and table.equals(_repeated(table.slice(0, 1), found)) else None


def _trace(row: Mapping[str, Any], body: bytes) -> Trace:
    """Return the trace of a row; fields that were added after it was written have their defaults."""
    ends = accumulate(row["sizes"], initial=0)
    pieces = tuple(zip(row["arrival_ns"], [body[start:end] for start, end in pairwise(ends)], strict=True))
    widths_ns, due_ns = row.get("width_ns", ()), row.get("beat_due_ns")
    return Trace(
        **{name: row[name] for name in SCALARS if name in row},
        pieces=pieces,
        lags_ns=tuple(row.get("lags_ns", ())),
        not_before_ns=tuple([at - width for at, width in zip(row["arrival_ns"], widths_ns, strict=False)]),
        beats=None if due_ns is None else tuple(zip(due_ns, row["beat_late_ns"], strict=True)),
    )


def _widths_ns(trace: Trace) -> list[int]:
    """Return how long before its arrival each piece was known to be absent: mostly 0, and never large."""
    return [arrival_ns - at for (arrival_ns, _), at in zip(trace.pieces, trace.not_before_ns, strict=False)]


def _beats(trace: Trace, which: int) -> list[int] | None:
    return None if trace.beats is None else [beat[which] for beat in trace.beats]


def _lock(file: IO[bytes]) -> None:
    """Lock a file until it is closed. Raises BlockingIOError if it is locked; a system without locks is no error."""
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        pass  # some network file systems have no locks


def _write_all(file: IO[bytes], data: bytes) -> None:
    """Write all bytes: an unbuffered write may take only a part."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
