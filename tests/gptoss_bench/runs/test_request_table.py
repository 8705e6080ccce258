"""Tables of streams that are written by hand, split anywhere and ended in every way."""

from itertools import pairwise
from typing import get_args

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from gptoss_bench.runs.event_table import EVENT_COLUMNS
from gptoss_bench.runs.request_table import REQUEST_COLUMNS, derive_tables
from gptoss_client.outcome import Failure
from gptoss_client.trace import Ending, Trace
from recordings import body
from streams import (
    AFTER_FIRST_TOKEN,
    DONE,
    HTML,
    QUEUED_NS,
    Timed,
    answer,
    chat,
    finish,
    ollama,
    role,
    row,
    sse,
    thought,
    trace,
    usage,
)

fewer = settings(deadline=None, max_examples=40)
TOKEN_TIMES = ["ttft_s", "ttfa_s", "ttft_scheduled_s", *AFTER_FIRST_TOKEN]

# Reasoning, then an answer; two events have one timestamp, as they do in one segment.
REASONED: list[Timed] = [
    (20, role()),
    (50, thought()),
    (80, thought(" é…")),
    (110, answer()),
    (140, answer(" \U0001f600")),
    (150, finish("length")),
    (150, usage(4)),
    (151, DONE),
]


def test_times_of_a_reply_that_reasons_first() -> None:
    seen = row(trace(REASONED))
    expected = {
        "client_queue_s": QUEUED_NS / 1e9,
        "ttfc_s": 0.020,  # the role chunk is an event and no token
        "ttft_s": 0.050,  # reasoning counts
        "ttfa_s": 0.110,
        "ttft_scheduled_s": 0.052,
        "e2e_s": 0.140,
        "e2e_scheduled_s": 0.142,
        "done_s": 0.151,
        "tpot_s": 0.090 / 3,
        "ttft_formula_s": 88 / 92 * 0.151,
        "tokens_per_event": 1.0,
    }
    assert seen[list(expected)].to_dict() == pytest.approx(expected, abs=1e-12)
    assert (seen["outcome"], seen["truncated"], seen["finish_reason"]) == ("completed", True, "length")
    assert (seen["events"], seen["output_events"], seen["answer_chars"], seen["reasoning_chars"]) == (8, 4, 6, 6)


def test_gaps_are_between_events_that_bear_output() -> None:
    events = derive_tables([trace([*REASONED[:2], (70, sse({"choices": []})), *REASONED[2:]])])[1]
    assert events["itl_s"].dropna().tolist() == [0.030, 0.030, 0.030]
    assert events.loc[events["itl_s"].notna(), "event"].tolist() == [3, 4, 5]
    assert events["arrival_ns"].is_monotonic_increasing


def test_a_budget_that_ran_out_while_reasoning_has_no_ttfa() -> None:
    seen = row(trace([(10, thought()), (30, thought()), (40, finish("length")), (40, usage(2)), (40, DONE)]))
    assert seen["outcome"] == "completed"
    assert seen["ttft_s"] == 0.010
    assert pd.isna(seen["ttfa_s"])


def test_ollama() -> None:
    durations = {"total_duration": 90_000_000, "load_duration": 4_000_000, "prompt_eval_duration": 6_000_000}
    counts = {"prompt_eval_count": 75, "eval_count": 3, "eval_duration": 60_000_000, "done_reason": "length"}
    timed = [
        (30, ollama(thinking="hm")),
        (50, ollama("yes")),
        (70, ollama(" so")),
        (80, ollama(done=True, **durations, **counts)),
    ]
    seen = row(trace(timed))
    assert (seen["outcome"], seen["truncated"]) == ("completed", True)
    assert (seen["completion_tokens"], seen["prompt_tokens"]) == (3, 75)
    assert (seen["ttft_s"], seen["ttfa_s"], seen["tpot_s"], seen["done_s"]) == (0.030, 0.050, 0.020, 0.080)
    assert (seen["server_source"], seen["server_load_s"], seen["server_prompt_s"]) == ("ollama", 0.004, 0.006)
    assert (seen["server_eval_s"], seen["server_eval_tokens"], seen["server_total_s"]) == (0.060, 3, 0.090)
    assert seen["server_wait_s"] == pytest.approx(0.020)  # 90 - 4 - 6 - 60 ms


@pytest.mark.parametrize(
    ("version", "waits_s"),
    [("0.33.0-rc2", (0.040, 0.282, 0.503, 0.668)), ("0.11.4", (0.002, 0.663, 1.339, 2.057))],
)
def test_the_wait_for_a_slot_is_in_no_duration_of_ollama(version: str, waits_s: tuple[float, ...]) -> None:
    """Four requests at once and one slot: each waits for the replies of all before it, and no load takes 30 ms."""
    names = [f"ollama-{version}/conc4_np1_nonstream_{number}" for number in range(4)]
    found = derive_tables([trace([(900, body(name))], number) for number, name in enumerate(names)])[0]
    assert sorted(found["server_wait_s"]) == pytest.approx(waits_s, abs=0.001)
    assert found["server_load_s"].max() < 0.030


@pytest.mark.parametrize("version", ["0.33.0-rc2", "0.11.4"])
def test_ollama_counts_cached_prompt_tokens_but_does_not_time_them(version: str) -> None:
    names = [f"ollama-{version}/{name}" for name in ("chat_cold", "chat_warm_same")]
    cold, warm = (row(trace([(900, body(name))])) for name in names)
    assert (cold["prompt_tokens"], warm["prompt_tokens"]) == (80, 80)
    assert warm["server_prompt_s"] < cold["server_prompt_s"] / 10
    assert (cold["output_events"], cold["completion_tokens"]) == (111, 120)  # harmony's marks are tokens without text


