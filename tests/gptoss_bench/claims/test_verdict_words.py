"""Each verdict on a figure, from a committed run with one value changed, and a similar run with another verdict."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from changed_claims import with_arguments, with_published
from gptoss_bench.claims.gate import refusals
from gptoss_bench.claims.model import RunRecord, Verdict, WriteUp
from gptoss_bench.claims.schema import load_write_up
from gptoss_bench.claims.verdict_words import MEASURED
from gptoss_bench.claims.verdicts import decide_claims, headline
from gptoss_bench.runs.folder import Run
from gptoss_bench.runs.manifest import Manifest
from gptoss_bench.runs.summary import LoadSummary
from published import folder

ALL = load_write_up()
LATENCY = "C41"  # published 8.835 s, 25 % allowed: 6.626 to 11.044 s
Change = Callable[[dict[str, Any], dict[str, Any]], None]


def committed(scenario: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Manifest and summary of the newest published run of a scenario."""
    run = Run.load(folder(scenario))
    return run.manifest.document(), run.summary.document()


def record_of(manifest: dict[str, Any], summary: dict[str, Any]) -> RunRecord:
    records = Manifest.model_validate(manifest), LoadSummary.model_validate(summary)
    return RunRecord(manifest["run_id"], manifest["scenario"], *records, findings=())


def on_h100(*changes: Change, p50_s: float = 8.0, interval: list[float] | None = None) -> RunRecord:
    """The committed run of the H100's scenario with the published conditions, as a run that the gate accepts."""
    manifest, summary = copy.deepcopy(committed("vllm-h100"))
    manifest |= {"labels": [], "gpus": [{"name": "NVIDIA H100 NVL", "memory_mib": 95830, "driver": "580.65"}]}
    manifest["endpoint"] |= {"model": "openai/gpt-oss-20b", "quantisation": "MXFP4"}
    manifest["endpoint"]["facts"] = {"parameters": 20914757184}
    manifest["parameters"] |= {"requests": 2000, "concurrency": 256, "max_tokens": 256}
    summary |= {"requests": 2000, "completed": 2000, "failed": 0, "concurrency_planned": 8, "agreement": []}
    low, high = interval or (p50_s * 0.99, p50_s * 1.01)
    resolved = dict.fromkeys(("p50", "p90", "p99"), True)
    summary["done_s"] |= {"p50": p50_s, "resolved": resolved, "low": None, "high": None}
    summary["done_s"]["exclusive"]["p50"] = p50_s
    summary["done_s"]["intervals"] = {"p50": {"low": low, "high": high}}
    for change in changes:
        change(manifest, summary)
    return record_of(manifest, summary)


def verdict_on(claim_id: str, *runs: RunRecord, among: WriteUp = ALL) -> Verdict:
    [found] = (v for v in decide_claims(among, runs) if v.claim_id.startswith(claim_id))
    return found


@pytest.mark.parametrize(
    ("interval", "word"),
    [
        ([6.7, 11.0], "reproduced"),
        ([6.7, 11.1], "not re-measured"),
        ([6.5, 10.0], "not re-measured"),
        ([6.5, 11.1], "not re-measured"),  # wider than the tolerance
        ([6.0, 6.6], "faster now"),
        ([6.0, 6.7], "not re-measured"),
        ([11.1, 12.0], "slower now"),
        ([11.0, 12.0], "not re-measured"),
        ([12.0, 17.0], "not re-measured"),  # outside, but wider than the tolerance
    ],
)
def test_the_interval_decides_and_not_the_value(interval: list[float], word: str) -> None:
    verdict = verdict_on(LATENCY, on_h100(p50_s=sum(interval) / 2, interval=interval))
    assert verdict.verdict == word
    if word == "not re-measured":
        assert (verdict.basis, verdict.interval) == ("none", None)
        assert (verdict.needs or "").startswith("more requests or runs: ")
        assert f"[{interval[0]:g}, {interval[1]:g}]" in (verdict.needs or "")
    else:
        assert verdict.basis_text == "measured on the published hardware and model (NVIDIA H100 NVL: vllm 0.32.0)"
        assert verdict.interval == pytest.approx(tuple(interval))
        assert verdict.needs is None


def test_the_headline_counts_what_was_measured_on_the_published_hardware() -> None:
    # the median latency alone: this run has no interval of a rate or a tail, and TTFT is no measurement
    assert headline(decide_claims(ALL, [on_h100()])).endswith(": 1 of 11 performance figures")


