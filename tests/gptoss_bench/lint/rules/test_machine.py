"""Rules on machine and server, each with a summary that breaks it and one that does not."""

from typing import Any

import pandas as pd
import pytest

from gptoss_bench.lint.results import Result
from gptoss_bench.lint.rules.machine import MACHINE_RULES
from gptoss_bench.lint.rules.rule import apply_rules
from gptoss_bench.runs.manifest import Manifest
from gptoss_bench.runs.phases import PHASE_AFTER, PHASE_INFERENCE
from gptoss_bench.runs.request_table import derive_tables
from gptoss_bench.runs.summary import LoadSummary
from gptoss_bench.stats.agreement import FIRST_EVENT
from streams import two_slots

ROW = {"statistic": "p50", "unit": "s", "client": 0.5, "server_low": 0.04, "server_high": 0.06, "agrees": True}
ROW |= {"apart": 0.0, "error": 0.1, "client_n": 6, "server_n": 6, "basis": "counters"}


KEPT = ("agreement", "server_metrics", "telemetry", "client", "stalls", "slot_idle_share", "ttft_s")


def summary(**parts: Any) -> dict[str, Any]:
    """Return the summary of a quiet machine with one GPU and a server that agrees."""
    gpu = {"throttled_share": {}, "by_phase": {PHASE_INFERENCE: {"other_processes_max": 0}}} | parts.get("gpu", {})
    host = {"steal_share": 0.0, "cpu_share": 0.4} | parts.get("host", {})
    hosts = {PHASE_INFERENCE: host, PHASE_AFTER: {"cpu_share": 1.0}}
    made: dict[str, Any] = {
        "agreement": [{"quantity": FIRST_EVENT, **ROW} | parts.get("row", {})],
        "server_metrics": {"counts": {"requests": 6.0} | parts.get("counts", {})},
        "telemetry": {
            "engine_here": True,
            "gpu": gpu,
            "host": {"by_phase": hosts},
        },
    }
    return made | {name: parts[name] for name in KEPT if name in parts}


def findings(found: dict[str, Any]) -> dict[str, Any]:
    requests: pd.DataFrame = derive_tables(two_slots())[0]  # six requests
    return {
        finding.rule: finding
        for finding in apply_rules(MACHINE_RULES, Result("", LoadSummary.model_validate(found), requests, Manifest()))
    }


def test_a_quiet_machine_breaks_no_rule() -> None:
    assert findings(summary()) == {}


def test_a_run_without_telemetry_breaks_no_rule() -> None:
    assert findings({}) == {}


def test_missing_telemetry_is_noted() -> None:
    found = findings({"agreement": [], "server_metrics": {"words": "no /metrics"}, "telemetry": {"words": "it died"}})
    assert {name: one.severity for name, one in found.items()} == {
        "no-server-metrics": "note",
        "no-machine-telemetry": "note",
    }
    assert "no /metrics" in found["no-server-metrics"].evidence
    assert "it died" in found["no-machine-telemetry"].evidence


def uncertain(low: float) -> dict[str, Any]:
    """A TTFT whose p99 of 1 s may also be `low`."""
    return {"ttft_s": {"n": 2000, "p99": 1.0, "low": {"p99": low}, "high": {"p99": 1.0}}}


