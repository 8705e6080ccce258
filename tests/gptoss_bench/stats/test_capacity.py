"""A search for the capacity: which level comes next, and how often its interval holds the true capacity of a queue."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptoss_bench.runs import Capacity, CapacityGoal, CapacityLevel, Slo
from gptoss_bench.runs.request_table import REQUEST_COLUMNS
from gptoss_bench.stats.capacity import (
    BEGIN_SHARE,
    CAPACITY_MOST,
    CapacitySearch,
    capacity_curve,
    capacity_level,
    capacity_phase,
    capacity_table,
    capacity_text,
    evaluate_capacity,
    last_level,
    level_interval,
    next_level,
    price_text,
    usd_per_mtok_at,
)
from queue_simulation import Queue, true_capacity

GOAL = CapacityGoal()
SLO = Slo(ttft_s=0.5)
BY_STREAMS = CapacityGoal(by="concurrency")


def level(at: float, share: float, requests: int = 400, number: int = 1, **values) -> CapacityLevel:
    met = round(share * requests)
    bounds = {"met": met, "met_low": met, "met_high": met, "request_s": at, "tokens": 100.0}
    return CapacityLevel(phase=capacity_phase(at, number), level=at, requests=requests, **bounds | values)


def searched(share_at, search: CapacitySearch) -> list[CapacityLevel]:
    """The levels of a search on a server whose share of good requests is known at each level."""
    levels: list[CapacityLevel] = []
    while (planned := next_level(levels, search)) is not None:
        levels.append(share_at(planned.level, len(levels) + 1))
        assert len(levels) < 60
    return levels


def test_the_simulation_agrees_with_the_formula_of_one_exponential_server() -> None:
    queue = Queue(1, 0.02, exponential=True, limit_s=0.1)
    assert true_capacity(queue) == pytest.approx(50 - math.log(20) / 0.1, rel=0.01)


def test_both_ways_to_simulate_a_queue_agree() -> None:
    draw = np.random.default_rng(3)
    gaps, services = draw.exponential(0.03, 5000), draw.exponential(0.02, 5000)
    by_lindley = Queue(1, 0.02, exponential=True, limit_s=0.1).sojourns(gaps, services)
    wait, expected = 0.0, []
    for at, (gap, service) in enumerate(zip(gaps, services, strict=True)):
        wait = 0.0 if at == 0 else max(0.0, expected[-1] - gap)
        expected.append(wait + service)
    assert by_lindley == pytest.approx(np.array(expected))
    two = Queue(2, 0.02, exponential=True, limit_s=0.1).sojourns(gaps, services)
    assert (two <= by_lindley + 1e-9).all()
    assert (two < by_lindley - 1e-9).any()


@pytest.mark.parametrize(
    "queue",
    [
        Queue(1, 0.025, exponential=False, limit_s=0.1),
        Queue(1, 0.02, exponential=True, limit_s=0.1),
        Queue(4, 0.1, exponential=False, limit_s=0.2),
    ],
)
def test_the_interval_holds_the_true_capacity_of_a_simulated_queue(queue: Queue) -> None:
    truth, words, inside = true_capacity(queue, arrivals=1_000_000 if queue.servers == 1 else 300_000), [], 0
    for seed in range(100):
        found = evaluate_capacity(queue.search(seed, CapacitySearch(GOAL, level_s=60.0)), GOAL)
        words.append(found.word)
        inside += found.word == "carries" and found.low <= truth <= found.high
    assert words.count("carries") >= 90
    assert inside >= 0.85 * words.count("carries")  # 17 of 20


def test_it_doubles_halves_and_repeats_levels_on_both_sides() -> None:
    """A server whose odds of a miss are exactly those of the curve: the search ends where they are 1 : 19."""

    def share_at(at: float, number: int) -> CapacityLevel:
        return level(at, 1 / (1 + math.exp(math.log(1 / 19) + 12 * math.log(at / 20))), 10_000, number)

    levels = searched(share_at, CapacitySearch(GOAL))
    tried = [one.level for one in levels]
    assert tried[:6] == [1, 2, 4, 8, 16, 32]
    assert max(tried[8:]) > 20 > min(tried[8:])
    found = evaluate_capacity(levels, GOAL)
    assert found.word == "carries"
    assert found.low < 20 < found.high
    assert found.value == pytest.approx(20, rel=0.01)
    assert found.slope == pytest.approx(12, rel=0.05)
    curve = capacity_curve(found, np.array([5.0, found.value]))
    assert curve == pytest.approx([1.0, 0.95], abs=1e-3)
    assert found.output_tok_s == pytest.approx(100 * found.value)
    assert usd_per_mtok_at(found, 3.6) == pytest.approx(3.6 / (found.output_tok_s * 3600) * 1e6)
    text = capacity_text(found, Slo(ttft_s=0.5, tpot_s=0.03))
    assert text.startswith("this server carries 20.0 [19.")
    assert text.endswith("requests/s within the SLO (95 % of requests: TTFT ≤ 0.5 s, TPOT ≤ 0.03 s)")
    assert "3.6 USD per hour 1 million cost 0.5" in price_text(found, 3.6)


def test_levels_by_streams_are_whole_numbers() -> None:
    levels = searched(lambda at, number: level(at, 1.0 if at <= 7 else 0.5, 100, number), CapacitySearch(BY_STREAMS))
    assert all(one.level == round(one.level) for one in levels)
    assert {7.0, 8.0} <= {one.level for one in levels}
    found = evaluate_capacity(levels, BY_STREAMS)
    assert found.low <= 7.99
    assert found.high >= 7


def test_where_the_client_is_the_limit_the_answer_is_at_least() -> None:
    late = "requests were sent up to 80 ms (p99) after they were due"

    def share_at(at: float, number: int) -> CapacityLevel:
        return level(at, 1.0, number=number) if at < 40 else level(at, 0.2, number=number, limited=[late])

    found = evaluate_capacity(searched(share_at, CapacitySearch(GOAL)), GOAL)
    assert found.word == "at least"
    assert 30 < found.low < 40
    assert "the client, not the server, was the limit: " + late in capacity_text(found, SLO)


def test_a_level_that_the_client_limited_once_is_tried_again() -> None:
    levels = [level(1, 1.0), level(2, 1.0, limited=["late"])]
    again = next_level(levels, CapacitySearch(GOAL))
    assert again is not None
    assert again.level == 2
    planned = next_level([*levels, level(2, 1.0)], CapacitySearch(GOAL))
    assert planned is not None
    assert planned.level == 4


def test_the_limit_of_requests_in_flight_is_the_clients_only_while_requests_are_good() -> None:
    full = level(64, 1.0, over_limit=9)
    assert evaluate_capacity([level(32, 1.0), full], GOAL).why == "the search ended before a level missed the SLO"
    found = evaluate_capacity([level(32, 1.0), full, full, full], GOAL)
    assert (found.word, found.low) == ("at least", 32)
    assert "9 requests were due at the limit of requests in flight (--max-in-flight)" in found.why
    overloaded = level(64, 0.1, over_limit=9)
    assert evaluate_capacity([level(32, 1.0), overloaded], GOAL).word == "between"


def test_a_server_that_meets_it_nowhere_carries_less_than_the_lowest_level() -> None:
    levels = searched(lambda at, number: level(at, 0.0, number=number), CapacitySearch(GOAL))
    assert min(one.level for one in levels) == pytest.approx(1 / 64, rel=0.01)
    found = evaluate_capacity(levels, GOAL)
    assert found.word == "less than"
    assert "less than 0.0156 requests/s" in capacity_text(found, SLO)


def test_a_client_that_is_always_the_limit_cannot_tell() -> None:
    levels = searched(
        lambda at, number: level(at, 0.5, number=number, limited=["it was busy 99%"]), CapacitySearch(GOAL)
    )
    found = evaluate_capacity(levels, GOAL)
    assert found.word == "cannot tell"
    assert "it was busy 99%" in capacity_text(found, SLO)
    assert price_text(found, 2.0).startswith("the price of tokens is unknown")
    assert capacity_text(evaluate_capacity([], GOAL), SLO).endswith("cannot be told: no level was measured")


def test_the_load_at_the_end_of_a_search_lasts_until_enough_requests_have_arrived() -> None:
    short = CapacitySearch(GOAL, level_s=3.0)
    assert last_level(1.0, short).duration_s == 60.0
    assert last_level(1.23456, short).level == 1.23
    assert last_level(40.0, short).duration_s == 3.0


@settings(deadline=None, max_examples=150)
@given(
    st.lists(
        st.tuples(st.sampled_from([1.0, 2.0, 3.5, 4.0, 8.0]), st.integers(0, 50), st.integers(0, 50), st.booleans())
    )
)
def test_any_levels_give_a_sentence_and_a_next_level(drawn) -> None:
    for goal in (GOAL, BY_STREAMS, CapacityGoal(share=0.5)):
        levels = [
            level(at, 0.0, met + missed, number, met=met, limited=["late"] if limited else [])
            for number, (at, met, missed, limited) in enumerate(drawn, start=1)
        ]
        planned = next_level(levels, CapacitySearch(goal))
        assert planned is None or (0 < planned.level <= CAPACITY_MOST and planned.duration_s > 0)
        found = evaluate_capacity(levels, goal)
        assert capacity_text(found, SLO)
        assert found.word != "carries" or found.low <= found.value <= found.high
        assert Capacity.model_validate(found.document()) == found


@given(st.integers(1, 5000), st.floats(0, 1), st.floats(1, 30))
def test_the_interval_of_a_level_holds_its_share_and_is_wider_only_near_the_capacity(n, share, dispersion) -> None:
    found = Capacity(goal=GOAL, value=20.0, slope=12.0, dispersion=dispersion)
    for at in (20.0, 5.0):
        one = level(at, share, n)
        low, high = level_interval(one, found)
        apart = level_interval(one, Capacity(goal=GOAL))
        assert 0 <= low <= one.share + 1e-9 and one.share - 1e-9 <= high <= 1
        assert low <= apart[0] + 1e-9 and high >= apart[1] - 1e-9
        assert at == 20.0 or (low, high) == apart


def test_the_interval_of_a_level_is_wilsons() -> None:
    # 81 of 263: Newcombe, Statistics in Medicine 17 (1998), table I, method 3
    assert level_interval(level(1.0, 81 / 263, 263), Capacity(goal=GOAL)) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert level_interval(level(1.0, 0.0, 0), Capacity(goal=GOAL)) is None


def test_the_table_has_the_levels_by_load_and_why_one_is_no_evidence() -> None:
    levels = [level(4, 0.5, 200, limited=["it was late"]), level(1, 1.0, 100), level(2, 0.0, 0, request_s=None)]
    table = capacity_table(Capacity(goal=BY_STREAMS, levels=levels))
    assert list(table)[:2] == ["requests in flight", "requests"]
    assert table.to_numpy().tolist() == [
        ["1", "100", "100.0%", "1", "0", ""],
        ["2", "0", "–", "–", "0", "no request counts"],
        ["4", "200", "50.0%", "4", "0", "it was late"],
    ]


def requests_of(ttft_s: list[float | None], **columns) -> pd.DataFrame:
    """One request each 10 ms, of these TTFTs; None failed."""
    count = len(ttft_s)
    table = pd.DataFrame({name: pd.Series([None] * count, dtype="object") for name in REQUEST_COLUMNS})
    table["request_id"], table["phase"] = range(count), "capacity-12.5-3"
    table["scheduled_ns"] = table["sent_ns"] = [number * 10_000_000 for number in range(count)]
    table["outcome"] = ["failed" if one is None else "completed" for one in ttft_s]
    for name in ("ttft_s", "ttft_low_s", "ttft_high_s", "e2e_s"):
        table[name] = pd.Series(ttft_s, dtype="float64")
    for name in ("tpot_s", "tpot_low_s", "tpot_high_s", "client_queue_s", "connect_s"):
        table[name] = pd.Series([0.0] * count, dtype="float64")
    table["completion_tokens"] = 5
    return table.assign(**columns)


def test_a_level_counts_its_steady_part_only() -> None:
    begin = round(BEGIN_SHARE * 100)
    found = capacity_level(
        requests_of([9.0] * begin + [0.1] * 50 + [None] + [9.0] * (50 - begin)), "capacity-12.5-3", SLO, "rate", 0.1
    )
    assert (found.level, found.requests, found.failed, found.met) == (12.5, 61, 1, 50)
    assert found.tokens == 5
    assert found.limited == []


def test_a_level_knows_what_the_client_leaves_open() -> None:
    table = requests_of([0.6] * 101, ttft_low_s=0.4)
    found = capacity_level(table, "capacity-12.5-3", SLO, "rate", 0.9)
    assert (found.met, found.met_low, found.met_high) == (0, 0, 61)
    assert found.limited == [
        "the client was busy 90% of the time",
        "its timestamps leave open for 61 requests whether they met the SLO",
    ]
    late = capacity_level(requests_of([0.1] * 101, client_queue_s=0.2), "capacity-12.5-3", SLO, "rate", None)
    assert late.limited == ["requests were sent up to 200 ms (p99) after they were due"]


def test_an_unknown_tpot_meets_its_limit_if_its_upper_bound_does() -> None:
    for high_s, met in ((0.02, 61), (0.04, 0)):
        table = requests_of([0.1] * 101, tpot_s=np.nan, tpot_low_s=0.01, tpot_high_s=high_s)
        found = capacity_level(table, "capacity-12.5-3", Slo(tpot_s=0.03), "rate", None)
        assert (found.met, found.met_low) == (met, met)
