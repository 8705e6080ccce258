"""Tables of a run that an older kit wrote, without the columns that were added since."""

import pandas as pd
import pytest

from gptoss_bench.runs import derived_tables, read_event_columns, read_sent_requests, write_tables
from gptoss_bench.runs.derived_tables import read_requests, read_table, read_tables
from gptoss_bench.stats.summary import summarise
from gptoss_client import UnsentRequests
from streams import chat, trace


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


def test_requests_that_were_never_sent_are_counted_and_change_no_figure(tmp_path):
    """The summary of the sent requests and the number of the others is that of all rows."""
    stopped = trace([], 5, sent_ns=None, status=None, ending="cancelled", error="not sent: the load was stopped")
    write_tables(
        [*(chat(10, 20, 3, n, sent_ms=100.0 * n) for n in range(5)), UnsentRequests(stopped, 70_000, True)], tmp_path
    )
    requests, events = read_tables(tmp_path)
    sent = read_sent_requests(tmp_path)
    assert len(requests) == 70_005 and len(sent.rows) == 5 and sent.unsent == {"measure": 70_000}
    pd.testing.assert_frame_equal(sent.rows, requests.iloc[:5])
    found = summarise(sent.rows, events, concurrency=1, unsent=sent.unsent)
    assert (found.requests, found.cancelled) == (70_005, 70_000)
    assert found == summarise(requests, events, concurrency=1)


def test_a_refused_request_is_no_unsent_one(tmp_path):
    refused = trace([], 1, sent_ns=None, status=None, ending="connect", error="refused")
    write_tables([chat(10, 20, 3, 0), refused], tmp_path)
    sent = read_sent_requests(tmp_path)
    assert list(sent.rows.outcome) == ["completed", "failed"] and sent.unsent == {}
