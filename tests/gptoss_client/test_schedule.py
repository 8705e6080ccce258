"""Arrival times of an open loop: their rate, their spread, and that a seed gives the same ones again."""

from itertools import pairwise
from statistics import fmean, pstdev

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from gptoss_client.errors import UsageError
from gptoss_client.plan import LoadPlan
from gptoss_client.schedule import arrival_offsets, parse_rate, rate_seconds


def offsets(rate: str, requests: int | None = None, duration_s: float | None = None, **more) -> list[float]:
    chosen = {"arrivals": "poisson", "burstiness": 1.0, "seed": 0} | more
    return list(arrival_offsets(rate, requests=requests, duration_s=duration_s, **chosen))


def spread_of_gaps(times: list[float]) -> float:
    gaps = [later - earlier for earlier, later in pairwise(times)]
    return pstdev(gaps) / fmean(gaps)


def test_constant_arrivals_have_equal_gaps_and_begin_at_once() -> None:
    assert offsets("4", requests=5, arrivals="constant") == pytest.approx([0, 0.25, 0.5, 0.75, 1.0])


def test_the_spread_of_the_gaps_is_that_of_the_distribution() -> None:
    # coefficient of variation: 1 for exponential gaps, 1/sqrt(shape) for gamma gaps; within 4 standard errors
    assert spread_of_gaps(offsets("50", requests=20_000)) == pytest.approx(1.0, abs=0.04)
    assert spread_of_gaps(offsets("50", requests=20_000, arrivals="gamma", burstiness=4.0)) == pytest.approx(
        0.5, abs=0.02
    )
    assert spread_of_gaps(offsets("50", requests=20_000, arrivals="gamma", burstiness=0.25)) == pytest.approx(
        2.0, abs=0.15
    )


def test_steps_have_their_rates_and_the_last_one_goes_on() -> None:
    times = offsets("10:3,40:2,20", duration_s=10.0, arrivals="constant")
    counts = [sum(begin <= at < end for at in times) for begin, end in ((0, 3), (3, 5), (5, 10))]
    assert counts == [30, 80, 100]
    assert rate_seconds("10:3,40:2") == 5.0
    assert rate_seconds("20") is None


def test_a_ramp_has_the_area_under_its_rate() -> None:
    # from 10/s to 50/s within 4 s: 40 requests in the first 2 s (mean rate 20), 80 in the second (mean rate 40)
    times = offsets("10-50:4", duration_s=4.0, arrivals="constant")
    assert [sum(at < 2 for at in times), sum(at >= 2 for at in times)] == [40, 80]


def test_a_ramp_down_to_nothing_ends_the_arrivals() -> None:
    assert len(offsets("20-0:10", duration_s=60.0, arrivals="constant")) == pytest.approx(100, abs=1)
    with pytest.raises(UsageError, match="ends after 10"):
        offsets("20-0:10", requests=2000, arrivals="constant")


@given(
    steps=st.lists(st.tuples(st.floats(0.5, 200), st.floats(0.5, 200), st.floats(0.1, 5)), min_size=1, max_size=4),
    seed=st.integers(0, 2**32),
    arrivals=st.sampled_from(["poisson", "constant", "gamma"]),
)
@settings(max_examples=60, deadline=None)
def test_any_rate_gives_rising_times_within_the_plan_and_the_same_again(steps, seed, arrivals) -> None:
    rate = ",".join(f"{begin:.3f}-{end:.3f}:{seconds:.3f}" for begin, end, seconds in steps)
    duration_s = sum(seconds for _, _, seconds in steps) + 1
    try:
        times = offsets(rate, duration_s=duration_s, seed=seed, arrivals=arrivals)
    except UsageError:
        event("no request is due")
        return
    assert times == sorted(times)
    assert times[0] >= 0 and times[-1] < duration_s
    assert times == offsets(rate, duration_s=duration_s, seed=seed, arrivals=arrivals)
    if arrivals == "constant":
        expected = sum(step.requests for step in parse_rate(rate)[:-1]) + parse_rate(rate)[-1].begin
        assert len(times) == pytest.approx(expected, abs=1.01)


@pytest.mark.parametrize("text", ["", "0", "-5", "5:0", "5,10", "5-10", "fast", "1e3", "5:10,,6", "9" * 40, "5:x"])
def test_a_rate_that_cannot_be_read_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match="write 12, steps such as"):
        parse_rate(text)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rate": "5", "sweep": (1, 2)}, "rate or sweep"),
        ({"rate": "5", "arrivals": "poison"}, "did you mean 'poisson'"),
        ({"rate": "5", "burstiness": 0.5}, "burstiness 0.5 needs arrivals 'gamma'"),
        ({"rate": "5", "max_in_flight": 0}, "max_in_flight must be 1 or more"),
    ],
)
def test_a_plan_refuses_what_does_not_fit_an_open_loop(fields, message) -> None:
    with pytest.raises(UsageError, match=message):
        LoadPlan(**fields)


def test_too_many_arrivals_are_refused_before_anything_is_sent(monkeypatch) -> None:
    monkeypatch.setattr("gptoss_client.schedule.MOST_ARRIVALS", 1000)
    with pytest.raises(UsageError, match="more than 1,000 requests"):
        LoadPlan(rate="1000", requests=None, duration_s=3600.0).arrival_offsets()
