"""Rules on how a result was made, each with a result that breaks it and one that does not."""

from typing import Any

import pandas as pd
import pytest

from gptoss_bench.lint.results import Result
from gptoss_bench.lint.rules.rule import apply_rules
from gptoss_bench.lint.rules.setup import SETUP_RULES, differing_conditions
from gptoss_bench.runs.finding import Finding
from gptoss_bench.runs.manifest import Manifest
from gptoss_bench.runs.request_table import derive_tables
from gptoss_bench.runs.summary import LoadSummary
from gptoss_bench.stats.summary import FIRST_EVENT_TOKENS, summarise
from streams import two_slots

SOUND: dict[str, Any] = {
    "scenario": "vllm-h100",
    "clock": {"source": "CLOCK_MONOTONIC", "steps": 0},
    "endpoint": {"quantisation": "MXFP4", "facts": {"vram_share": 1.0}},
}


def findings(manifest: dict[str, Any], requests: pd.DataFrame | None = None, **reported: Any) -> dict[str, Finding]:
    rows, events = derive_tables(two_slots())
    computed = summarise(rows, events, concurrency=2).model_dump()
    summary = LoadSummary.model_validate({**computed, "output_tok_s_total": 100.0, "output_tok_s": 100.0, **reported})
    requests = rows if requests is None else requests
    result = Result("", summary, requests, Manifest.model_validate({**SOUND, **manifest}))
    return {finding.rule: finding for finding in apply_rules(SETUP_RULES, result)}


def endpoint(**parts: Any) -> dict[str, Any]:
    return {"endpoint": {**SOUND["endpoint"], **parts}}


def loads(*shares: float) -> pd.DataFrame:
    """Return six requests in two slots whose server spent these shares of its time on loading."""
    requests = derive_tables(two_slots())[0]
    return requests.assign(server_load_s=list(shares), server_total_s=1.0)


UNCOUNTED: dict[str, Any] = {"tpot_missing": {FIRST_EVENT_TOKENS: 2}, "output_tok_s": None}


@pytest.mark.parametrize(
    ("manifest", "advice"),
    [
        (endpoint(request_fields=["token_counts"]), "measure again with --token-counts"),
        (endpoint(), "try --token-counts; where the server refuses it, quote both bounds"),
        (endpoint(request_fields=[], engine="transformers"), "transformers cannot send them: quote both bounds"),
        ({"parameters": {"token_counts": True}}, "the server did not send the counts that were asked for: quote"),
    ],
)
def test_what_to_do_without_running_token_counts_depends_on_the_engine(manifest: dict[str, Any], advice: str) -> None:
    found = findings(manifest, **UNCOUNTED)["no-token-counts"]
    assert found.severity == "note" and found.advice.startswith(advice)


def test_bounds_of_tpot_and_the_servers_own_rate_are_said() -> None:
    tpot = {"low": {"p50": 0.0012}, "high": {"p50": 0.0015}}
    server = {"tok_s": {"p50": 781.08}}
    ollama = endpoint(dialect="ollama", engine="any")
    found = findings(ollama, **UNCOUNTED, tpot_s=tpot, server=server)["no-token-counts"]
    assert found.evidence.endswith(
        "TPOT lies between 1.2 and 1.5 ms (median), and the rate in the steady window is unknown"
    )
    assert found.advice.startswith("Ollama's API cannot send them: quote both bounds of TPOT")
    assert found.advice.endswith("the rate of the whole run; its own decode rate is 781.1 tokens/s (median)")


def test_a_sound_run_breaks_no_rule() -> None:
    assert findings({}) == {}


