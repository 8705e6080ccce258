"""Write the tables of a run folder from its traces and read them back, in batches, so that memory stays flat.

The same traces give the same files, byte for byte, with the same versions of pandas and pyarrow. A nullable column that
was added after a run was written is null when the run is read.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pandas.api.types import is_extension_array_dtype, is_integer_dtype, is_numeric_dtype

from gptoss_bench.files import reading, replacing
from gptoss_bench.runs import schema_1
from gptoss_bench.runs.event_table import EVENT_COLUMNS
from gptoss_bench.runs.pauses import FILES, PauseFinder
from gptoss_bench.runs.request_table import REQUEST_COLUMNS, derive_tables
from gptoss_bench.runs.spool import batches, with_ids
from gptoss_client import Trace, UnsentRequests, one_line

COLUMNS = {"requests": REQUEST_COLUMNS, "events": EVENT_COLUMNS}
NAMES = tuple(COLUMNS)
ROWS_AT_ONCE = 65_536
# Of requests.parquet: written only where a request has a value.
OPTIONAL_COLUMNS = ("max_tokens", "conversation", "turn", "request_sha256")
REBUILD = "derive it again from raw.parquet with `gptoss-bench rebuild`"
_FROM_OUTSIDE = {"error", "finish_reason"}  # columns with texts of a server
_POOL = pa.system_memory_pool()  # the one that gives back what it was given
pa.set_memory_pool(_POOL)


def write_tables(recorded: Iterable[Trace | UnsentRequests], folder: Path) -> None:
    """Write requests.parquet, events.parquet with one row group per batch, and the pauses of the client if known.

    Without a request none is written.
    """
    found_pauses = PauseFinder()
    with ExitStack() as stack:
        requests: list[pa.Table] = []
        alike: tuple[UnsentRequests, list[pa.Table]] | None = None  # a million unsent requests share their columns
        for batch in batches(recorded):
            if isinstance(batch, list):
                found_pauses.add(batch)
            if isinstance(batch, UnsentRequests) and alike is not None and batch.is_like(alike[0]):
                requests.append(with_ids(alike[1][0], batch))
                continue
            found = _derive(batch)[1]
            alike = (batch, found) if isinstance(batch, UnsentRequests) else None
            if not requests:
                parts = [stack.enter_context(replacing(folder / f"{name}.parquet")) for name in NAMES]
                events = stack.enter_context(pq.ParquetWriter(parts[1], found[1].schema, compression="zstd"))
            requests.append(found[0])
            events.write_table(found[1])
        if requests:
            whole = pa.concat_tables(requests)
            for name in OPTIONAL_COLUMNS:
                if whole[name].null_count == whole.num_rows:
                    whole = _without_column(whole, name)
            pq.write_table(whole, parts[0], compression="zstd")
            times = [whole[name].drop_null().to_pylist() for name in ("sent_ns", "done_ns")]
            if (pauses := found_pauses.pauses(*times)) is not None:
                for name in FILES:
                    part = stack.enter_context(replacing(folder / f"{name}.parquet"))
                    getattr(pauses, name).to_parquet(part, index=False, compression="zstd")
    _POOL.release_unused()


def _without_column(table: pa.Table, name: str) -> pa.Table:
    """Return a table as if its frame had never had a column: also what pandas notes about columns is without it."""
    metadata = dict(table.schema.metadata)
    noted = json.loads(metadata[b"pandas"])
    noted["columns"] = [column for column in noted["columns"] if column["name"] != name]
    metadata[b"pandas"] = json.dumps(noted).encode()
    return table.drop_columns(name).replace_schema_metadata(metadata)


Derived = tuple[list[pd.DataFrame], list[pa.Table]]


def _derive(batch: list[Trace] | UnsentRequests) -> Derived:
    """Return the request table and the event table of one batch, as frames and as they are written.

    A request whose response no table can hold becomes a failed row; the others of its batch stay as they are.
    """
    if isinstance(batch, UnsentRequests):
        return _with_arrow(*_unsent_rows(batch))
    try:
        return _with_arrow(*derive_tables(batch))
    except Exception as error:  # of any library below: one response does not lose a run
        if len(batch) > 1:
            each = [_derive([trace])[0] for trace in batch]
            return _with_arrow(*(pd.concat(parts, ignore_index=True) for parts in zip(*each, strict=True)))
        return _with_arrow(*derive_tables([_unusable(batch[0], error)]))


def _with_arrow(requests: pd.DataFrame, events: pd.DataFrame) -> Derived:
    frames = [requests, events]
    return frames, [pa.Table.from_pandas(frame, preserve_index=False, nthreads=1) for frame in frames]


def _unusable(trace: Trace, error: Exception) -> Trace:
    """Return the trace without its response, whose bytes stay in the raw data."""
    reason = one_line(f"the response cannot be put into a table ({type(error).__name__}: {error})")
    return replace(
        trace, pieces=(), lags_ns=(), not_before_ns=(), read_marks="", ending="malformed", error=trace.error or reason
    )


def _unsent_rows(batch: UnsentRequests) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the two tables of unsent requests, which differ in their ids only."""
    row, events = derive_tables([batch.first])
    table = row.take(np.zeros(batch.count, dtype="int64")).reset_index(drop=True)
    for name, ids in zip(("request_id", "prompt_id"), batch.ids(), strict=True):
        table[name] = np.array(ids, dtype="int64")
    return table, events


