"""The rule on offered load, with loads that break it and loads that do not."""

from typing import Any

import pytest

from gptoss_bench.lint.results import Result
from gptoss_bench.lint.rules.open_loop import OPEN_LOOP_RULES
from gptoss_bench.lint.rules.rule import apply_rules
from gptoss_bench.runs.manifest import Manifest
from gptoss_bench.runs.request_table import derive_tables
from gptoss_bench.runs.summary import LoadSummary
from streams import two_slots

RULE = "offered-load-not-delivered"
BROKEN: list[tuple[str, dict[str, Any], str]] = [
    (RULE, {"client_queue_s": {"p99": 0.006}}, "requests were sent up to 6 ms (p99) after they were due"),
    (RULE, {"failures": {"over_limit": 7}}, "7 of 100 requests were due at the limit of requests in flight"),
    (RULE, {"lost": 7}, "7 of 100 requests were lost with their worker"),
]
WITHIN: list[tuple[str, dict[str, Any]]] = [
    (RULE, {"client_queue_s": {"p99": 0.004}}),  # within 5 % of the TTFT
    (RULE, {"client_queue_s": {"p99": 0.0009}, "ttft_s": {"p50": 0.001}}),  # a millisecond is never a finding
    (RULE, {"client_queue_s": {"p99": 1.0}, "rate_planned": None}),  # a closed loop
]


def evidence(parts: dict[str, Any]) -> list[str]:
    """Return the evidence of the findings about a load of 5 requests a second with a TTFT of 0.1 s."""
    summary = LoadSummary.model_validate({"requests": 100, "rate_planned": 5.0, "ttft_s": {"p50": 0.1}} | parts)
    requests = derive_tables(two_slots())[0]
    return [one.evidence for one in apply_rules(OPEN_LOOP_RULES, Result("", summary, requests, Manifest()))]


@pytest.mark.parametrize(("rule", "parts", "words"), BROKEN)
def test_a_load_that_the_server_did_not_get_is_a_finding(rule: str, parts: dict[str, Any], words: str) -> None:
    assert evidence(parts) == [words], rule


@pytest.mark.parametrize(("rule", "parts"), WITHIN)
def test_a_load_that_was_sent_when_it_was_due_is_none(rule: str, parts: dict[str, Any]) -> None:
    assert evidence(parts) == [], rule
