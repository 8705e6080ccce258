"""Client tables compared with a send log: errors computed by hand for any shift; a real run matches in every event."""

import asyncio
import contextlib
import json
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_bench.calibration.accuracy import (
    KIT_CLIENT,
    STOCK_CLIENT,
    LevelSample,
    _spread,
    levels_table,
    match_events,
    stream_numbers,
    summarise_level,
    trust_limit_text,
    trusted_up_to_events_s,
    ttft_errors_s,
)
from gptoss_bench.calibration.loads import KINDS, CalibrationLoad, calibration_loads
from gptoss_bench.calibration.measure import measure_levels, measure_load, skipped_kinds
from gptoss_bench.calibration.reference.engine import serve_reference
from gptoss_bench.calibration.reference.plan import ReferencePlan
from gptoss_bench.calibration.reference.send_log import SEND_LOG_COLUMNS, read_send_log
from gptoss_client.errors import UsageError
from gptoss_client.load import run_load
from gptoss_client.plan import LoadPlan
from gptoss_client.trace import Trace
from streams import MS

SMALL = pd.Series([0.0005, 0.001], index=[0, 1])
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


def summed(found, copies=1, **changes):
    """The level of a sample; with `copies`, of one with so many times the values, a second apart."""
    rows = requests([0.2105, 0.201])
    reported = {"matched": found, "ttft_errors": ttft_errors_s(rows, STREAMS, LOG), "cpu_share": 0.1}
    sample = LevelSample(rows, **reported | changes)
    return summarise_level("us", CalibrationLoad(2, 40.0), [later(sample, at) for at in range(copies)])


def later(sample, seconds):
    shift_ns = seconds * 10**9
    matched = sample.matched.assign(
        arrival_ns=sample.matched.arrival_ns + shift_ns, sent_ns=sample.matched.sent_ns + shift_ns
    )
    return sample._replace(matched=matched, requests=sample.requests.assign(sent_ns=sample.requests.sent_ns + shift_ns))


def test_a_level_sums_up_what_was_found():
    one = summed(match_events(seen(SEEN), STREAMS, LOG), copies=30)
    assert one.events_s == pytest.approx(8 / 0.26025)
    assert (one.offered_events_s, one.repeats, one.events) == (80, 30, 240)
    assert (one.ttft_error.p50, one.ttft_error.max, one.ttft_error.n) == pytest.approx((0.75, 1.0, 60))
    assert one.ttft_error.repeat_p50 == pytest.approx([0.75] * 30)
    assert (one.itl_error.p50, one.itl_error.max) == pytest.approx((0.125, 2.0))
    assert one.server_late.p50 == pytest.approx(1.0)
    assert (one.lag.n, one.lag.p50) == (0, None)


def test_a_percentile_is_printed_where_it_is_resolved_and_else_has_a_reason():
    found = match_events(seen(SEEN), STREAMS, LOG)
    few, more, many = (summed(found, copies=copies).ttft_error for copies in (1, 30, 500))
    assert (few.p50, few.p99, few.max) == (None, None, pytest.approx(1.0))
    assert few.reason == "p50: 2 values, 20 are needed; p99: 2 values, 1000 are needed"
    assert (more.p50, more.p99, more.reason) == (pytest.approx(0.75), None, "p99: 60 values, 1000 are needed")
    assert (many.p99, many.reason) == (pytest.approx(1.0), None)


@given(st.integers(1, 20))
def test_errors_of_one_moment_count_once(moments):
    at_ns = pd.Series(np.repeat(np.arange(moments) * 10**9, 1200 // moments), dtype="float64")
    spread = _spread(pd.Series(1e-3, index=at_ns.index), at_ns)
    assert (spread.p50 is None, spread.p99 is None) == (False, moments < 10)
    assert moments >= 10 or "from fewer than 10 moments" in spread.reason


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=60))
def test_percentiles_of_errors_lie_within_them_and_keep_their_order(values):
    at_ns = pd.Series(np.arange(len(values)) * 1e9)
    spread = _spread(pd.Series(values, dtype="float64"), at_ns)
    assert spread.n == len(values) and spread.max == pytest.approx(max(map(abs, values)) * 1e3)
    assert (spread.p50 is None) == (len(values) < 20) and spread.p99 is None
    assert spread.p50 is None or spread.p50 <= spread.max


def test_a_quick_level_has_the_median_only():
    sample = LevelSample(
        requests([0.2105, 0.201]), match_events(seen(SEEN), STREAMS, LOG), pd.Series([0.001] * 2000), 0.1
    )
    one = summarise_level("us", CalibrationLoad(2, 40.0), [sample], quick=True)
    assert one.ttft_error.p99 is None and "quick" in one.ttft_error.reason


def test_an_interval_that_leaves_out_the_true_arrival_is_counted():
    events = seen(SEEN).assign(not_before_ns=lambda rows: rows.arrival_ns)
    events.loc[[0, 1], "not_before_ns"] -= 5_000_000
    one = summed(match_events(events, STREAMS, LOG))
    assert one.exact_share == 6 / 8
    assert one.outside_share == 1 / 8  # the one that was 3 ms late and is called exact
    assert summed(match_events(seen(SEEN), STREAMS, LOG)).exact_share is None


# 500 times these are enough for every p99.
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
    assert summed(found, copies=500, ttft_errors=SMALL, cpu_share=cpu_share).trusted is trusted


@pytest.mark.parametrize(
    ("repeats", "bound"),
    [([False, False], False), ([False, True], True), ([None, True], True), ([False, None], None), ([None], None)],
)
def test_one_repeat_that_the_client_limited_is_enough(repeats, bound):
    found = match_events(seen(RIGHT), STREAMS, LOG)
    samples = [LevelSample(requests([0.2105, 0.201]), found, SMALL, 0.1, one) for one in repeats]
    assert summarise_level("us", CalibrationLoad(2, 40.0), samples).client_bound is bound