def test_a_figure_without_an_interval_decides_nothing() -> None:
    def few(manifest: dict[str, Any], summary: dict[str, Any]) -> None:
        summary["concurrency_planned"] = 256

    verdict = verdict_on(LATENCY, on_h100(few))
    assert verdict.text == (
        "not re-measured (needs more requests or runs: its interval is unknown: requests came in 7.8 waves; an"
        " interval needs 40 waves, or 3 runs)"
    )


def test_three_runs_have_an_interval_of_their_own() -> None:
    def few(number: int) -> Change:
        def change(manifest: dict[str, Any], summary: dict[str, Any]) -> None:
            summary["concurrency_planned"] = 256
            manifest["run_id"] = f"2026110{number}T000000Z-run"

        return change

    runs = [on_h100(few(number), p50_s=8.0 + 0.1 * number) for number in range(3)]
    verdict = verdict_on(LATENCY, *runs)
    assert (verdict.verdict, verdict.measured) == ("reproduced", pytest.approx(8.1))
    assert verdict.interval == pytest.approx((7.8516, 8.3484), abs=1e-3)
    assert "mean of 3 runs" in verdict.evidence
    assert verdict_on(LATENCY, *runs[:2]).verdict == "not re-measured"


def test_another_published_figure_gives_another_verdict() -> None:
    assert verdict_on(LATENCY, on_h100()).verdict == "reproduced"
    assert "9% below 8.835, faster" in verdict_on(LATENCY, on_h100()).evidence
    assert verdict_on(LATENCY, on_h100(), among=with_published(ALL, LATENCY, value=20.0)).verdict == "faster now"
    assert verdict_on(LATENCY, on_h100(), among=with_published(ALL, LATENCY, value=5.0)).verdict == "slower now"


@pytest.mark.parametrize(
    ("published", "word"), [("0.32.0", "not reproduced"), ("0.10.1+gptoss", "faster now"), ("", "faster now")]
)
def test_a_figure_of_the_same_version_is_not_reproduced_of_another_it_is_faster(published: str, word: str) -> None:
    run = on_h100(p50_s=5.0, interval=[4.9, 5.1])
    assert run.version == "0.32.0"
    verdict = verdict_on(LATENCY, run, among=with_published(ALL, LATENCY, version=published))
    assert verdict.verdict == word
    reported = f"published of {published}" if published else "the published version is unknown"
    assert f"vllm 0.32.0, {reported}" in verdict.evidence


def test_the_published_ttft_is_no_measurement_whatever_a_run_measures() -> None:
    assert verdict_on("C45", on_h100()).verdict == "not a measurement"


def on_a10(**values: float) -> RunRecord:
    """An Ollama run of 60 requests on Azure's A10 that the gate accepts: times in s and their half intervals."""
    manifest = {"run_id": "20261124T100000Z-a10", "scenario": "ollama-a10", "parameters": {"concurrency": 1}}
    manifest |= {"gpus": [{"name": "NVIDIA A10-24Q"}]}
    manifest |= {"endpoint": {"engine": "ollama", "model": "gpt-oss:20b", "quantisation": "MXFP4"}}
    summary: dict[str, Any] = {"requests": 60, "completed": 60, "failed": 0, "concurrency_planned": 1}
    for name, value in values.items():
        times = {"n": 60, "p50": value, "resolved": {"p50": True}}
        summary[name] = times | {"intervals": {"p50": {"low": value - 0.1, "high": value + 0.1}}}
    return record_of(manifest, summary)


def test_both_readings_of_the_published_ttft_on_an_a10_are_judged() -> None:
    run = on_a10(ttft_s=0.4, ttfa_s=3.25)
    assert verdict_on("C19", run).verdict == "reproduced"
    assert verdict_on("C52", run).verdict == "slower now"
    assert "first answer text, s: 3.25" in verdict_on("C19", run).evidence
    across = verdict_on("C19", on_a10(ttft_s=0.95))
    assert across.verdict == "not re-measured"
    assert "the interval [0.85, 1.05] crosses the edge of the tolerance" in (across.needs or "")


def test_an_approximate_range_has_soft_edges() -> None:
    claim = ALL.by_id["C20-a10-throughput"]
    assert claim.accepted == pytest.approx((40.5, 60.5))
    assert [claim.side_of_tolerance(value) for value in (40, 41, 60, 61)] == [-1, 0, 0, 1]