def test_a_reply_without_a_token_is_complete_and_has_no_times() -> None:
    seen = row(trace([(10, role()), (20, finish()), (20, usage(1)), (20, DONE)]))
    assert seen["outcome"] == "completed"
    assert seen[[*TOKEN_TIMES, "tokens_per_event"]].drop(["done_s", "ttft_formula_s"]).isna().all()


def test_empty_tables_have_their_columns() -> None:
    requests, events = derive_tables([])
    assert (len(requests), len(events)) == (0, 0)
    assert {name: str(dtype) for name, dtype in events.dtypes.items()} == EVENT_COLUMNS
    assert {name: str(dtype) for name, dtype in requests.dtypes.items()} == REQUEST_COLUMNS


def test_full_tables_have_the_types_of_empty_ones() -> None:
    mixed = [trace(REASONED), trace([], 1, sent_ns=None, status=None, ending="connect")]
    for full, empty in zip(derive_tables(mixed), derive_tables([]), strict=True):
        assert full.dtypes.to_dict() == empty.dtypes.to_dict()


def test_timestamps_above_2_to_the_53_keep_their_nanoseconds() -> None:
    late = 2**60
    one = Trace(0, "measure", 0, late - 3, late, 0.0, 200, ((late + 7, answer()), (late + 9, DONE)), late + 9)
    seen = row(one)
    assert (seen["sent_ns"], seen["done_ns"], seen["ttft_s"], seen["client_queue_s"]) == (late, late + 9, 7e-9, 3e-9)


def test_warmup_and_measured_requests_of_one_id_stay_apart() -> None:
    both = [chat(20, 5, 3, phase="warmup"), chat(90, 5, 3)]
    assert derive_tables(both)[0]["ttft_s"].tolist() == [0.020, 0.090]


@st.composite
def loads(draw: st.DrawFn) -> list[Trace]:
    """Requests that end in any way after any bytes."""
    pieces = st.sampled_from([role(), answer(), thought(), finish("length"), usage(2), DONE, HTML, ollama("a"), b"{"])
    timed = st.lists(st.tuples(st.floats(0, 100), pieces), max_size=6).map(
        lambda some: sorted(some, key=lambda p: p[0])
    )
    status = st.sampled_from([None, 200, 200, 200, 204, 404, 503])
    kinds = st.tuples(timed, st.sampled_from(get_args(Ending)), status, st.sampled_from(["warmup", "measure"]))
    return [
        trace(body, request_id, ending=ending, status=status, phase=phase)
        for request_id, (body, ending, status, phase) in enumerate(draw(st.lists(kinds, max_size=8)))
    ]


@fewer
@given(loads())
def test_each_request_is_one_row_with_one_outcome(traces: list[Trace]) -> None:
    requests, events = derive_tables(traces)
    assert requests["request_id"].tolist() == [one.request_id for one in traces]
    assert requests["outcome"].isin(["completed", "failed", "cancelled", "lost"]).all()
    failed = requests["outcome"] == "failed"
    assert requests.loc[failed, "failure"].isin(get_args(Failure)).all()
    assert requests.loc[~failed, "failure"].isna().all()
    assert requests["events"].sum() == len(events)
    assert requests["output_events"].sum() == events["output"].sum()
    assert requests.loc[requests["output_events"] == 0, ["ttft_s", "ttfa_s", "tpot_s", "e2e_s"]].isna().all(axis=None)
    assert requests.loc[failed, AFTER_FIRST_TOKEN].isna().all(axis=None)


@fewer
@given(loads(), st.randoms(use_true_random=False))
def test_the_order_of_the_traces_is_only_the_order_of_the_rows(traces: list[Trace], random: object) -> None:
    mixed = list(traces)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    for one, other, key in zip(
        derive_tables(traces), derive_tables(mixed), (["request_id"], ["request_id", "event"]), strict=True
    ):
        assert_frame_equal(one.sort_values(key, ignore_index=True), other.sort_values(key, ignore_index=True))


@fewer
@given(st.data())
def test_how_a_stream_is_split_changes_no_time(data: st.DataObject) -> None:
    """Each message is in pieces of its own; only the arrival of its last byte counts."""
    pieces: list[Timed] = []
    for ms, message in REASONED:
        cuts = sorted(data.draw(st.sets(st.integers(1, len(message) - 1), max_size=3)))
        bounds = [0, *cuts, len(message)]
        early = data.draw(st.floats(pieces[-1][0] if pieces else 0, ms))
        pieces += [(ms if end == len(message) else early, message[start:end]) for start, end in pairwise(bounds)]
    assert_frame_equal(derive_tables([trace(pieces)])[0], derive_tables([trace(REASONED)])[0])


def test_messages_that_share_a_segment_share_its_timestamp() -> None:
    joined: list[Timed] = [(ms, data) for ms, data in REASONED[:-3]]
    joined.append((151, b"".join(data for _, data in REASONED[-3:])))
    assert_frame_equal(derive_tables([trace(joined)])[0], derive_tables([trace(REASONED)])[0])


def test_the_lag_of_an_event_is_that_of_the_piece_which_completed_it() -> None:
    whole = answer() + DONE
    pieces = ((10, whole[:5]), (20, whole[5:]))
    reported = Trace(0, "measure", 0, 1, 2, 0.0, 200, pieces, 30, lags_ns=(7, 9))
    assert list(derive_tables([reported])[1]["lag_ns"]) == [9, 9]
    without_lags = Trace(0, "measure", 0, 1, 2, 0.0, 200, pieces, 30)
    assert derive_tables([without_lags])[1]["lag_ns"].isna().all()
