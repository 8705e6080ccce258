"""What the client's timestamps allow for the times of requests, from events drawn by hand."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_bench.runs.arrival_bounds import EventRows, gap_bounds, time_per_output_token
from gptoss_bench.runs.request_table import derive_tables
from streams import DONE, MS, answer, counted, finish, role, row, thought, trace, usage

TIMES = ("ttft", "ttfa", "e2e", "done", "tpot")


def bounded(timed, early_ms):
    """The row of a trace whose pieces are known to have been absent `early_ms` before their arrivals."""
    one = trace(timed)
    not_before = tuple(at - round(early * MS) for (at, _), early in zip(one.pieces, early_ms, strict=True))
    return derive_tables([trace(timed, not_before_ns=not_before, read_marks="0" * len(timed))])


def test_each_time_has_the_bounds_of_its_own_event():
    timed = [(10, thought()), (20, answer()), (40, answer()), (44, finish() + usage(3) + DONE)]
    requests, events = bounded(timed, [4, 0, 8, 1])
    found = requests.iloc[0]
    pairs = {name: (found[f"{name}_low_s"], found[f"{name}_high_s"]) for name in TIMES}
    assert pairs["ttft"] == pytest.approx((0.006, 0.010))
    assert pairs["ttfa"] == pytest.approx((0.020, 0.020))
    assert pairs["e2e"] == pytest.approx((0.032, 0.040))
    assert pairs["done"] == pytest.approx((0.043, 0.044))
    assert pairs["tpot"] == pytest.approx(((0.032 - 0.010) / 2, (0.040 - 0.006) / 2))
    gaps = events[events["output"]]
    assert gaps["itl_low_s"].tolist()[1:] == pytest.approx([0.010, 0.012])
    assert gaps["itl_high_s"].tolist()[1:] == pytest.approx([0.014, 0.020])


def test_events_of_one_late_read_may_have_come_at_any_time_within_it():
    timed = [(100, answer() + answer() + answer()), (101, usage(3) + DONE)]
    requests, events = bounded(timed, [90, 0])
    assert events["itl_low_s"].tolist()[1:3] == [0.0, 0.0]
    assert events["itl_high_s"].tolist()[1:3] == pytest.approx([0.090, 0.090])
    assert (requests["ttft_low_s"][0], requests["tpot_high_s"][0]) == pytest.approx((0.010, 0.045))


def test_a_run_without_intervals_has_no_bounds():
    requests, events = derive_tables([trace([(10, answer()), (20, answer()), (30, usage(2)), (30, DONE)])])
    assert requests["tpot_s"][0] == pytest.approx(0.010)
    assert requests[[f"{name}_{side}_s" for name in TIMES for side in ("low", "high")]].isna().all(axis=None)
    assert events[["itl_low_s", "itl_high_s"]].isna().all(axis=None)


def test_where_the_first_event_has_an_unknown_number_of_tokens_tpot_has_two_bounds():
    timed = [(10, role()), (40, answer()), (100, answer()), (160, answer()), (170, finish()), (170, usage(9))]
    found = row(trace([*timed, (170, DONE)]))
    assert np.isnan(found["tpot_s"])
    assert (found["tpot_low_s"], found["tpot_high_s"]) == pytest.approx((0.120 / 8, 0.130 / 2))


@pytest.mark.parametrize(
    "timed",
    [
        pytest.param([(40, answer(usage=counted(5))), (90, finish()), (90, usage(6))], id="one event"),
        pytest.param([(40, answer()), (50, answer()), (60, answer()), (90, usage(2))], id="more events than tokens"),
    ],
)
def test_tpot_is_unknown(timed):
    found = row(trace([*timed, (95, DONE)]))
    assert found[["tpot_s", "tpot_low_s", "tpot_high_s"]].isna().all()


@st.composite
def arrivals(draw):
    """Output events of two requests: true arrivals, and intervals that hold them."""
    count = draw(st.integers(2, 12))
    true = np.cumsum(draw(st.lists(st.integers(0, 50), min_size=count, max_size=count))) + 1000
    late = np.array(draw(st.lists(st.integers(0, 40), min_size=count, max_size=count)))
    early = np.array(draw(st.lists(st.integers(0, 40), min_size=count, max_size=count)))
    arrival = np.maximum.accumulate(true + late)
    not_before = np.minimum.accumulate((true - early)[::-1])[::-1]
    split = draw(st.integers(1, count - 1))
    return true, arrival, not_before, np.repeat([0, 1], [split, count - split])


@given(arrivals())
def test_the_true_times_lie_within_the_bounds(drawn):
    true, arrival, not_before, owner = drawn
    known = pd.array(not_before, dtype="Int64")
    events = pd.DataFrame({"arrival_ns": arrival, "not_before_ns": known, "output": True, "kind": "output"})
    seen = EventRows(events.assign(tokens=pd.array([1] * len(true), "Int32")), owner, 2)
    total = np.bincount(owner)
    tpot = time_per_output_token(seen, pd.Series(total, dtype="Int32"))
    everything = np.ones(len(true), dtype=bool)
    low, high = seen.first(seen.not_before, everything), seen.first(seen.arrival, everything)
    for request in (0, 1):
        mine = true[owner == request]
        assert low[request] <= mine[0] <= high[request]
        if total[request] > 1:
            exact = (mine[-1] - mine[0]) / 1e9 / (total[request] - 1)
            assert tpot.low[request] - 1e-12 <= exact <= tpot.high[request] + 1e-12
    before, after = np.arange(len(true) - 1), np.arange(1, len(true))
    least, most = gap_bounds(arrival, known, before, after)
    gaps = np.diff(true) / 1e9
    assert (least <= gaps + 1e-12).all()
    assert (gaps <= most + 1e-12).all()
