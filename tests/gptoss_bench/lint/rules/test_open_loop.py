"""The rule on offered load, with a load that breaks it and one that does not."""

import pytest

from gptoss_bench.lint.results import Result
from gptoss_bench.lint.rules.open_loop import OPEN_LOOP_RULES
from gptoss_bench.lint.rules.rule import apply_rules
from gptoss_bench.runs.manifest import Manifest
from gptoss_bench.runs.request_table import derive_tables
from gptoss_bench.runs.summary import LoadSummary
from streams import two_slots


def evidence(late_s: float, **more) -> list[str]:
    summary = LoadSummary.model_validate(
        {"requests": 100, "rate_planned": 5.0, "client_queue_s": {"p99": late_s}, "ttft_s": {"p50": 0.1}} | more
    )
    requests = derive_tables(two_slots())[0]
    return [one.evidence for one in apply_rules(OPEN_LOOP_RULES, Result("", summary, requests, Manifest()))]


def test_a_load_that_was_sent_when_it_was_due_breaks_no_rule() -> None:
    assert evidence(0.004) == []  # within 5 % of the TTFT


def test_late_sends_are_a_finding() -> None:
    assert evidence(0.006) == ["requests were sent up to 6 ms (p99) after they were due"]


def test_a_short_delay_is_none_even_beside_a_very_short_ttft() -> None:
    assert evidence(0.0009, ttft_s={"p50": 0.001}) == []


def test_requests_above_the_limit_are_a_finding() -> None:
    assert evidence(0.0, failures={"over_limit": 7}) == [
        "7 of 100 requests were due at the limit of requests in flight"
    ]


@pytest.mark.parametrize("late_s", [0.0, 1.0])
def test_a_closed_loop_is_not_judged(late_s: float) -> None:
    assert evidence(late_s, rate_planned=None) == []