def test_one_completed_request_shows_that_a_server_runs() -> None:
    assert verdict_on("C23", on_h100()).verdict == "reproduced"
    assert verdict_on("C17", on_a10()).verdict == "reproduced"


def parameter(**values: Any) -> Change:
    return lambda manifest, summary: manifest["parameters"].update(values)


def served(**values: Any) -> Change:
    return lambda manifest, summary: manifest["endpoint"].update(values)


def made(**values: Any) -> Change:
    return lambda manifest, summary: manifest.update(values)


def counted(**values: Any) -> Change:
    return lambda manifest, summary: summary.update(values)


CONDITIONS = [
    (made(gpus=[{"name": "NVIDIA A100 80GB PCIe"}]), "hardware: NVIDIA A100 80GB PCIe, not H100 NVL"),
    (made(gpus=[]), "hardware: no GPU, not H100 NVL"),
    (served(facts={"tensor_parallel": 2}), "hardware: 2 GPUs, not one"),
    (made(labels=["CPU"]), "hardware: CPU"),
    (made(labels=["NO GPU"]), "hardware: the model was not on a GPU"),
    (made(labels=["PARTIAL OFFLOAD"]), "hardware: part of the model was in system memory"),
    (served(engine="ollama"), "engine: ollama, not vLLM"),
    (served(model="openai/gpt-oss-120b"), "model: openai/gpt-oss-120b, not gpt-oss-20b"),
    (served(quantisation="BF16"), "quantisation: BF16, not MXFP4"),
    (
        lambda manifest, summary: (manifest["parameters"].update(requests=48), summary.update(requests=48)),
        "load: requests 48, not 2000",
    ),
    (parameter(concurrency=8), "load: concurrency 8, not 256"),
    (parameter(max_tokens=512), "load: max_tokens 512, not 256"),
    (parameter(prompts="distinct"), "load: prompts 'distinct', not 'fixed'"),
    (parameter(prompt="Hello"), "load: prompt 'Hello', not 'Explain quantum mechanics in one paragraph.'"),
    (counted(prompt_tokens={"min": 80, "max": 87}), "prompt tokens: 80 to 87, not 84 to 88"),
    (counted(prompt_tokens={"min": 89, "max": 89}), "prompt tokens: 89, not 84 to 88"),
    (counted(failed=3), "failures: 3 requests failed"),
    (parameter(temperature=1.0), "load: temperature 1.0, not 0.0"),
]


@pytest.mark.parametrize(("change", "words"), CONDITIONS, ids=[words for _, words in CONDITIONS])
def test_a_run_of_a_real_model_under_another_condition_is_not_comparable_and_names_it(
    change: Change, words: str
) -> None:
    assert verdict_on(LATENCY, on_h100()).verdict == "reproduced"
    run = on_h100(change, interval=[7.9, 8.1])
    verdict = verdict_on(LATENCY, run)
    hardware = words.startswith("hardware")
    assert verdict.basis == "measured on other hardware"
    assert verdict.verdict == ("measured elsewhere" if hardware else "not comparable")
    assert (verdict.needs, verdict.run_id, verdict.label) == (None, run.run_id, run.label)
    assert words in verdict.evidence
    assert verdict.text == (
        "measured elsewhere: 8 s [7.9, 8.1]" if hardware else f"not comparable (differs in {words.partition(':')[0]})"
    )
    assert (verdict.measured, verdict.published) == (8.0, "8.835 s")


def test_all_that_differs_is_named() -> None:
    changes = (made(gpus=[{"name": "NVIDIA L4"}]), served(engine="llama.cpp", quantisation="Q8_0"))
    evidence = verdict_on(LATENCY, on_h100(*changes, parameter(concurrency=8))).evidence
    conditions = [part.partition(":")[0] for part in evidence.split("; ")]
    assert conditions == ["hardware", "engine", "quantisation", "load", "measured there"]


@pytest.mark.parametrize(
    "change",
    [
        served(quantisation=None),
        served(quantisation="mxfp4"),
        counted(prompt_tokens={"min": 84, "max": 88}),
        counted(prompt_tokens={"min": None, "max": None}),
        served(facts={"tensor_parallel": 1}),
    ],
)
def test_a_condition_that_is_the_same_or_unknown_makes_no_difference(change: Change) -> None:
    assert verdict_on(LATENCY, on_h100(change)).verdict == "reproduced"