def read_tables(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the two tables that `write_tables` wrote; empty tables if it wrote none."""
    file = schema_1.table_file(folder, "events")
    if not file.exists():
        return derive_tables([])
    with reading(file, REBUILD):
        return read_requests(folder), _with_new_columns(pd.read_parquet(file), EVENT_COLUMNS)


def read_requests(folder: Path) -> pd.DataFrame:
    """Return the request table."""
    file = folder / "requests.parquet"
    if not file.exists():
        return derive_tables([])[0]
    with reading(file, REBUILD):
        whole = pq.read_table(file, use_threads=False, pre_buffer=False)
        # A stopped load may have a million rows: their Arrow columns are freed as they are converted.
        frame = whole.to_pandas(use_threads=False, self_destruct=True, split_blocks=True)
        return _with_new_columns(schema_1.table(frame), REQUEST_COLUMNS)


def read_prompt_ids(folder: Path) -> dict[int, int]:
    """Return the prompt id of each request of the request table, by request id; nothing without a table."""
    file = folder / "requests.parquet"
    if not file.exists():
        return {}
    with reading(file, REBUILD):
        table = pq.read_table(file, columns=["request_id", "prompt_id"], use_threads=False)
    return dict(zip(table["request_id"].to_pylist(), table["prompt_id"].to_pylist(), strict=True))


@dataclass(frozen=True, slots=True)
class SentRequests:
    """The request table without the requests that were never sent, and the number of these by phase.

    A stopped load may leave a million of them, which differ in their ids only.
    """

    rows: pd.DataFrame
    unsent: dict[str, int] = field(default_factory=dict)


def read_sent_requests(folder: Path) -> SentRequests:
    """Return the request table, without the rows of requests that were never sent because the load was stopped."""
    file = folder / "requests.parquet"
    if not file.exists():
        return SentRequests(derive_tables([])[0])
    with reading(file, REBUILD):
        is_kept = pc.field("sent_ns").is_valid() | (pc.field("outcome") != "cancelled")
        kept, phases = list[pa.Table](), Counter[str]()
        with pq.ParquetFile(file) as whole:
            for part in whole.iter_batches(ROWS_AT_ONCE, use_threads=False):
                rows = pa.Table.from_batches([part])
                kept.append(rows.filter(is_kept))
                phases.update(rows.filter(~is_kept)["phase"].to_pylist())
        frame = pa.concat_tables(kept).to_pandas(use_threads=False)
        _POOL.release_unused()
        return SentRequests(_with_new_columns(schema_1.table(frame), REQUEST_COLUMNS), dict(phases))


def read_event_columns(folder: Path, names: Sequence[str]) -> pd.DataFrame:
    """Return some columns of the event table, in the smallest types that hold their values."""
    file = schema_1.table_file(folder, "events")
    if not file.exists():
        return derive_tables([])[1][list(names)]
    with reading(folder / "requests.parquet", REBUILD):
        phases = pq.read_table(folder / "requests.parquet", columns=["phase"], use_threads=False)["phase"].unique()
    with reading(file, REBUILD):
        kept = [name for name in names if name in pq.read_schema(file).names]
        found = _columns(file, kept, phases.to_pylist())
        return _with_new_columns(found, {name: EVENT_COLUMNS[name] for name in names})


def _with_new_columns(table: pd.DataFrame, dtypes: Mapping[str, str]) -> pd.DataFrame:
    """Return the table with each of these columns that it lacks, all null, and with printable texts.

    Raises ValueError if a column is missing that cannot be null, or has texts for numbers.
    """
    for name, dtype in dtypes.items():
        if name in table and table[name].notna().any() and (dtype == "str") == is_numeric_dtype(table[name].dtype):
            raise ValueError(f"its column {name} is not of type {dtype}")
    for name in _FROM_OUTSIDE & set(table.columns):
        unusual = table[name].str.contains(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", na=False)
        if unusual.any():
            table[name] = table[name].where(~unusual, table[name].map(one_line, na_action="ignore"))
    absent = {name: pd.Series(None, table.index, dtype) for name, dtype in dtypes.items() if name not in table}
    return table.assign(**absent) if absent else table


def _columns(file: Path, names: Sequence[str], phases: Sequence[str]) -> pd.DataFrame:
    """Read some columns of a table, one row group at a time, into the smallest types that hold their values."""
    with pq.ParquetFile(file) as whole:
        kinds = whole.schema_arrow.empty_table().to_pandas().dtypes
        rows = pd.RangeIndex(whole.metadata.num_rows)
        columns: dict[str, pd.Series] = {
            name: pd.Series(0, rows, _fitting(whole, name, kinds[name])) for name in names if name != "phase"
        }
        if "phase" in names:
            codes = np.zeros(len(rows), dtype="int8")
            columns["phase"] = pd.Series(pd.Categorical.from_codes(codes, dtype=pd.CategoricalDtype(list(phases))))
        filled = 0
        for at in range(whole.num_row_groups):
            group = whole.read_row_group(at, list(names), use_threads=False).to_pandas(use_threads=False)
            for name, column in columns.items():
                column.array[filled : filled + len(group)] = group[name].astype(column.dtype).array
            filled += len(group)
    _POOL.release_unused()
    return pd.DataFrame(columns, copy=False)


def _fitting(whole: pq.ParquetFile, name: str, dtype: Any) -> Any:
    """Return the smallest integer type that holds all values, nullable if `dtype` is; other types are kept."""
    if not is_integer_dtype(dtype):
        return dtype
    index = whole.schema_arrow.get_field_index(name)
    found = [whole.metadata.row_group(at).column(index).statistics for at in range(whole.num_row_groups)]
    bounds = [bound for one in found if one and one.has_min_max for bound in (one.min, one.max)]
    shortest = np.result_type(np.int8, *(np.min_scalar_type(-abs(bound) - 1) for bound in bounds))
    return (
        pd.array([], dtype=dtype)
        .astype(shortest.name.capitalize() if is_extension_array_dtype(dtype) else shortest)
        .dtype
    )


def read_table(folder: Path, name: str, recorded: Iterable[Trace | UnsentRequests]) -> pd.DataFrame:
    """Return the table "requests" or "events" of a run folder, derived from the requests if it is not on disk."""
    file = schema_1.table_file(folder, name)
    if file.exists():
        with reading(file, REBUILD):
            return _with_new_columns(schema_1.table(pd.read_parquet(file)), COLUMNS[name])
    parts = [_derive(batch)[0][NAMES.index(name)] for batch in batches(recorded)]
    return pd.concat(parts or [derive_tables([])[NAMES.index(name)]], ignore_index=True)


def remove_tables(folder: Path) -> None:
    """Delete the tables, because they no longer hold all requests."""
    for name in (*NAMES, *FILES):
        (folder / f"{name}.parquet").unlink(missing_ok=True)
