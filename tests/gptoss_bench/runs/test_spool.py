"""How the raw data of a run is stored."""

import pyarrow.parquet as pq

from gptoss_bench.runs.spool import from_parquet, to_parquet
from streams import chat


def test_arrival_times_are_stored_as_differences(tmp_path):
    """They take most of the file; the bytes repeat and are compressed well."""
    traces = [chat(10, 20, 200, request_id, lags_ns=tuple(range(203))) for request_id in range(20)]
    to_parquet(traces, tmp_path / "raw.parquet")
    group = pq.read_metadata(tmp_path / "raw.parquet").row_group(0)
    columns = [group.column(at) for at in range(group.num_columns)]
    (arrivals,) = [column for column in columns if column.path_in_schema.startswith("arrival_ns")]
    (lags,) = [column for column in columns if column.path_in_schema.startswith("lags_ns")]
    assert "DELTA_BINARY_PACKED" in arrivals.encodings
    assert "RLE_DICTIONARY" in lags.encodings
    assert list(from_parquet(tmp_path / "raw.parquet")) == traces
