"""Each verdict, from a committed run with one value changed, and a similar run with another verdict."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from changed_claims import with_arguments, with_published
from gptoss_bench import paths
from gptoss_bench.claims.model import Claim, RunRecord, Verdict
from gptoss_bench.claims.schema import load_claims
from gptoss_bench.claims.verdict_words import DECIDED, VERDICTS
from gptoss_bench.claims.verdicts import decide_claims
from gptoss_bench.runs.folder import Run
from gptoss_bench.runs.manifest import Manifest
from gptoss_bench.runs.summary import LoadSummary
from published import folder

ALL = load_claims()
LATENCY = "C41"  # published 8.835 s, 25 % allowed: 6.626 to 11.044 s
Change = Callable[[dict[str, Any], dict[str, Any]], None]


def committed(scenario: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Manifest and summary of the published run of a scenario."""
    run = Run.load(folder(scenario))
    return run.manifest.document(), run.summary.document()


def record_of(manifest: dict[str, Any], summary: dict[str, Any]) -> RunRecord:
    records = Manifest.model_validate(manifest), LoadSummary.model_validate(summary)
    return RunRecord(manifest["run_id"], manifest["scenario"], *records)


def on_h100(*changes: Change, p50_s: float = 8.0, interval: list[float] | None = None) -> RunRecord:
    """The committed run of the H100's scenario with the published conditions in its manifest."""
    manifest, summary = copy.deepcopy(committed("vllm-h100"))
    manifest |= {"labels": [], "gpus": [{"name": "NVIDIA H100 NVL", "memory_mib": 95830, "driver": "580.65"}]}
    manifest["endpoint"] |= {"model": "openai/gpt-oss-20b", "quantisation": "MXFP4"}
    manifest["parameters"] |= {"requests": 2000, "concurrency": 256, "max_tokens": 256}
    summary |= {"requests": 2000, "completed": 2000, "failed": 0}
    summary["done_s"]["exclusive"]["p50"] = summary["done_s"]["p50"] = p50_s
    summary["done_s"]["p50_interval"] = interval
    for change in changes:
        change(manifest, summary)
    return record_of(manifest, summary)


def verdict_on(claim_id: str, *runs: RunRecord, among: list[Claim] = ALL) -> Verdict:
    [found] = (v for v in decide_claims(among, runs) if v.claim_id.startswith(claim_id))
    return found


def published_of(version: str) -> list[Claim]:
    """All claims, with the version of the engine that the write-up does not name."""
    return [with_published(c, version=version) for c in ALL]


@pytest.mark.parametrize(
    ("interval", "word"),
    [
        ([6.7, 11.0], "reproduced"),
        ([6.7, 11.1], "not testable here"),
        ([6.5, 11.0], "not testable here"),
        ([6.5, 11.1], "not testable here"),  # both ends outside, on either side
        ([6.0, 6.6], "faster now"),
        ([6.0, 6.7], "not testable here"),
        ([11.1, 12.0], "slower now"),
        ([11.0, 12.0], "not testable here"),
    ],
)
def test_the_interval_decides_and_not_the_value(interval: list[float], word: str) -> None:
    verdict = verdict_on(LATENCY, on_h100(p50_s=sum(interval) / 2, interval=interval))
    assert verdict.verdict == word
    assert verdict.interval == tuple(interval)
    across = f"more requests: the interval [{interval[0]:g}, {interval[1]:g}] crosses the edge of the tolerance"
    assert verdict.needs == (across if word == "not testable here" else None)
    assert "by the value alone" not in verdict.evidence


@pytest.mark.parametrize(("p50_s", "word"), [(6.63, "reproduced"), (6.62, "faster now"), (11.05, "slower now")])
def test_without_an_interval_the_value_decides_and_the_evidence_notes_it(p50_s: float, word: str) -> None:
    verdict = verdict_on(LATENCY, on_h100(p50_s=p50_s))
    assert verdict.verdict == word
    assert "decided by the value alone, its interval is unknown" in verdict.evidence


def test_a_count_needs_no_interval() -> None:
    verdict = verdict_on("C49", on_h100())
    assert verdict.verdict == "reproduced"
    assert "by the value alone" not in verdict.evidence


