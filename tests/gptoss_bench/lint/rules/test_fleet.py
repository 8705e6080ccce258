"""The rules on a load of several workers, with loads that break them and loads that do not."""

from typing import Any

import pytest

from gptoss_bench.lint.results import Result
from gptoss_bench.lint.rules.fleet import FLEET_RULES
from gptoss_bench.lint.rules.rule import apply_rules
from gptoss_bench.runs.manifest import Manifest
from gptoss_bench.runs.request_table import derive_tables
from gptoss_bench.runs.summary import LoadSummary

WORKERS = [{"shard": 0, "slots": 4}, {"shard": 1, "slots": 4}]
GONE = [{"shard": 0, "slots": 4}, {"shard": 1, "slots": 4, "gone": "its process ended"}]
APART, LOST = "start-not-together", "worker-lost"
BROKEN: list[tuple[str, dict[str, Any], str]] = [
    (APART, {"start_spread_s": 0.006, "clock_bound_s": 0.0001}, "workers began 6 ms apart; 5 ms would be allowed"),
    (LOST, {"workers": GONE}, "worker 1 of 2: its process ended; 7 requests lost"),
]
WITHIN: list[tuple[str, dict[str, Any]]] = [
    (APART, {"start_spread_s": 0.004, "clock_bound_s": 0.0001}),
    (APART, {"start_spread_s": 0.02, "clock_bound_s": 0.03}),  # the clocks may explain it
    (APART, {}),  # nothing was sent
    (LOST, {}),
]


def found(parts: dict[str, Any]) -> list[tuple[str, str]]:
    summary = LoadSummary.model_validate({"requests": 100, "lost": 7, "ttft_s": {"p50": 0.1}} | parts)
    result = Result("", summary, derive_tables([])[0], Manifest())
    return [(one.rule, one.evidence) for one in apply_rules(FLEET_RULES, result)]


@pytest.mark.parametrize(("rule", "fleet", "words"), BROKEN)
def test_what_workers_did_wrong_is_a_finding(rule: str, fleet: dict[str, Any], words: str) -> None:
    assert found({"fleet": {"workers": WORKERS} | fleet}) == [(rule, words)]


@pytest.mark.parametrize(("rule", "fleet"), WITHIN)
def test_what_workers_did_right_is_none(rule: str, fleet: dict[str, Any]) -> None:
    assert found({"fleet": {"workers": WORKERS} | fleet}) == [], rule


def test_a_load_of_one_process_breaks_none() -> None:
    assert found({}) == []
