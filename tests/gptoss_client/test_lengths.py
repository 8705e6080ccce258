"""Distributions of lengths: their shape, and that a seed gives the same value again."""

from math import log
from statistics import fmean, median, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_client.errors import UsageError
from gptoss_client.lengths import MOST_LENGTH, parse_lengths
from gptoss_client.plan import LoadPlan

DRAWS = 4000


def drawn(text: str) -> list[int]:
    lengths = parse_lengths("prompt_tokens", text)
    return [lengths.draw_whole(f"seed:{number}") for number in range(DRAWS)]


def test_a_number_is_every_length() -> None:
    assert set(drawn("512")) == {512}


def test_uniform_lengths_fill_their_range_evenly() -> None:
    values = drawn("100-199")
    assert {min(values), max(values)} == {100, 199}
    # the mean of n draws has a standard error of 100 / sqrt(12 n): 4 of them
    assert fmean(values) == pytest.approx(149.5, abs=4 * 28.9 / DRAWS**0.5)


def test_lognormal_lengths_have_their_median_and_spread() -> None:
    logs = [log(value) for value in drawn("lognormal:5000:0.8")]
    assert median(logs) == pytest.approx(log(5000), abs=4 * 1.2533 * 0.8 / DRAWS**0.5)
    assert stdev(logs) == pytest.approx(0.8, abs=4 * 0.8 / (2 * DRAWS) ** 0.5)


def test_a_lognormal_distribution_ends_at_its_limit() -> None:
    values = drawn("lognormal:500:2:600")
    assert max(values) <= 600 and sum(value <= 500 for value in values) > DRAWS / 2


@given(
    st.integers(1, 10**6),
    st.integers(0, 10**6),
    st.floats(0, 5),
    st.sampled_from(["{low}", "{low}-{high}", "lognormal:{low}:{sigma:.3f}", "lognormal:{low}:{sigma:.3f}:{high}"]),
    st.text(max_size=20),
)
def test_any_distribution_gives_whole_numbers_within_it_and_the_same_again(low, more, sigma, form, seed) -> None:
    text = form.format(low=low, high=low + more, sigma=sigma)
    lengths = parse_lengths("prompt_tokens", text)
    value = lengths.draw_whole(seed)
    assert isinstance(value, int) and value == lengths.draw_whole(seed)
    assert 1 <= value <= (low if form == "{low}" else MOST_LENGTH if "high" not in form else low + more)
    if "lognormal" not in form:
        assert value >= low


@pytest.mark.parametrize(
    "text", ["", "many", "0", "-5", "10-5", "5-", "1e3", "lognormal", "lognormal:5", "lognormal:5:9", "99999999999"]
)
def test_a_text_that_is_no_length_is_refused_in_one_line(text) -> None:
    with pytest.raises(UsageError, match=r"^output_tokens '") as reported:
        LoadPlan(output_tokens=text)
    assert "\n" not in str(reported.value)


def test_a_lognormal_limit_below_the_median_is_refused() -> None:
    with pytest.raises(UsageError, match="must rise"):
        parse_lengths("prompt_tokens", "lognormal:500:1:400")