BROKEN = [
    ("arrivals-uncertain", uncertain(0.94), "TTFT p99 0.94 to 1 s"),
    ("client-stalled", {"stalls": {"count": 2, "total_s": 0.6, "longest_s": 0.57}}, "0.6 s in total, 0.57 s at most"),
    ("slots-idle", {"slot_idle_share": 0.156}, "15.6% of the time"),
    ("client-bound-unknown", {"client": {"timestamp_source": "kernel"}}, "made before arrivals were intervals"),
    (
        "server-and-client-disagree",
        {"row": {"agrees": False}},
        "the client measured 0.5 s, the server reports 0.04 to 0.06 s",
    ),
    ("server-and-client-disagree", {"row": {"agrees": False, "server_high": None}}, "the server reports over 0.04 s"),
    ("server-shared", {"counts": {"requests": 9.0}}, "completed 9 requests while this run sent it 6"),
    ("prompts-from-cache", {"counts": {"prefix_cache_queries": 100.0, "prefix_cache_hits": 80.0}}, "80% of the"),
    ("prompts-from-cache", {"counts": {"prompt_tokens": 50.0, "prompt_tokens_cached": 50.0}}, "50% of the"),
    ("gpu-throttled", {"gpu": {"throttled_share": {"power cap": 0.4}}}, "power cap in 40% of the samples"),
    ("gpu-shared", {"gpu": {"by_phase": {PHASE_INFERENCE: {"other_processes_max": 2}}}}, "2 processes"),
    ("gpu-lost", {"gpu": {"devices": [{"name": "a GPU"}], "words": "the GPU was lost"}}, "the GPU was lost"),
    ("cpu-stolen", {"host": {"steal_share": 0.11}}, "11.0% of this machine's CPU"),
    ("cpu-full", {"host": {"cpu_share": 0.99}}, "99% busy"),
    ("no-server-metrics", {"agreement": [], "server_metrics": {"words": "no /metrics"}}, "no /metrics"),
    ("no-machine-telemetry", {"telemetry": {"words": "it died"}}, "it died"),
]
WITHIN: list[tuple[str, dict[str, Any]]] = [
    ("arrivals-uncertain", uncertain(0.96)),
    ("client-stalled", {"stalls": {"count": 0}}),
    ("slots-idle", {"slot_idle_share": 0.019}),
    ("client-bound-unknown", {"client": {"timestamp_source": "kernel"}} | uncertain(0.99)),
    ("server-and-client-disagree", {"row": {"agrees": None}}),
    ("server-shared", {"counts": {"requests": 5.0}}),
    ("prompts-from-cache", {"counts": {"prefix_cache_queries": 0.0, "prefix_cache_hits": 0.0}}),
    ("prompts-from-cache", {"counts": {"prompt_tokens": 99.0, "prompt_tokens_cached": 1.0}}),
    ("gpu-throttled", {"gpu": {"throttled_share": {"power cap": 0.01}}}),
    ("gpu-throttled", {"gpu": {"throttled_share": None, "by_phase": {}}}),
    (
        "gpu-shared",
        {
            "gpu": {
                "by_phase": {PHASE_INFERENCE: {"other_processes_max": None}, PHASE_AFTER: {"other_processes_max": 2}}
            }
        },
    ),
    ("gpu-lost", {"gpu": {"devices": [], "words": "no GPU: there is none"}}),
    ("cpu-stolen", {"host": {"steal_share": 0.01}}),
    ("cpu-stolen", {"host": {"steal_share": None}}),
    ("cpu-full", {"host": {"cpu_share": 0.9}}),
    ("cpu-full", {"host": {"cpu_share": None}}),
    ("no-server-metrics", {"server_metrics": {"words": None}, "agreement": []}),
    ("no-machine-telemetry", {"telemetry": {"words": None}}),
]


@pytest.mark.parametrize(("rule", "parts", "words"), BROKEN)
def test_each_rule_is_broken(rule: str, parts: dict[str, Any], words: str) -> None:
    found = findings(summary(**parts))
    assert set(found) == {rule}
    assert words in found[rule].evidence


@pytest.mark.parametrize(("rule", "parts"), WITHIN)
def test_what_is_not_known_or_too_little_is_no_finding(rule: str, parts: dict[str, Any]) -> None:
    assert findings(summary(**parts)) == {}, rule


def test_the_gpu_of_a_client_machine_is_not_the_engines() -> None:
    found = summary(gpu={"throttled_share": {"power cap": 1.0}})
    found["telemetry"]["engine_here"] = False
    assert findings(found) == {}


def test_a_prefix_cache_is_what_later_turns_of_conversations_are_for() -> None:
    found = summary(counts={"prefix_cache_queries": 100.0, "prefix_cache_hits": 80.0})
    assert "prompts-from-cache" in findings(found)
    assert "prompts-from-cache" not in findings(found | {"conversations": {"conversations": 4}})
