"""Client tables compared with a send log: errors computed by hand for any shift; a real run matches in every event."""

import asyncio

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_bench.calibration.accuracy import (
    levels_table,
    match_events,
    stream_numbers,
    summarise_level,
    trust_limit_text,
    trusted_up_to_events_s,
    ttft_errors_s,
)
from gptoss_bench.calibration.measure import measure_level, measure_levels
from gptoss_bench.calibration.reference.engine import serve_reference
from gptoss_bench.calibration.reference.plan import ReferencePlan
from gptoss_bench.calibration.reference.send_log import SEND_LOG_COLUMNS, read_send_log
from gptoss_bench.runs.calibration import ErrorSpread
from gptoss_client.errors import UsageError
from gptoss_client.load import run_load
from gptoss_client.plan import LoadPlan
from gptoss_client.trace import Trace
from streams import MS

STREAMS = pd.Series({0: 41, 1: 40}, dtype="int64")  # the server numbers requests as it sees them


def reference(sends_ms):
    """A log: by stream, the sends of a role chunk and then of outputs; asked at 0, each due 1 ms before."""
    rows = [
        (stream, event, "role" if event == 0 else "output", event > 0, int(event > 0), 0, at - MS, at, at + 1, None)
        for stream, sends in sends_ms.items()
        for event, at in enumerate(int(ms * MS) for ms in sends)
    ]
    return pd.DataFrame(rows, columns=list(SEND_LOG_COLUMNS)).astype(SEND_LOG_COLUMNS)


def seen(arrivals_ms, lag_ns=None):
    """The client's chunk table: by request, the arrivals of the same events."""
    tables = []
    for request_id, arrivals in arrivals_ms.items():
        arrival_ns = pd.Series([round(ms * MS) for ms in arrivals], dtype="int64")
        itl_s = arrival_ns.diff().div(1e9)
        itl_s.iloc[:2] = np.nan  # neither the role chunk nor the first token has a gap before it
        table = pd.DataFrame({"request_id": request_id, "arrival_ns": arrival_ns, "itl_s": itl_s})
        tables.append(table.assign(event=range(len(table)), lag_ns=pd.Series([lag_ns] * len(table), dtype="Int64")))
    return pd.concat(tables, ignore_index=True)


def requests(ttfts_s, sent_ns=0):
    return pd.DataFrame({"request_id": range(len(ttfts_s)), "sent_ns": sent_ns, "ttft_s": ttfts_s})


LOG = reference({40: [0, 200, 225, 250], 41: [0, 210, 230, 260], 7: [0, 1, 2, 3]})
SEEN = {0: [1, 210.5, 230.25, 260.25], 1: [1, 201, 226, 253]}


def test_each_error_is_the_clients_time_minus_the_servers():
    found = match_events(seen(SEEN), STREAMS, LOG)
    assert (found["_merge"] == "both").all()
    assert set(found.stream) == {40, 41}, "streams of others are left out"
    arrival_ms = found.arrival_error_s.to_numpy() * 1e3
    assert arrival_ms == pytest.approx([1, 1, 1, 3, 1, 0.5, 0.25, 0.25])
    assert found.itl_error_s.to_numpy() * 1e3 == pytest.approx(
        [np.nan, np.nan, 0, 2, np.nan, np.nan, -0.25, 0], nan_ok=True
    )
    assert found.late_s.to_numpy() == pytest.approx(0.001)
    errors_s = ttft_errors_s(requests([0.2105, 0.203]), STREAMS, LOG)
    assert errors_s.to_dict() == pytest.approx({0: 0.0005, 1: 0.003})


def test_an_event_that_one_side_does_not_have_is_counted_and_never_matched():
    arrivals = {0: SEEN[0][:3], 1: [*SEEN[1], 260]}
    found = match_events(seen(arrivals), STREAMS, LOG)
    assert found["_merge"].value_counts().to_dict() == {"both": 7, "left_only": 1, "right_only": 1}
    one = summed(found)
    assert (one.events, one.unmatched) == (7, 2)


@given(st.permutations(range(8)), st.integers(0, 10**9))
def test_neither_the_order_of_rows_nor_a_constant_delay_changes_a_gap(order, delay_ns):
    events = seen(SEEN).iloc[list(order)]
    plain = match_events(seen(SEEN), STREAMS, LOG)
    shifted = match_events(events.assign(arrival_ns=events.arrival_ns + delay_ns), STREAMS, LOG)
    assert shifted.itl_error_s.equals(plain.itl_error_s)
    assert (shifted.arrival_error_s - plain.arrival_error_s).to_numpy() * 1e9 == pytest.approx(delay_ns, abs=1)


def summed(found, **changes):
    rows = requests([0.2105, 0.201])
    reported = {"matched": found, "ttft_errors": ttft_errors_s(rows, STREAMS, LOG), "cpu_share": 0.1}
    return summarise_level("us", (2, 40.0), rows, **reported | changes)


