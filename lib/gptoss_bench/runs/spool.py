"""Write traces to disk and read them back: `raw.bin` and `traces.jsonl` during a run, one Parquet table afterwards.

`raw.bin` holds the body bytes of each finished request, one after the other; `traces.jsonl` has one line a request
with its timestamps and the offset of its bytes. The bytes are written first, so a line implies that they are there.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from itertools import accumulate, pairwise
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from gptoss_bench.runs import schema_1
from gptoss_client import Trace

BATCH, BATCH_BYTES = 200, 4 << 20  # of sent requests: most that is in memory at a time, and in one row group
UNSENT_BATCH = 20_000  # of requests that were never sent, which are small: a stopped load may leave a million
SCHEMA = pa.schema(
    [
        *((name, pa.int64()) for name in ("request_id", "prompt_id", "scheduled_ns", "sent_ns", "done_ns")),
        *((name, pa.int64()) for name in ("status", "retries")),
        *((name, pa.string()) for name in ("phase", "ending", "error", "timestamp_source")),
        ("connect_s", pa.float64()),
        ("sizes", pa.list_(pa.int32())),
        ("arrival_ns", pa.list_(pa.int64())),
        ("lags_ns", pa.list_(pa.int64())),
        ("body", pa.large_binary()),
    ]
)
# Arrival times hardly repeat, so that a dictionary only makes them larger; their differences are small.
ENCODING: dict[str, Any] = {
    "use_dictionary": [
        *("phase", "ending", "error", "timestamp_source"),
        *("sizes.list.element", "lags_ns.list.element"),
    ],
    "column_encoding": {"arrival_ns.list.element": "DELTA_BINARY_PACKED"},
}
SCALARS = [field.name for field in fields(Trace) if field.name not in ("pieces", "lags_ns")]


class Spool:
    """Append traces to the two files of a running load. Raises OSError if the disk refuses."""

    def __init__(self, folder: Path) -> None:
        """Create both files empty."""
        self._folder = folder
        self._raw: IO[bytes] = (folder / "raw.bin").open("wb", buffering=0)
        self._index: IO[bytes] = (folder / "traces.jsonl").open("wb", buffering=0)
        self._offset = 0

    def add(self, trace: Trace) -> None:
        """Append one finished request."""
        body = b"".join(piece for _, piece in trace.pieces)
        line = {name: getattr(trace, name) for name in SCALARS}
        line |= {
            "offset": self._offset,
            "sizes": [len(piece) for _, piece in trace.pieces],
            "arrival_ns": [timestamp for timestamp, _ in trace.pieces],
            "lags_ns": trace.lags_ns,
        }
        _write_all(self._raw, body)
        self._offset += len(body)
        _write_all(self._index, json.dumps(line, separators=(",", ":")).encode() + b"\n")

    def close(self) -> None:
        """Close both files; what they hold stays."""
        self._raw.close()
        self._index.close()

    def remove(self) -> None:
        """Delete both files; the table that replaces them must be on disk."""
        (self._folder / "raw.bin").unlink()
        (self._folder / "traces.jsonl").unlink()


def read_spool(folder: Path) -> Iterator[Trace]:
    """Yield the requests of an unfinished folder. A last line that a crash cut is skipped."""
    return (trace for trace, _ in read_spool_from(folder, 0))


def read_spool_from(folder: Path, offset: int) -> Iterator[tuple[Trace, int]]:
    """Yield the requests from this byte of the index on, each with the next byte; a writer may be active."""
    index = folder / "traces.jsonl"
    if not index.exists():
        return
    with index.open("rb") as lines, (folder / "raw.bin").open("rb") as raw:
        lines.seek(offset)
        for line in lines:
            if line.endswith(b"\n"):
                offset += len(line)
                row = schema_1.row(json.loads(line))
                raw.seek(row["offset"])
                yield _trace(row, raw.read(sum(row["sizes"]))), offset


def batches(traces: Iterable[Trace]) -> Iterator[list[Trace]]:
    """Yield the traces in order, in lists of at most BATCH sent requests or about BATCH_BYTES."""
    batch, size, sent = list[Trace](), 0, 0
    for trace in traces:
        batch.append(trace)
        size += sum(len(piece) for _, piece in trace.pieces)
        sent += trace.sent_ns is not None
        if sent == BATCH or size >= BATCH_BYTES or len(batch) == UNSENT_BATCH:
            yield batch
            batch, size, sent = [], 0, 0
    if batch:
        yield batch


def to_parquet(traces: Iterable[Trace], path: Path) -> None:
    """Write traces as one table: one row per request, arrival times and sizes as lists, bytes joined."""
    with pq.ParquetWriter(path, SCHEMA, compression="zstd", **ENCODING) as writer:
        for batch in batches(traces):
            columns: dict[str, Any] = {name: [getattr(trace, name) for trace in batch] for name in SCALARS}
            columns["sizes"] = [[len(piece) for _, piece in trace.pieces] for trace in batch]
            columns["arrival_ns"] = [[timestamp for timestamp, _ in trace.pieces] for trace in batch]
            columns["lags_ns"] = [list(trace.lags_ns) for trace in batch]
            columns["body"] = [b"".join(piece for _, piece in trace.pieces) for trace in batch]
            writer.write_table(pa.table(columns, SCHEMA))


def from_parquet(path: Path) -> Iterator[Trace]:
    """Yield the traces that `to_parquet` wrote."""
    with pq.ParquetFile(path) as file:
        for group in file.iter_batches(BATCH // 10):
            for row in group.to_pylist():
                yield _trace(schema_1.row(row), row["body"])


def _trace(row: Mapping[str, Any], body: bytes) -> Trace:
    """Return the trace of a row; fields that were added after it was written have their defaults."""
    ends = accumulate(row["sizes"], initial=0)
    pieces = tuple(zip(row["arrival_ns"], [body[start:end] for start, end in pairwise(ends)], strict=True))
    lags_ns = tuple(row.get("lags_ns", ()))
    return Trace(**{name: row[name] for name in SCALARS if name in row}, pieces=pieces, lags_ns=lags_ns)


def _write_all(file: IO[bytes], data: bytes) -> None:
    """Write all bytes: an unbuffered write may take only a part."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
