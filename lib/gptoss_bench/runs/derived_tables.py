"""Write the tables of a run folder from its traces and read them back, in batches, so that memory stays flat.

The same traces give the same files, byte for byte, with the same versions of pandas and pyarrow.
"""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pandas.api.types import is_extension_array_dtype, is_integer_dtype

from gptoss_bench.files import replacing
from gptoss_bench.runs import schema_1
from gptoss_bench.runs.request_table import derive_tables
from gptoss_bench.runs.spool import batches
from gptoss_client import Trace

NAMES = ("requests", "events")
_POOL = pa.system_memory_pool()  # the one that gives back what it was given
pa.set_memory_pool(_POOL)


def write_tables(traces: Iterable[Trace], folder: Path) -> None:
    """Write requests.parquet, and events.parquet with one row group per batch; neither without a trace."""
    with ExitStack() as stack:
        requests: list[pa.Table] = []
        for batch in batches(traces):
            found = [pa.Table.from_pandas(frame, preserve_index=False, nthreads=1) for frame in derive_tables(batch)]
            if not requests:
                parts = [stack.enter_context(replacing(folder / f"{name}.parquet")) for name in NAMES]
                events = stack.enter_context(pq.ParquetWriter(parts[1], found[1].schema, compression="zstd"))
            requests.append(found[0])
            events.write_table(found[1])
        if requests:
            pq.write_table(pa.concat_tables(requests), parts[0], compression="zstd")
    _POOL.release_unused()


def read_tables(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the two tables that `write_tables` wrote; empty tables if it wrote none."""
    file = schema_1.table_file(folder, "events")
    return (read_requests(folder), pd.read_parquet(file)) if file.exists() else derive_tables([])


def read_requests(folder: Path) -> pd.DataFrame:
    """Return the request table."""
    if not (folder / "requests.parquet").exists():
        return derive_tables([])[0]
    whole = pq.read_table(folder / "requests.parquet", use_threads=False, pre_buffer=False)
    return schema_1.table(whole.to_pandas(use_threads=False))


def read_event_columns(folder: Path, names: Sequence[str]) -> pd.DataFrame:
    """Return some columns of the event table, in the smallest types that hold their values."""
    file = schema_1.table_file(folder, "events")
    if not file.exists():
        return derive_tables([])[1][list(names)]
    return _columns(file, names, list(read_requests(folder)["phase"].unique()))


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


def read_table(folder: Path, name: str, traces: Iterable[Trace]) -> pd.DataFrame:
    """Return the table "requests" or "events" of a run folder, derived from the traces if it is not on disk."""
    file = schema_1.table_file(folder, name)
    if file.exists():
        return schema_1.table(pd.read_parquet(file))
    parts = [derive_tables(batch)[NAMES.index(name)] for batch in batches(traces)]
    return pd.concat(parts or [derive_tables([])[NAMES.index(name)]], ignore_index=True)


def remove_tables(folder: Path) -> None:
    """Delete the two tables, because they no longer hold all requests."""
    for name in NAMES:
        (folder / f"{name}.parquet").unlink(missing_ok=True)