def test_a_level_sums_up_what_was_found():
    one = summed(match_events(seen(SEEN), STREAMS, LOG))
    assert one.events_s == pytest.approx(8 / 0.26025)
    assert one.offered_events_s == 80
    assert (one.ttft_error.p50, one.ttft_error.max) == pytest.approx((0.75, 1.0))
    assert (one.itl_error.p50, one.itl_error.max) == pytest.approx((0.125, 2.0))
    assert one.server_late.p99 == pytest.approx(1.0)
    assert one.lag == ErrorSpread()


RIGHT = {0: [0.1, 210.5, 230.25, 260.25], 1: [0.1, 200.5, 225.5, 250.5]}


@pytest.mark.parametrize(
    ("arrivals", "cpu_share", "trusted"),
    [
        (RIGHT, 0.1, True),
        (RIGHT, 0.81, False),
        (SEEN, 0.1, False),  # the last arrival is 3 ms late: 5 % of the median gap of 25 ms is 1.25 ms
        ({0: RIGHT[0], 1: [0.1, 200.5, 227.5, 250.5]}, 0.1, False),  # one gap is 2 ms too long
    ],
)
def test_a_client_that_is_too_wrong_or_needs_a_core_is_not_trusted(arrivals, cpu_share, trusted):
    found = match_events(seen(arrivals, lag_ns=9_000_000), STREAMS, LOG)
    assert summed(found, cpu_share=cpu_share).trusted is trusted


@pytest.mark.parametrize(
    ("lag_ns", "cpu_share", "bound"),
    [(1_000_000, 0.1, False), (1_500_000, 0.1, True), (1_000_000, 0.81, True), (None, 0.81, None)],
)
def test_the_rule_of_lag_is_reported_whatever_the_errors_are(lag_ns, cpu_share, bound):
    found = match_events(seen(RIGHT, lag_ns), STREAMS, LOG)
    assert summed(found, cpu_share=cpu_share).client_bound is bound


def test_a_first_token_that_is_seen_too_late_is_enough_not_to_be_trusted():
    found = match_events(seen(RIGHT), STREAMS, LOG)
    late = ttft_errors_s(requests([0.2105, 0.204]), STREAMS, LOG)
    assert not summed(found, ttft_errors=late).trusted


def test_nothing_matched_is_not_trusted_and_has_no_numbers():
    one = summed(match_events(seen(SEEN), STREAMS, LOG[:0]), ttft_errors=pd.Series(dtype="float64"))
    assert (one.events, one.unmatched, one.events_s, one.trusted) == (0, 8, 0.0, False)
    assert one.ttft_error == one.itl_error == ErrorSpread()


def test_a_level_above_one_that_failed_does_not_count():
    one = summed(match_events(seen(SEEN), STREAMS, LOG))
    at = [one.model_copy(update={"offered_events_s": load, "events_s": load - 1, "trusted": good}) for load, good in
          ((80.0, False), (10.0, True), (40.0, True), (160.0, True))]  # fmt: skip
    assert trusted_up_to_events_s(at) == 39
    assert trusted_up_to_events_s(at[:1]) is None
    assert "39 events/s" in trust_limit_text("us", 39.2)
    assert "lowest load" in trust_limit_text("us", None)


def test_the_table_has_a_column_for_each_percentile():
    one = summed(match_events(seen(SEEN), STREAMS, LOG))
    table = levels_table([one.model_copy(update={"offered_events_s": 90.0}), one])
    assert list(table.offered_events_s) == [80, 90]
    assert {"ttft_error_p50_ms", "itl_error_p99_ms", "lag_max_ms", "server_late_p99_ms"} <= set(table)


def test_the_stream_is_found_in_bytes_however_they_came():
    pieces = tuple((1, bytes([byte])) for byte in b'data: {"id":"chatcmpl-reference-00000123"')
    traces = [Trace(5, "measure", 0, 0, pieces=pieces), Trace(6, "measure", 0, 0)]
    assert stream_numbers(traces).to_dict() == {5: 123}


def test_a_real_load_is_matched_in_every_event_by_both_clients():
    (ours, stock), endpoint = asyncio.run(measure_level(3, 200.0, tokens=10, waves=2))
    assert endpoint.label == "REFERENCE SERVER"
    for one in (ours, stock):
        assert (one.events, one.unmatched) == (6 * 14, 0)  # role, ten tokens, finish, usage, [DONE]
        assert one.itl_error.max is not None


def test_a_reply_in_ollamas_dialect_and_torn_is_matched_too(folder, tmp_path):
    async def load():
        plan = ReferencePlan(ttft_s=0.01, itl_s=0.001, tokens=10, torn=4, crlf=True, cuts=0.2)
        async with serve_reference(plan, tmp_path, dialect="ollama") as endpoint:
            await run_load(LoadPlan(concurrency=4, requests=20), endpoint, folder.add)

    asyncio.run(load())
    run = folder.finish()
    log = read_send_log(tmp_path / "send_log.parquet").events
    found = match_events(run.events, stream_numbers(run.traces()), log)
    assert (found["_merge"] == "both").all()
    assert found.arrival_error_s.min() > 0
    assert run.requests.failure.eq("cut").any()


@pytest.mark.parametrize("levels", [[], [[1]], [[1, 0]]])
def test_levels_that_make_no_sense_are_refused(levels):
    with pytest.raises(UsageError, match=r"levels must be|above 0"):
        asyncio.run(measure_levels(levels))
