"""Rules on the design of a measurement: a result that breaks each, and one that does not."""

from typing import Any

import pytest

from gptoss_bench.importers import ImportedSummary
from gptoss_bench.lint.results import Result
from gptoss_bench.lint.rules.design import DESIGN_RULES
from gptoss_bench.lint.rules.machine import MACHINE_RULES
from gptoss_bench.lint.rules.rule import apply_rules
from gptoss_bench.runs.finding import Finding
from gptoss_bench.runs.manifest import Manifest
from gptoss_bench.runs.phases import PHASE_INFERENCE
from gptoss_bench.runs.request_table import derive_tables
from streams import two_slots

SUMMARY: dict[str, Any] = {
    "requests": 100,
    "completed": 100,
    "concurrency_planned": 8,
    "wall_s": 50.0,
    "request_s": 2.0,
    "output_tok_s": 128.0,
    "completion_tokens": {"min": 60, "max": 64},
    "itl_s": {"n": 6000, "mean": 0.05},
    "tokens_per_event": 1.0,
    "sweep": [{"concurrency": 8, "output_tok_s": 130.0}],
    "telemetry": {"engine_here": True, "host": {"by_phase": {PHASE_INFERENCE: {"client_cpu": 0.5, "engine_cpu": 2.0}}}},
}
MANIFEST: dict[str, Any] = {
    "repeat_group": "r",
    "endpoint": {"engine": "vllm", "version": "0.32.0", "model": "openai/gpt-oss-20b"},
    "machine": {"cores": 16},
}
TINY = {"labels": ["TINY MODEL"]}
REPEATED = {"tokens": 64, "n": 5, "tok_s": 9.0}
RULES = (*DESIGN_RULES, *(one for one in MACHINE_RULES if one.id == "client-and-engine-share-cores"))


def findings(summary: dict[str, Any], manifest: dict[str, Any], *, prompts: int = 6) -> dict[str, Finding]:
    rows = derive_tables(two_slots())[0]
    rows["prompt_id"] = [at % prompts for at in range(len(rows))]
    result = Result(
        "", ImportedSummary.model_validate({**SUMMARY, **summary}), rows, Manifest.model_validate(MANIFEST | manifest)
    )
    return {found.rule: found for found in apply_rules(RULES, result)}


def cores(client: float, engine: float) -> dict[str, Any]:
    host = {"by_phase": {PHASE_INFERENCE: {"client_cpu": client, "engine_cpu": engine}}}
    return {"telemetry": {"engine_here": True, "host": host}}


def offered(rate: object) -> dict[str, Any]:
    return {"parameters": {"request_rate": rate}}


BROKEN: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("too-short", {"wall_s": 5.98}, {}, "the load took 5.98 s"),
    ("too-short", {"concurrency_planned": 12, "sweep": []}, {}, "8.3 requests a slot (100 in all)"),
    ("single-trial", {}, {"repeat_group": None}, "one run"),
    (
        "single-trial",
        {"decode": [REPEATED | {"n": 1}, REPEATED]},
        {"repeat_group": None},
        "1 of 2 tests",
    ),
    ("best-of-n", {}, {"parameters": {"best_of": 4}}, "4 answers for each"),
    ("best-of-n", {}, {"notes": ["the best of 5 runs"]}, "“best of 5”"),
    ("load-unnamed", {"concurrency_planned": None}, {}, "neither"),
    ("rate-above-capacity", {}, offered(3.0), "3 requests/s were sent, 2 completed"),
    ("rate-above-capacity", {"concurrency_planned": None}, offered("inf"), "all requests were sent at once"),
    ("lengths-unequal", {"completion_tokens": {"min": 16, "max": 256}}, {}, "16 to 256 tokens"),
    ("several-tokens-a-chunk", {"tokens_per_event": 3.16}, {}, "3.16 tokens"),
    ("steady-differs-from-sweep", {"sweep": [{"concurrency": 8, "output_tok_s": 160.0}]}, {}, "160.0 (+25%)"),
    ("version-unknown", {}, {"endpoint": {"engine": "vllm"}}, "the version of vllm is unknown"),
    ("version-unknown", {}, {"endpoint": None}, "engine and version are unknown"),
    ("client-and-engine-share-cores", cores(1.0, 14.0), {}, "the client used 1 cores and the engine 14, of 16"),
]
WITHIN: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("too-short", {"wall_s": 30.0}, {}),
    ("too-short", {"wall_s": 2.0}, TINY),
    ("single-trial", {"decode": [REPEATED]}, {"repeat_group": None}),
    ("single-trial", {}, {"repeat_group": None} | TINY),
    ("best-of-n", {}, {"parameters": {"best_of": 1}, "notes": ["the best of 1 run"]}),
    ("load-unnamed", {"concurrency_planned": None}, offered(2.0)),
    ("rate-above-capacity", {}, offered(2.05)),
    ("rate-above-capacity", {}, offered("inf")),  # the planned concurrency limits it
    ("lengths-unequal", {"completion_tokens": {"min": 128, "max": 256}}, {}),
    ("several-tokens-a-chunk", {"tokens_per_event": 1.09}, {}),
    ("steady-differs-from-sweep", {"sweep": [{"concurrency": 4, "output_tok_s": 60.0}]}, {}),
    (
        "steady-differs-from-sweep",
        {"prompts": "one prompt", "sweep": [{"concurrency": 8, "output_tok_s": 60.0, "prompts": "distinct prompts"}]},
        {},
    ),
    ("version-unknown", {"completed": 100}, {}),
    ("client-and-engine-share-cores", cores(1.0, 2.0), {}),
    ("client-and-engine-share-cores", cores(1.0, 15.0), TINY),
]


@pytest.mark.parametrize(("rule", "summary", "manifest", "words"), BROKEN)
def test_each_rule_is_broken(rule: str, summary: dict[str, Any], manifest: dict[str, Any], words: str) -> None:
    found = findings(summary, manifest)
    assert set(found) == {rule}
    assert words in found[rule].evidence


@pytest.mark.parametrize(("rule", "summary", "manifest"), WITHIN)
def test_what_is_sound_or_not_known_is_no_finding(rule: str, summary: dict[str, Any], manifest: dict[str, Any]) -> None:
    assert findings(summary, manifest) == {}, rule


EXPERTS = [
    ("openai/gpt-oss-20b", 1, {}, True),
    ("openai/gpt-oss-20b", 6, {}, False),
    ("Llama-3.1-8B", 1, {}, False),
    ("gpt-oss-tiny", 1, TINY, False),
]


@pytest.mark.parametrize(("model", "prompts", "labels", "broken"), EXPERTS)
def test_one_prompt_uses_the_same_experts(model: str, prompts: int, labels: dict[str, Any], broken: bool) -> None:
    endpoint = {"endpoint": {"engine": "vllm", "version": "0.32.0", "model": model}}
    found = findings({}, {**endpoint, **labels}, prompts=prompts)
    assert set(found) == ({"one-prompt-experts"} if broken else set())
    assert not broken or f"8 streams of {model}" in found["one-prompt-experts"].evidence


ELSEWHERE = {"one-prompt-experts": [broken for *_, broken in EXPERTS]}
