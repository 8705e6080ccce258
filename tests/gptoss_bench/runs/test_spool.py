"""How the raw data of a run is stored."""

from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from gptoss_bench.runs.request_table import derive_tables
from gptoss_bench.runs.spool import FORMAT_KEY, RAW_FORMAT, Spool, from_parquet, read_spool, to_parquet
from gptoss_client.errors import UsageError
from gptoss_client.trace import Trace
from streams import chat, trace


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


def bounded(request_id: int) -> Trace:
    """A trace with all that a client on Linux records."""
    one = chat(10, 20, 50, request_id, lags_ns=(0,) * 54)
    bounds = [arrival_ns - at * 1000 for at, (arrival_ns, _) in enumerate(one.pieces)]
    return replace(one, not_before_ns=tuple(bounds), read_marks="1" * 54, beats=((5, 6), (7, 8)))


def test_intervals_marks_and_heartbeats_come_back(tmp_path):
    traces = [bounded(0), chat(10, 20, 5, 1, beats=()), trace([], 2)]
    to_parquet(traces, tmp_path / "raw.parquet")
    assert list(from_parquet(tmp_path / "raw.parquet")) == traces
    spool = Spool(tmp_path)
    for one in traces:
        spool.add(one)
    spool.close()
    assert list(read_spool(tmp_path)) == traces


def test_raw_data_of_an_older_format_has_no_intervals_and_of_a_newer_one_is_refused(tmp_path):
    to_parquet([bounded(0)], tmp_path / "raw.parquet")
    table = pq.read_table(tmp_path / "raw.parquet")
    added = ["width_ns", "read_marks", "beat_due_ns", "beat_late_ns"]
    pq.write_table(table.drop_columns(added).replace_schema_metadata({}), tmp_path / "old.parquet")
    [old] = from_parquet(tmp_path / "old.parquet")
    assert old == replace(bounded(0), not_before_ns=(), read_marks="", beats=None)
    requests, events = derive_tables([old])
    assert events["not_before_ns"].isna().all()
    assert requests[["packed", "reordered"]].isna().all(axis=None)
    pq.write_table(table.replace_schema_metadata({FORMAT_KEY: str(RAW_FORMAT + 1)}), tmp_path / "new.parquet")
    with pytest.raises(UsageError, match="newer kit"):
        list(from_parquet(tmp_path / "new.parquet"))