def test_a_first_token_that_is_seen_too_late_is_enough_not_to_be_trusted():
    found = match_events(seen(RIGHT), STREAMS, LOG)
    late = ttft_errors_s(requests([0.2105, 0.204]), STREAMS, LOG)
    assert summed(found, copies=500, ttft_errors=late).trusted is False
    assert summed(found).trusted is None, "no p99 is resolved"


def test_nothing_matched_is_not_trusted_and_has_no_numbers():
    one = summed(match_events(seen(SEEN), STREAMS, LOG[:0]), ttft_errors=pd.Series(dtype="float64"))
    assert (one.events, one.unmatched, one.events_s, one.trusted) == (0, 8, 0.0, False)
    assert one.ttft_error == one.itl_error and (one.ttft_error.n, one.ttft_error.reason) == (0, "nothing was measured")


def test_a_level_above_one_that_failed_does_not_count():
    one = summed(match_events(seen(SEEN), STREAMS, LOG))
    at = [one.model_copy(update={"offered_events_s": load, "events_s": load - 1, "trusted": good}) for load, good in
          ((80.0, False), (10.0, True), (40.0, True), (160.0, True))]  # fmt: skip
    assert trusted_up_to_events_s(at) == 39
    assert trusted_up_to_events_s(at[:1]) is None
    assert "39 events/s" in trust_limit_text("us", 39.2)
    undecided = at[1].model_copy(update={"trusted": None})
    assert trusted_up_to_events_s([undecided, at[2]]) == 39
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
    load = CalibrationLoad(3, 200.0, tokens=10, waves=2)
    found, endpoint = asyncio.run(measure_load(load, stock=True))
    assert endpoint.label == "REFERENCE SERVER"
    assert found[STOCK_CLIENT].bound is None
    assert found[KIT_CLIENT].bound is not None
    for client in (KIT_CLIENT, STOCK_CLIENT):
        one = summarise_level(client, load, [found[client]])
        assert (one.events, one.unmatched) == (6 * 14, 0)  # role, ten tokens, finish, usage, [DONE]
        assert one.itl_error.max is not None


def test_a_quick_calibration_has_the_short_plain_loads():
    loads = calibration_loads([[1, 40], [16, 40], [256, 40], [1024, 40]], [64, 40], repeats=3, quick=True)
    assert [(load.kind, load.streams) for load in loads] == [("plain", 16), ("plain", 256)]
    assert all(load.streams * load.waves >= 20 for load in loads)
    assert [load.streams for load in calibration_loads([[1, 1]], None, repeats=1, quick=True)] == [1]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_load_is_matched_in_every_event(kind):
    if kind in skipped_kinds():
        pytest.skip(skipped_kinds()[kind])
    load = CalibrationLoad(3, 100.0, kind, tokens=8, waves=3)
    found, _ = asyncio.run(measure_load(load))
    one = summarise_level(KIT_CLIENT, load, [found[KIT_CLIENT]])
    assert (one.kind, one.events, one.unmatched) == (kind, 9 * 12, 0)
    sends = found[KIT_CLIENT].matched.groupby("stream")["sent_ns"].nunique()
    assert set(sends) == ({4} if kind == "merged" else {10})  # role, tokens one by one or in fours, the end
    assert found[KIT_CLIENT].requests.connect_s.gt(0).any() == (kind == "new-connections")


def test_both_conditions_are_measured_in_repeats_and_nothing_stays_busy():
    loads = calibration_loads([[2, 100]], None, repeats=30)
    lines = []
    levels, _ = asyncio.run(measure_levels(loads, repeats=2, stock_streams=0, report_progress=lines.append))
    assert [(level.condition, level.repeats, len(level.ttft_error.repeat_p50)) for level in levels] == [
        ("idle", 2, 2),
        ("contended", 2, 2),
    ]
    assert [line.split(":")[0] for line in lines] == [
        f"calibration {repeat}/2, {condition}, 2 × 100" for repeat in (1, 2) for condition in ("idle", "contended")
    ]
    assert not any(child.is_running() for child in psutil.Process().children(recursive=True) if busy(child))


def busy(process):
    with contextlib.suppress(psutil.Error):
        return any("while True" in part for part in process.cmdline())
    return False


def test_busy_processes_end_with_their_owner():
    code = (
        "import os, signal, psutil\nfrom gptoss_bench.calibration.contention import busy_cores\n"
        "with busy_cores(2):\n"
        "    print([child.pid for child in psutil.Process().children(recursive=True)], flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=False)
    pids = json.loads(done.stdout)
    assert (done.returncode, len(pids)) == (-signal.SIGKILL, 4)  # each has a supervisor
    _, left = psutil.wait_procs([psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)], timeout=30)
    assert not left


def test_a_load_has_the_waves_that_resolve_p99_as_far_as_they_fit():
    one, sixteen, many = calibration_loads([[1, 40], [16, 40], [1024, 40]], None, repeats=3)
    assert (one.kind, one.streams * one.waves * 3 < 1000) == ("plain", True)
    assert sixteen.streams * sixteen.waves * 3 >= 1000
    assert (many.tokens, many.waves) == (32, 2)
    kinds = calibration_loads([[1, 40]], [4, 40], repeats=3)[1:]
    assert [load.kind for load in kinds] == list(KINDS) and {load.streams for load in kinds} == {4}


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
        calibration_loads(levels, None, repeats=3)