@pytest.mark.parametrize(
    ("published", "word"), [("0.32.0", "refuted"), ("0.10.1+gptoss", "faster now"), ("", "faster now")]
)
def test_a_figure_of_the_same_version_is_refuted_and_of_another_is_faster_now(published: str, word: str) -> None:
    run = on_h100(p50_s=5.0, interval=[4.9, 5.1])
    assert run.version == "0.32.0"
    verdict = verdict_on(LATENCY, run, among=published_of(published))
    assert verdict.verdict == word
    reported = f"published of {published}" if published else "the published version is unknown"
    assert f"vllm 0.32.0, {reported}" in verdict.evidence


def test_a_figure_without_a_direction_is_refuted_whatever_the_version() -> None:
    run = on_h100(lambda manifest, summary: summary["ttft_s"]["exclusive"].update(p90=0.4))
    assert verdict_on("C45", run).verdict == "refuted"
    run = on_h100(lambda manifest, summary: summary["ttft_s"]["exclusive"].update(p90=2.9))
    assert verdict_on("C45", run).verdict == "reproduced"


def parameter(**values: Any) -> Change:
    return lambda manifest, summary: manifest["parameters"].update(values)


def served(**values: Any) -> Change:
    return lambda manifest, summary: manifest["endpoint"].update(values)


def made(**values: Any) -> Change:
    return lambda manifest, summary: manifest.update(values)


def counted(**values: Any) -> Change:
    return lambda manifest, summary: summary.update(values)


CONDITIONS = [
    (made(gpus=[{"name": "NVIDIA A100 80GB PCIe"}]), "hardware: NVIDIA A100 80GB PCIe, not H100"),
    (made(gpus=[]), "hardware: no GPU, not H100"),
    (served(facts={"tensor_parallel": 2}), "hardware: 2 GPUs, not one"),
    (made(labels=["CPU"]), "hardware: CPU"),
    (made(labels=["NO GPU"]), "hardware: the model was not on a GPU"),
    (made(labels=["PARTIAL OFFLOAD"]), "hardware: part of the model was in system memory"),
    (made(labels=["REMOTE SERVER"], gpus=[]), "hardware: what served is unknown"),
    (served(engine="ollama"), "engine: ollama, not vLLM"),
    (served(model="openai/gpt-oss-120b"), "model: openai/gpt-oss-120b, not gpt-oss-20b"),
    (served(quantisation="BF16"), "quantisation: BF16, not MXFP4"),
    (parameter(requests=48), "load: requests 48, not 2000"),
    (parameter(concurrency=8), "load: concurrency 8, not 256"),
    (parameter(max_tokens=512), "load: max_tokens 512, not 256"),
    (parameter(prompts="distinct"), "load: prompts 'distinct', not 'fixed'"),
    (parameter(prompt="Hello"), "load: prompt 'Hello', not 'Explain quantum mechanics in one paragraph.'"),
    (counted(prompt_tokens={"min": 80, "max": 87}), "prompt tokens: 80 to 87, not 84 to 88"),
    (counted(prompt_tokens={"min": 89, "max": 89}), "prompt tokens: 89, not 84 to 88"),
    (counted(failed=3), "failures: 3 requests failed"),
]


@pytest.mark.parametrize(("change", "words"), CONDITIONS, ids=[words for _, words in CONDITIONS])
def test_a_run_of_a_real_model_under_another_condition_is_not_comparable_and_names_it(
    change: Change, words: str
) -> None:
    assert verdict_on(LATENCY, on_h100()).verdict == "reproduced"
    run = on_h100(change, interval=[7.9, 8.1])
    verdict = verdict_on(LATENCY, run)
    assert (verdict.verdict, verdict.needs, verdict.run_id) == ("not comparable", None, run.run_id)
    assert verdict.evidence == f"{words}; measured there: 8 s"
    assert (verdict.measured, verdict.interval, verdict.published) == (8.0, (7.9, 8.1), "8.835 s")
    assert verdict.label == run.label


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
    pinned = [with_arguments(c, version=version) if c.decider == "measured" else c for c in ALL]
    verdict = verdict_on(LATENCY, on_h100(), among=pinned)
    assert verdict.verdict == word
    assert ("version: 0.32.0, not 0.10.1" in verdict.evidence) == (word == "not comparable")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (made(labels=["TINY MODEL"]), "TINY MODEL"),
        (made(labels=["TINY MODEL", "CPU"]), "TINY MODEL"),
        (made(labels=["REFERENCE SERVER"]), "REFERENCE SERVER"),
        (made(status="incomplete"), "it is incomplete"),
    ],
)
def test_a_run_without_a_real_model_or_an_incomplete_one_decides_nothing(change: Change, reason: str) -> None:
    verdict = verdict_on(LATENCY, on_h100(change))
    assert (verdict.verdict, verdict.run_id) == ("not testable here", None)
    assert verdict.needs == "an H100 with vLLM"
    assert verdict.evidence.endswith(f"does not count: {reason}")