@pytest.mark.parametrize(("version", "word"), [("0.32.0", "reproduced"), ("0.10.1", "not comparable")])
def test_a_version_is_a_condition_only_where_the_claim_names_one(version: str, word: str) -> None:
    verdict = verdict_on(LATENCY, on_h100(), among=with_arguments(ALL, LATENCY, version=version))
    assert verdict.verdict == word
    assert ("version: 0.32.0, not 0.10.1" in verdict.evidence) == (word == "not comparable")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (made(labels=["TINY MODEL"]), "does not count: TINY MODEL"),
        (made(labels=["TINY MODEL", "CPU"]), "does not count: TINY MODEL"),
        (made(labels=["REFERENCE SERVER"]), "does not count: REFERENCE SERVER"),
        (made(labels=["REMOTE SERVER"]), "does not count: unknown hardware"),
        (served(engine="openai-compatible"), "does not count: unknown model"),
        (made(status="incomplete"), "does not count: it is incomplete"),
        (counted(done_s={}), "does not count: it has no done_s.exclusive.p50"),
    ],
)
def test_a_run_of_no_known_gpt_oss_decides_nothing(change: Change, reason: str) -> None:
    verdict = verdict_on(LATENCY, on_h100(change))
    assert (verdict.verdict, verdict.run_id) == ("not re-measured", None)
    assert verdict.needs == "an H100 NVL with vLLM"
    assert verdict.evidence.endswith(reason)


def test_random_weights_are_measured_elsewhere_and_never_get_a_word_of_the_published_hardware() -> None:
    for gpu in ("NVIDIA H100 NVL", "NVIDIA H100 80GB HBM3"):
        run = on_h100(made(labels=["RANDOM WEIGHTS"], gpus=[{"name": gpu}]))
        verdict = verdict_on(LATENCY, run)
        assert (verdict.basis, verdict.verdict) == ("measured with random weights", "measured elsewhere")
        assert verdict.basis_text == f"measured with random weights ({gpu}: vllm 0.32.0)"
        assert verdict.text == "measured elsewhere: 8 s [7.92, 8.08]"
        assert not [v for v in decide_claims(ALL, [run]) if v.basis == MEASURED]
    other = on_h100(made(labels=["RANDOM WEIGHTS"]), parameter(max_tokens=64))
    assert verdict_on(LATENCY, other).text == "not comparable (differs in load)"


@pytest.mark.parametrize(
    "path", ["completion_tokens.mean", "ttfa_s.p50", "ttfc_s.p50", "truncated", "hidden_reasoning"]
)
def test_what_depends_on_the_answers_is_not_decided_with_random_weights(path: str) -> None:
    claims = with_arguments(ALL, LATENCY, path=path)
    verdict = verdict_on(LATENCY, on_h100(made(labels=["RANDOM WEIGHTS"])), among=claims)
    assert (verdict.basis, verdict.verdict, verdict.run_id) == ("none", "not re-measured", None)
    of_answers = f"random weights: {path.partition('.')[0]} depends on the answers"
    assert of_answers in " ".join(refusals(on_h100(made(labels=["RANDOM WEIGHTS"])), path))
    assert of_answers not in " ".join(refusals(on_h100(), path))


@pytest.mark.parametrize("path", ["output_tok_s_total", "ttft_s.p50", "tpot_s.p50", "done_s.p50", "request_s"])
def test_rates_latencies_and_ttft_are_not_refused_for_random_weights(path: str) -> None:
    assert refusals(on_h100(made(labels=["RANDOM WEIGHTS"])), path) == refusals(on_h100(), path)


ROUTED = "it depends on how tokens are routed to experts: random weights choose them about evenly"


def with_random_weights(*changes: Change, **options: Any) -> RunRecord:
    return on_h100(made(labels=["RANDOM WEIGHTS"]), *changes, **options)


