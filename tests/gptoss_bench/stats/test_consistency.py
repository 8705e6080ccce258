"""The arithmetic on printed figures: exact on the published ones, and able to say no."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_bench.claims.schema import load_write_up
from gptoss_bench.stats.consistency import CONSISTENCY_CHECKS, ConsistencyCheck, PrintedFigure

WRITE_UP = load_write_up()
DERIVED = {one.derived_id: one for one in WRITE_UP.derived}
PRINTED = {c.claim_id: c.printed for c in WRITE_UP.claims if c.published.value is not None} | {
    derived_id: one.printed for derived_id, one in DERIVED.items()
}
CLAIMS = WRITE_UP.by_id
# By claim or derived number: the check and where its inputs come from.
ARITHMETIC = {
    claim_id: (claim.arguments.check, claim.arguments.inputs)
    for claim_id, claim in CLAIMS.items()
    if claim.decider == "arithmetic"
} | {derived_id: (one.check, one.inputs) for derived_id, one in DERIVED.items()}


def figures(claim_id: str) -> dict[str, PrintedFigure]:
    return {name: PRINTED[source] for name, source in ARITHMETIC[claim_id][1].items()}


def check(claim_id: str, **changed: float) -> ConsistencyCheck:
    """The check behind a claim, with some of the published values changed."""
    inputs = figures(claim_id)
    inputs |= {name: replace(inputs[name], value=value) for name, value in changed.items()}
    relative = CLAIMS[claim_id].tolerance.relative if claim_id in CLAIMS else 0.0
    return CONSISTENCY_CHECKS[ARITHMETIC[claim_id][0]](**inputs, **({"tolerance": relative} if relative else {}))


# What each check gives on the published figures, worked out by hand.
COMPUTED = {
    "C31-requests": 29.9 * 66.89,
    "C32-concurrency": 8.561873,
    "C33-max-tokens": 255.693714,
    "C36-rate-is-consistent": 29.899835,
    "C38-tokens-per-request": 255.693714,
    "C39-progress-rate": 29.899835,
    "C40-progress-time": 66.844920,
    "C47-ttft-was-measured": 88 / 344,
    "C48-prompt-tokens": 87.997129,
    "C49-none-failed": 0.0,
}
# For each, a figure changed so that it no longer fits the others.
BROKEN = {
    "C31-requests": {"printed": 2010},
    "C32-concurrency": {"concurrency": 128},
    "C33-max-tokens": {"cap": 255},
    "C36-rate-is-consistent": {"printed": 30.1},
    "C38-tokens-per-request": {"printed": 250.0},
    "C39-progress-rate": {"printed": 29.70},
    "C40-progress-time": {"printed": 67},
    "C47-ttft-was-measured": {"ttft_p99": 3.700},
    "C48-prompt-tokens": {"ttft_p90": 2.880},
    "C49-none-failed": {"finished": 1999},
}


def test_every_arithmetic_claim_is_worked_out_here():
    assert ARITHMETIC.keys() == COMPUTED.keys() == BROKEN.keys()


@pytest.mark.parametrize("claim_id", COMPUTED)
def test_the_published_figures_agree_and_give_these_numbers(claim_id):
    found = check(claim_id)
    assert found.holds
    assert found.computed == pytest.approx(COMPUTED[claim_id], rel=1e-7)
    assert found.low <= found.computed <= found.high


@pytest.mark.parametrize("claim_id", BROKEN)
def test_a_figure_that_does_not_fit_is_noticed(claim_id):
    assert not check(claim_id, **BROKEN[claim_id]).holds


# Values at the edge of what passes, as the checks state their power.
POWER = {
    "C32-concurrency": ("fewer than 141 ", {"concurrency": 141}, {"concurrency": 140}),
    "C33-max-tokens": ("below 256;", {"cap": 256}, {"cap": 255}),
    "C31-requests": ("outside 1996.5 to 2003.5", {"printed": 2003}, {"printed": 2004}),
    "C40-progress-time": ("other than 66 to 66", {"printed": 66}, {"printed": 65}),
    "C49-none-failed": ("other than 2000", {"finished": 2000}, {"finished": 1999}),
}


@pytest.mark.parametrize("claim_id", POWER)
def test_a_check_states_what_would_have_failed(claim_id):
    words, passes, fails = POWER[claim_id]
    assert words in check(claim_id).fails
    assert check(claim_id, **passes).holds and not check(claim_id, **fails).holds


def test_the_median_of_the_share_is_reported_and_not_checked():
    [step] = [step for step in check("C47-ttft-was-measured").steps if step.startswith("p50")]
    assert "0.25705" in step and "254.4 tokens" in step
    assert check("C47-ttft-was-measured", ttft_p50=1.0).holds


def test_the_bar_cannot_run_longer_than_the_test_that_it_is_inside_of():
    assert not check("C39-progress-rate", wall=66.80).holds


def test_little_bounds_the_mean_and_says_so_of_the_median():
    steps = check("C32-concurrency").steps
    assert "at most" in steps[0]
    assert "4.69 s" in steps[1]
    assert "3.2% above" in steps[2]
    assert "below" in check("C32-concurrency", p50=8.0).steps[2]


def test_the_missing_tokens_say_how_many_answers_were_cut():
    steps = check("C38-tokens-per-request").steps
    assert "613 are missing" in steps[1]
    assert "at least 67%" in steps[2]


def test_no_prompt_length_is_left_where_the_tails_disagree():
    found = check("C48-prompt-tokens", ttft_p99=3.7)
    assert not found.holds
    assert found.steps[-1].endswith("none")


@given(
    prompt=st.integers(1, 2000),
    cap=st.integers(16, 2000),
    p90=st.floats(1, 50),
    tail=st.floats(1, 3),
    places=st.integers(3, 6),
)
def test_rounded_latencies_always_fit_the_formula_that_made_the_ttft(prompt, cap, p90, tail, places):
    step = 10.0**-places

    def printed(value: float) -> PrintedFigure:
        return PrintedFigure(round(value, places), step * (1 + 1e-6))

    share = prompt / (prompt + cap)
    inputs = {
        "ttft_p90": printed(share * p90),
        "latency_p90": printed(p90),
        "ttft_p99": printed(share * p90 * tail),
        "latency_p99": printed(p90 * tail),
        "cap": PrintedFigure(cap),
    }
    medians = {"ttft_p50": printed(share * p90 / 2), "latency_p50": printed(p90 / 2)}
    assert CONSISTENCY_CHECKS["prompt_share"](**inputs, **medians, prompt=PrintedFigure(prompt)).holds
    lengths = CONSISTENCY_CHECKS["prompt_tokens"](**inputs, printed=PrintedFigure(prompt))
    assert lengths.low <= prompt <= lengths.high


@given(requests=st.integers(1, 10**6), wall=st.floats(0.5, 10**5))
def test_a_rate_printed_from_requests_and_time_always_fits_them(requests, wall):
    inputs = {"requests": PrintedFigure(requests), "wall": PrintedFigure(round(wall, 2), 0.01 * (1 + 1e-6))}
    assert CONSISTENCY_CHECKS["rate"](
        **inputs, printed=PrintedFigure(round(requests / wall, 1), 0.1 * (1 + 1e-6))
    ).holds
