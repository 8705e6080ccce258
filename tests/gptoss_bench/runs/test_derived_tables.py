"""Tables of a run that an older kit wrote, without the columns that were added since."""

import pandas as pd
import pytest

from gptoss_bench.runs import derived_tables, read_event_columns, read_requests, write_tables
from gptoss_bench.runs.derived_tables import read_table, read_tables
from streams import chat


@pytest.fixture
def older(tmp_path, monkeypatch):
    """Return a folder whose tables lack one column each."""
    write_tables([chat(10, 20, 3)], tmp_path)
    for types in derived_tables.COLUMNS.values():
        monkeypatch.setitem(types, "shard", "Int32")
    return tmp_path


def test_a_column_that_was_added_since_is_null(older):
    requests, events = read_tables(older)
    for table in (
        requests,
        events,
        read_requests(older),
        read_table(older, "events", []),
        read_table(older, "requests", []),
    ):
        assert table["shard"].isna().all()
        assert table["shard"].dtype == "Int32"
    columns = read_event_columns(older, ["shard", "output"])
    pd.testing.assert_frame_equal(columns[["shard", "output"]], events[["shard", "output"]])