BROKEN: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("ramp-and-tail-inside", {}, {"output_tok_s_total": 90.0}, "90.0 tokens/s over the whole run"),
    ("ramp-and-tail-inside", {}, {"output_tok_s": None}, "the rate of a steady window is unknown"),
    ("no-token-counts", {}, UNCOUNTED, "2 responses have no running token counts: TPOT has no value, and the rate"),
    ("percentile-rule-unnamed", {}, {"percentile_rule": None}, "ttft_s"),
    ("clock-step", {"clock": {"source": "CLOCK_MONOTONIC", "steps": 2}}, {}, "set 2 times"),
    ("wall-clock-used", {"clock": {"source": "wall"}}, {}, "'wall'"),
    ("partial-offload", endpoint(facts={"vram_share": 0.47}), {}, "47% of the loaded model"),
    ("partial-offload", endpoint(facts={"gpu_layers": 10, "layers": 25}), {}, "10 of 25 layers"),
    ("partial-offload", endpoint(facts={"gpu_layers": -1, "cpu_moe_layers": 8}), {}, "the experts of 8 layers"),
    ("engine-noted", endpoint(facts={"notes": ["no /metrics", "version 9"]}), {}, "no /metrics; version 9"),
    ("quantisation-differs", endpoint(quantisation="BF16"), {}, "of MXFP4 weights, this server's are BF16"),
    (
        "context-differs",
        {"parameters": {"options": {"num_ctx": 2048}}, **endpoint(facts={"context": 8192})},
        {},
        "8192",
    ),
    (
        "prompt-cut",
        {"parameters": {"system": "Be brief.", "prompt": "so " * 87}},
        {},
        "88 tokens of a prompt of 89 words",
    ),
    ("prompt-cut", endpoint(facts={"context": 88}), {}, "88 tokens fills the context of 88 tokens"),
    ("quantisation-differs", {"scenario": "transformers-bf16"}, {}, "of BF16 weights, this server's are MXFP4"),
]
WITHIN: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("ramp-and-tail-inside", {}, {"output_tok_s_total": 96.0}),
    ("ramp-and-tail-inside", {}, {"output_tok_s_total": None, "output_tok_s": None}),
    ("no-token-counts", {}, {"tpot_missing": {"fewer than two events with text": 2}}),
    ("percentile-rule-unnamed", {}, {"percentile_rule": "exclusive"}),
    ("clock-step", {"clock": {"source": "CLOCK_MONOTONIC", "steps": 0}}, {}),
    ("wall-clock-used", {"clock": None, "endpoint": None}, {}),
    ("partial-offload", endpoint(facts={"vram_share": 0.0}), {}),  # no GPU at all: nothing is partial
    ("partial-offload", endpoint(facts={"gpu_layers": 99, "layers": 25, "cpu_moe_layers": 0}), {}),
    ("partial-offload", endpoint(facts={"gpu_layers": -1, "layers": 25}), {}),
    ("partial-offload", endpoint(facts={"gpu_layers": None, "cpu_moe_layers": 8}), {}),
    ("engine-noted", endpoint(facts={"notes": []}), {}),
    ("context-differs", {"parameters": {"options": {"num_ctx": 2048}}, **endpoint(facts={"context": 2048})}, {}),
    ("context-differs", {"parameters": {"options": {"num_ctx": 2048}}}, {}),
    ("context-differs", endpoint(facts={"context": 8192}), {}),
    ("prompt-cut", {"parameters": {"system": "Be brief.", "prompt": "so " * 86}}, {}),
    ("prompt-cut", endpoint(facts={"context": 89}), {}),
    ("quantisation-differs", endpoint(quantisation=None), {}),
    ("quantisation-differs", endpoint(quantisation="mxfp4"), {}),
    ("quantisation-differs", {"scenario": "load", **endpoint(quantisation="Q8_0")}, {}),  # no published figure
    ("quantisation-differs", {"labels": ["TINY MODEL"], **endpoint(quantisation="BF16")}, {}),  # it claims no figure
]


@pytest.mark.parametrize(("rule", "manifest", "reported", "words"), BROKEN)
def test_each_rule_is_broken(rule: str, manifest: dict[str, Any], reported: dict[str, Any], words: str) -> None:
    found = findings(manifest, **reported)
    assert set(found) == {rule}
    assert words in found[rule].evidence