def test_what_depends_on_routing_says_so_with_the_run_at_temperature_1_beside_it() -> None:
    run = with_random_weights()
    without = f"{ROUTED}; at temperature 0 equal prompts may stay in step and use few experts at a time; "
    assert without + "no run of this load at temperature 1 is among the evidence" in verdict_on(LATENCY, run).evidence
    hot = made(run_id="20261110T000000Z-hot", scenario="vllm-h100-temperature-1"), parameter(temperature=1.0)
    control = with_random_weights(*hot, parameter(requests=1000), counted(requests=1000, completed=1000), p50_s=9.5)
    verdict = verdict_on(LATENCY, run, control)
    assert without + "at temperature 1 it was 9.5 s (run 20261110T000000Z-hot, 1000 requests)" in verdict.evidence
    assert (verdict.run_id, verdict.measured) == (run.run_id, 8.0)
    again = with_random_weights(*hot, made(run_id="20261111T000000Z-hot"), p50_s=10.5)
    text = "at temperature 1 it was 10 s (mean of 2 runs to 20261111T000000Z-hot, 2000 requests)"
    assert text in verdict_on(LATENCY, run, control, again).evidence
    # the wall time of fewer requests is not compared
    assert "no run of this load" in verdict_on("C34", run, control).evidence
    assert "no run of this load" not in verdict_on("C34", run, again).evidence


@pytest.mark.parametrize(
    "change",
    [
        made(labels=[]),
        made(gpus=[{"name": "NVIDIA H200"}]),
        parameter(concurrency=64),
        parameter(temperature=0.5),
        counted(requests=1999),  # its manifest plans 2000, so the gate refuses it
    ],
)
def test_a_run_of_another_server_or_load_is_not_put_beside_it(change: Change) -> None:
    hot = made(run_id="20261110T000000Z-hot", scenario="vllm-h100-temperature-1"), parameter(temperature=1.0)
    verdict = verdict_on(LATENCY, with_random_weights(), with_random_weights(*hot, change))
    assert "no run of this load at temperature 1" in verdict.evidence


def test_only_times_and_rates_with_random_weights_depend_on_routing() -> None:
    assert ROUTED not in verdict_on(LATENCY, on_h100(made(gpus=[{"name": "NVIDIA H200"}]))).evidence
    assert ROUTED not in verdict_on("C23", with_random_weights(made(gpus=[{"name": "NVIDIA H200"}]))).evidence
    warm = verdict_on(LATENCY, with_random_weights(parameter(temperature=1.0))).evidence
    assert ROUTED in warm and "in step" not in warm
    other = verdict_on(LATENCY, with_random_weights(parameter(max_tokens=64)))
    assert other.verdict == "not comparable" and ROUTED in other.evidence


def test_three_runs_elsewhere_have_an_interval_too() -> None:
    few = made(labels=["RANDOM WEIGHTS"]), counted(concurrency_planned=256)
    runs = [on_h100(*few, made(run_id=f"2026110{n}T000000Z-run"), p50_s=8 + 0.1 * n) for n in range(3)]
    verdict = verdict_on(LATENCY, *runs)
    assert verdict.text == "measured elsewhere: 8.1 s [7.852, 8.348]" and "mean of 3 runs" in verdict.evidence
    other = on_h100(*few, made(run_id="20261109T000000Z-run", gpus=[{"name": "NVIDIA H200"}]))
    assert "7.8 waves" in verdict_on(LATENCY, other, *runs).text  # the newest card, of which there is one run


def test_a_measurement_elsewhere_without_an_interval_says_why() -> None:
    run = on_h100(made(labels=["RANDOM WEIGHTS"]), counted(concurrency_planned=256))
    assert verdict_on(LATENCY, run).text == (
        "measured elsewhere: 8 s [no interval: requests came in 7.8 waves; an interval needs 40 waves, or 3 runs]"
    )


def test_the_committed_runs_decide_no_figure() -> None:
    for scenario, claim_id in (("vllm-h100", LATENCY), ("ollama-a10", "C20")):
        manifest, summary = committed(scenario)
        assert verdict_on(claim_id, record_of(manifest, summary)).verdict == "not re-measured"


def test_a_run_under_the_conditions_has_priority_over_a_newer_one_under_others() -> None:
    old, new = on_h100(made(run_id="20261101T000000Z-old")), on_h100(made(run_id="20261102T000000Z-new", gpus=[]))
    assert verdict_on(LATENCY, new, old).run_id == old.run_id
    other = on_h100(made(run_id="20261103T000000Z-other", gpus=[]))
    assert verdict_on(LATENCY, new, other).run_id == other.run_id


@pytest.mark.parametrize("gpu", ["NVIDIA A100 80GB", "NVIDIA A10G"])
def test_an_a10_is_neither_an_a100_nor_an_a10g(gpu: str) -> None:
    run = on_a10(ttft_s=0.4)
    run.manifest.gpus[0].name = gpu
    assert verdict_on("C19", run).basis_text == f"measured on other hardware ({gpu}: ollama of unknown version)"