def test_the_committed_runs_decide_no_figure() -> None:
    for scenario, claim_id in (("vllm-h100", LATENCY), ("ollama-a10", "C20")):
        manifest, summary = committed(scenario)
        assert verdict_on(claim_id, record_of(manifest, summary)).verdict == "not testable here"


def test_an_older_run_under_the_conditions_has_priority_over_a_newer_one_under_others() -> None:
    old, new = on_h100(made(run_id="20261101T000000Z-old")), on_h100(made(run_id="20261102T000000Z-new", gpus=[]))
    assert verdict_on(LATENCY, new, old).run_id == old.run_id
    other = on_h100(made(run_id="20261103T000000Z-other", gpus=[]))
    assert verdict_on(LATENCY, new, other).run_id == other.run_id


@pytest.mark.parametrize(
    ("claim_id", "change", "words"),
    [
        ("C31", parameter(), "had the same"),
        ("C31", parameter(requests=48), "had 48, not 2000"),
        ("C32", parameter(concurrency=8), "had 8, not 256"),
        ("C33", parameter(max_tokens=255), "had 255, not 256"),
        ("C48", counted(prompt_tokens={"min": 88, "max": 88}), "had the same"),
        ("C48", parameter(), "had 87, not 88"),
        ("C48", counted(prompt_tokens={"min": None, "max": None}), "does not report its value"),
        ("C08", parameter(), "was made on NVIDIA H100 NVL, 95,830 MiB"),
        ("C08", made(gpus=[]), "was made on no GPU"),
    ],
)
def test_a_claim_about_a_condition_is_compared_with_the_manifest(claim_id: str, change: Change, words: str) -> None:
    without = verdict_on(claim_id)
    verdict = verdict_on(claim_id, on_h100(change))
    assert words in verdict.evidence
    assert verdict.verdict == without.verdict, "what was published is not changed by another run"
    assert verdict_on(claim_id, on_h100(change, made(labels=["TINY MODEL"]))) == without


@pytest.mark.parametrize(
    ("interval", "word"),
    [([0.09, 0.11], "refuted"), ([0.09, 0.9], "not testable here"), ([0.8, 1.2], "reproduced")],
)
def test_a_formula_is_refuted_where_all_of_the_interval_is_outside_its_tolerance(
    interval: list[float], word: str
) -> None:
    def change(manifest: dict[str, Any], summary: dict[str, Any]) -> None:
        summary["ttft_s"] |= {"n": 2000, "p50": sum(interval) / 2, "p50_interval": interval}
        summary["ttft_formula_s"]["p50"] = 1.0

    verdict = verdict_on("C27", on_h100(change))
    assert verdict.verdict == word
    assert (verdict.needs or "").startswith("more requests") == (word == "not testable here")


def test_every_verdict_is_given_by_some_run() -> None:
    """The table on the method page lists every verdict; those that no figure gets come from the other claims."""
    runs = [on_h100(p50_s=value) for value in (5.0, 8.0, 13.0)] + [
        on_h100(made(gpus=[])),
        on_h100(made(labels=["CPU"])),
    ]
    given = {verdict.verdict for run in runs for verdict in decide_claims(ALL, [run])}
    assert given == set(VERDICTS)
    assert set(DECIDED) < set(VERDICTS)
    method = (paths.SITE_TEMPLATES / "method.html.j2").read_text()
    assert all(f"\n| {word} |" in method for word in VERDICTS)