@pytest.mark.parametrize(("rule", "manifest", "reported"), WITHIN)
def test_what_is_sound_or_not_known_is_no_finding(
    rule: str, manifest: dict[str, Any], reported: dict[str, Any]
) -> None:
    assert findings(manifest, **reported) == {}, rule


COLD = [
    ((0.5, 0.7, 0, 0, 0, 0), True),
    ((0.01,) * 6, False),
    ((0.0, 0.0, 0.4, 0.4, 0.4, 0.4), False),  # a queue, which all wait in
    ((0.3, 0.3, 0.25, 0.25, 0.25, 0.25), False),
]


@pytest.mark.parametrize(("shares", "broken"), COLD)
def test_loading_in_the_first_wave_is_not_waiting_in_a_queue(shares: tuple[float, ...], broken: bool) -> None:
    found = findings({}, loads(*shares))
    assert set(found) == ({"cold-load-inside"} if broken else set())
    assert not broken or "60% of the time of the first requests (2)" in found["cold-load-inside"].evidence


def spread(p50: float, p99: float | None = None) -> dict[str, Any]:
    return {"n": 1000, "mean": p50, "p50": p50, "p90": p50, "p99": p99 or p50, "p50_interval": None}


ROLE_CHUNK = [
    (0.003, 0.0133, 0.102, True),
    (0.1, 0.0133, 0.102, False),  # a wait that TTFT has as well
    (0.003, 0.0101, 0.102, False),  # one long gap in a hundred, not one an answer
    (0.003, 0.0133, 0.03, False),  # slow now and then, never so long
]


@pytest.mark.parametrize(("ttft_s", "tpot_s", "longest_s", "broken"), ROLE_CHUNK)
def test_a_role_chunk_that_counts_as_a_token_is_found(
    ttft_s: float, tpot_s: float, longest_s: float, broken: bool
) -> None:
    others = derive_tables(two_slots())[0].assign(ttfc_s=float("nan"))  # unknown for another tool
    reported = {"ttft_s": spread(ttft_s), "itl_s": spread(0.01, longest_s), "tpot_s": spread(tpot_s)}
    found = findings({}, others, **reported, completion_tokens={"mean": 32.0, "sum": None})
    assert set(found) == ({"role-chunk-counted"} if broken else set())
    assert (
        not broken
        or "TTFT is 3 ms, and each answer has 102 ms in a few long gaps" in found["role-chunk-counted"].evidence
    )


def served(**parts: Any) -> dict[str, Any]:
    endpoint = {"engine": "vllm", "version": "0.32.0", "model": "m", "quantisation": "MXFP4", **parts}
    return {"endpoint": endpoint, "gpus": [{"name": "H100"}], "machine": {"cpu": "a CPU"}}


MIXED: list[tuple[dict[str, Any], set[str]]] = [
    (served(), set()),
    (served(version="0.10.1"), {"mixed-versions"}),
    (served(version=None), set()),
    (served(quantisation="BF16", model="n"), {"mixed-quantisation", "mixed-models"}),
    ({**served(), "gpus": []}, {"mixed-hardware"}),
    ({}, set()),
]


@pytest.mark.parametrize(("other", "rules"), MIXED)
def test_conditions_that_differ_within_a_comparison_are_named(other: dict[str, Any], rules: set[str]) -> None:
    found = differing_conditions(
        (name, Manifest.model_validate(each)) for name, each in (("one", served()), ("other", other))
    )
    assert {finding.rule for finding in found} == rules
    assert all("in one" in finding.evidence and "in other" in finding.evidence for finding in found)


# Rules tested above and not in BROKEN and WITHIN: by rule, whether each case breaks it.
ELSEWHERE = {
    "cold-load-inside": [broken for _, broken in COLD],
    "role-chunk-counted": [broken for *_, broken in ROLE_CHUNK],
    **{
        rule: [rule in rules for _, rules in MIXED]
        for rule in ("mixed-versions", "mixed-quantisation", "mixed-models", "mixed-hardware")
    },
}
