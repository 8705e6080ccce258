"""Every decider, with evidence for each verdict that it can give."""

import asyncio
import json
from typing import Any

import pandas as pd
import pytest
import yaml

from changed_claims import with_arguments, with_published
from gptoss_bench import paths
from gptoss_bench.claims.deciders import DECIDERS
from gptoss_bench.claims.model import NEEDS, Claim, RunRecord, Verdict
from gptoss_bench.claims.schema import load_claims
from gptoss_bench.claims.verdict_words import VERDICTS
from gptoss_bench.claims.verdicts import (
    decide_claims,
    verdict_counts,
    verdict_page,
    verdict_text,
    verdicts_from_table,
    verdicts_to_table,
)
from gptoss_bench.figures.verdicts import verdict_overview
from gptoss_bench.runs.labels import split_labels
from gptoss_bench.runs.manifest import Manifest
from gptoss_bench.runs.request_table import derive_tables
from gptoss_bench.runs.summary import Bf16Summary, LoadSummary, ServerProbes
from gptoss_bench.session.server_probes import probe_server
from gptoss_bench.stats.summary import summarise
from gptoss_client.errors import UsageError
from gptoss_client.plan import PUBLISHED_PROMPT, PUBLISHED_SYSTEM
from scripted import Exchange, scripted
from streams import chat

ALL = load_claims()
FILE = yaml.safe_load(paths.CLAIMS.read_text())
TINY = "TINY MODEL"


def verdict_on(claim_id: str, *runs: RunRecord, among: list[Claim] = ALL) -> Verdict:
    """The verdict on the one claim whose id begins like this."""
    (found,) = (v for v in decide_claims(among, runs) if v.claim_id.startswith(claim_id))
    return found


def changed(claim_id: str, **values: Any) -> list[Claim]:
    """All claims, the published figure of one of them changed."""
    return [with_published(c, **values) if c.claim_id.startswith(claim_id) else c for c in ALL]


def record(
    scenario: str,
    summary: dict[str, Any],
    *,
    run_id: str = "20261124T100000Z-run",
    gpu: str | None = None,
    label: str | None = None,
    status: str = "complete",
    parameters: dict[str, Any] | None = None,
    **endpoint: Any,
) -> RunRecord:
    manifest = {
        "status": status,
        "labels": split_labels(label),
        "parameters": parameters or {},
        "gpus": [{"name": gpu, "memory_mib": 95830, "driver": "580"}] if gpu else [],
        "endpoint": {"url": "http://127.0.0.1:8000", **endpoint} if endpoint else None,
    }
    model = Bf16Summary if scenario == "transformers-bf16" else LoadSummary
    return RunRecord(run_id, scenario, Manifest.model_validate(manifest), model.model_validate(summary))


SHAPE = {
    "requests": 2000,
    "concurrency": 256,
    "max_tokens": 256,
    "prompts": "fixed",
    "prompt": PUBLISHED_PROMPT,
    "system": PUBLISHED_SYSTEM,
}


def on_h100(*, gpu: str = "NVIDIA H100 NVL", parameters: dict[str, Any] = SHAPE, **fields: Any) -> RunRecord:
    """A run under the published conditions, somewhat faster than published, with a measured TTFT."""
    reported = {"engine": "vllm", "version": "0.33.0", "model": "openai/gpt-oss-20b"}
    manifest = {name: fields.pop(name) for name in ("label", "status", "run_id") if name in fields}
    reported |= {name: fields.pop(name) for name in ("engine", "version", "model") if name in fields}
    summary = {
        "completed": 2000,
        "failed": 0,
        "wall_s": 60.0,
        "request_s": 33.3,
        "output_tok_s_total": 8500.0,
        "output_tok_s": 9000.0,
        "done_s": {"exclusive": {"p50": 7.9, "p90": 9.9, "p99": 12.5}, "p50_interval": [7.7, 8.0]},
        "ttft_s": {"n": 2000, "p50": 0.07, "exclusive": {"p50": 0.07, "p90": 0.2, "p99": 0.9}},
        "ttft_formula_s": {"p50": 2.02, "exclusive": {"p50": 2.02, "p90": 2.53, "p99": 3.2}},
    }
    return record("vllm-h100", summary | fields, gpu=gpu, parameters=parameters, **manifest, **reported)


def on_a10(tok_s: float = 50.0, ttft_s: float = 0.4, *, gpu: str = "NVIDIA A10-24Q", **fields: Any) -> RunRecord:
    summary = {
        "completed": 12,
        "failed": 0,
        "ttft_s": {"n": 12, "p50": ttft_s, "p50_interval": [ttft_s - 0.1, ttft_s + 0.1]},
        "ttfa_s": {"p50": 3.25},
        "cold": {"load_s": 9.5, "ttft_s": 9.9},
        "server": {"tok_s": {"n": 12, "p50": tok_s, "interval": [tok_s - 1, tok_s + 1]}},
    }
    reported = {"engine": "ollama", "model": "gpt-oss:20b", "quantisation": "MXFP4"} | fields
    return record("ollama-a10", summary, gpu=gpu, parameters={"concurrency": 1}, **reported)


def embedded(**summary: Any) -> RunRecord:
    """A run of the embedded engine without a GPU."""
    return record(
        "vllm-h100", summary, label=TINY, parameters=SHAPE, engine="llama.cpp", version="b10549", model="tiny"
    )


# --- the claims as they are

# Without any run: the verdicts that words, arithmetic and architectures give.
WITHOUT_RUNS = {
    "reproduced": "01 02 11 12 16 24 25 30 31 32 33 36 38 39 40 48",
    "refuted": "06 09 26 47",
    "outdated": "10 13",
    "not testable here": "03 04 07 08 15 17 18 19 20 22 23 27 28 34 35 37 41 42 43 44 45 46 49",
    "opinion": "05 14 21 29",
    **dict.fromkeys(("faster now", "slower now", "not comparable"), ""),
}


def test_without_a_run_every_claim_has_the_verdict_worked_out_by_hand():
    verdicts = decide_claims(ALL)
    assert [v.claim_id for v in verdicts] == [c.claim_id for c in ALL]
    by_word = {
        word: " ".join(v.claim_id[1:3] for v in verdicts if v.verdict == word) for word in verdict_counts(verdicts)
    }
    assert by_word == WITHOUT_RUNS


def test_only_a_claim_that_is_not_testable_names_what_it_needs():
    for verdict in decide_claims(ALL):
        assert (verdict.needs in NEEDS.values()) == (verdict.verdict == "not testable here")
        assert verdict.evidence
    assert verdict_on("C34").text == "not testable here (needs an H100 with vLLM)"


def test_the_file_contains_no_verdict():
    written = {str(key) for claim in FILE["claims"] for key in claim}
    assert "verdict" not in written
    assert {claim["decider"] for claim in FILE["claims"]} == set(DECIDERS), "every decider is used by a claim"


def test_an_embedded_run_decides_the_behaviour_of_servers_and_no_figure():
    run = embedded(
        completed=48,
        failed=0,
        wall_s=66.89,
        ttft_s={"n": 48, "p50": 0.02, "p50_interval": [0.01, 0.03], "exclusive": {"p50": 2.271}},
        ttft_formula_s={"p50": 0.3},
        probes={
            "http_version": "HTTP/1.1",
            "http2_requested": True,
            "wrong_model_status": 200,
            "response_keys": ["id"],
        },
    )
    before = {v.claim_id: v.verdict for v in decide_claims(ALL)}
    after = {v.claim_id: v for v in decide_claims(ALL, [run])}
    moved = {claim_id[:3] for claim_id, verdict in after.items() if verdict.verdict != before[claim_id]}
    assert moved == {"C27", "C28"}
    assert {v.label for v in after.values() if v.run_id} == {TINY}
    assert TINY in verdict_on("C34", run).evidence


# --- figures that need the hardware


def test_a_run_on_an_h100_within_the_tolerance_reproduces_the_figure():
    verdict = verdict_on("C34", on_h100())
    assert (verdict.verdict, verdict.measured, verdict.run_id) == ("reproduced", 60.0, "20261124T100000Z-run")
    assert "10% below 66.89, faster" in verdict.evidence
    assert verdict.label is None
    assert verdict_on("C41", on_h100()).interval == (7.7, 8.0)


def test_a_run_on_an_h100_outside_the_tolerance_is_faster_or_slower():
    assert verdict_on("C37", on_h100(output_tok_s_total=16_000.0)).verdict == "faster now"
    assert "109% above 7645.2, faster" in verdict_on("C37", on_h100(output_tok_s_total=16_000.0)).evidence
    assert verdict_on("C37", on_h100(output_tok_s_total=3_000.0)).verdict == "slower now"
    assert verdict_on("C34", on_h100(wall_s=20.0)).verdict == "faster now"
    ttft = verdict_on("C44", on_h100())
    assert ttft.verdict == "refuted", "the published TTFT was computed, so no later one is faster"
    assert "by the script's formula, s: 2.02" in ttft.evidence


def test_another_published_figure_gives_another_verdict():
    assert verdict_on("C34", on_h100(), among=changed("C34", value=200.0)).verdict == "faster now"
    assert verdict_on("C44", on_h100(), among=changed("C44", value=0.075)).verdict == "reproduced"
    assert verdict_on("C20", on_a10(), among=changed("C20", low=80.0, high=90.0)).verdict == "slower now"
    assert verdict_on("C36", among=changed("C35", value=31.0)).verdict == "refuted"
    assert verdict_on("C47", among=changed("C46", value=0.9)).verdict == "reproduced"
    assert verdict_on("C02", among=changed("C02", value=12.0)).verdict == "refuted"
    assert verdict_on("C06", among=changed("C06", value=1.0)).verdict == "reproduced"


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (on_h100(label=TINY), TINY),
        (on_h100(status="incomplete"), "incomplete"),
        (on_h100(wall_s=None), "has no wall_s"),
    ],
)
def test_a_run_that_measured_nothing_decides_no_figure_and_the_reason_is_named(run, reason):
    verdict = verdict_on("C34", run)
    assert verdict.verdict == "not testable here"
    assert verdict.run_id is None
    assert reason in verdict.evidence


def test_the_newest_run_that_counts_decides():
    old = on_h100(wall_s=200.0, run_id="20261101T100000Z-old")
    new = on_h100(run_id="20261102T100000Z-new")
    useless = on_h100(run_id="20261103T100000Z-tiny", label=TINY)
    assert verdict_on("C34", new, useless, old).run_id == new.run_id


def test_failures_are_a_claim_of_their_own():
    assert verdict_on("C49", on_h100()).verdict == "reproduced"
    assert verdict_on("C49", on_h100(failed=3)).verdict == "refuted"


@pytest.mark.parametrize(
    ("tok_s", "word", "reported"),
    [
        (50, "reproduced", "50 tokens/s"),
        (95, "faster now", "73% above 55, faster"),
        (20, "slower now", "56% below 45, slower"),
    ],
)
def test_throughput_on_an_a10_is_compared_with_the_published_range(tok_s, word, reported):
    verdict = verdict_on("C20", on_a10(tok_s=tok_s))
    assert (verdict.verdict, verdict.measured) == (word, tok_s)
    assert reported in verdict.evidence


def test_ttft_on_an_a10_is_compared_with_the_published_bound():
    assert verdict_on("C19", on_a10(ttft_s=0.4)).verdict == "reproduced"
    assert verdict_on("C19", on_a10(ttft_s=1.2)).verdict == "slower now"
    assert "first answer text, s: 3.25; cold, with loading, s: 9.9" in verdict_on("C19", on_a10()).evidence
    across = verdict_on("C19", on_a10(ttft_s=0.95))
    assert across.verdict == "not testable here"
    assert "more requests: the interval [0.85, 1.05] crosses the edge" in (across.needs or "")


@pytest.mark.parametrize("gpu", ["NVIDIA A100 80GB", "NVIDIA A10G"])
def test_an_a10_is_neither_an_a100_nor_an_a10g(gpu):
    assert verdict_on("C19", on_a10(gpu=gpu)).verdict == "not comparable"


def test_one_completed_request_reproduces_that_a_server_runs():
    assert verdict_on("C17", on_a10()).verdict == "reproduced"
    assert verdict_on("C23", on_h100()).verdict == "reproduced"
    assert verdict_on("C23", on_h100(completed=0, failed=2000)).verdict == "refuted"


def test_the_quantisation_is_the_one_that_ollama_reports():
    assert verdict_on("C15", on_a10()).verdict == "reproduced"
    assert verdict_on("C15", on_a10(quantisation="Q4_K_M")).verdict == "refuted"
    assert verdict_on("C15", on_a10(model="llama3:8b")).verdict == "not testable here"


# --- what servers do


def test_the_formula_is_decided_by_the_first_tokens_of_the_same_requests():
    def run(first_ms: float, label: str | None, run_id: str) -> RunRecord:
        traces = [chat(first_ms, 10, 256, request_id=i, sent_ms=3000.0 * i) for i in range(5)]
        summary = summarise(*derive_tables(traces), concurrency=1).model_dump()
        return record("vllm-h100", summary, label=label, run_id=run_id, engine="llama.cpp")

    quick, fitting = run(40, TINY, "a"), run(880, None, "b")
    verdict = verdict_on("C27", quick)
    assert (verdict.verdict, verdict.label, verdict.measured) == ("refuted", TINY, pytest.approx(0.040))
    assert verdict_on("C27", fitting).verdict == "reproduced"
    assert verdict_on("C27", fitting, quick).run_id == "a", "one server that the formula misses is enough"
    assert verdict_on("C27", quick, run(50, None, "c")).run_id == "c", "a real model goes before a tiny one"
    assert verdict_on("C27", embedded(ttft_s={"n": 3, "p50": 1.0}, ttft_formula_s={"p50": 9.0})).verdict == (
        "not testable here"
    )


def test_http2_is_decided_by_a_real_answer_over_a_socket():
    async def answer(exchange: Exchange) -> None:
        known = json.loads(exchange.body)["model"] == "m"
        body = b'{"choices": [], "usage": {"prompt_tokens": 7}}' if known else b'{"error": {"code": 404}}'
        status = b"200 OK" if known else b"404 Not Found"
        head = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
        await exchange.send(head, body)

    async def asked() -> dict[str, Any]:
        async with scripted(answer) as server:
            return await probe_server(server.endpoint)

    answers = asyncio.run(asked())
    run = record("vllm-h100", {"probes": answers}, engine="vllm", version="0.33.0")
    assert verdict_on("C28", run).verdict == "refuted"
    assert verdict_on("C24", run).verdict == "reproduced"
    assert verdict_on("C25", run).verdict == "reproduced"
    assert verdict_on("C26", run).verdict == "refuted"


@pytest.mark.parametrize("usage", [b"null", b"[]", b'{"prompt_tokens": "7"}', b'{"prompt_tokens": true}'])
def test_a_probe_of_a_server_with_an_odd_usage_has_no_prompt_tokens(usage: bytes):
    async def answer(exchange: Exchange) -> None:
        body = b'{"choices": [], "usage": %s}' % usage
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body), body)

    async def asked() -> ServerProbes:
        async with scripted(answer) as server:
            return await probe_server(server.endpoint)

    assert asyncio.run(asked()).prompt_tokens is None


def test_http2_is_reproduced_by_a_response_over_cleartext_http2_only():
    spoken = {"probes": {"http_version": "HTTP/2", "http2_requested": True}}
    assert verdict_on("C28", record("vllm-h100", spoken, engine="x")).verdict == "reproduced"
    over_tls = record("vllm-h100", spoken, engine="x", url="https://host")
    assert verdict_on("C28", over_tls).verdict == "not testable here"
    unasked = record("vllm-h100", {"probes": {"http_version": "HTTP/1.1", "http2_requested": False}}, engine="x")
    assert verdict_on("C28", unasked).verdict == "not testable here"


def test_only_vllm_decides_on_model_names_and_without_one_the_earlier_answer_does():
    any_name = {"probes": {"wrong_model_status": 200}}
    other = verdict_on("C24", record("vllm-h100", any_name, engine="llama.cpp"))
    assert (other.verdict, other.run_id) == ("reproduced", None)
    assert "vLLM 0.32.0 answered 404" in other.evidence
    assert "llama.cpp answered 200" in other.evidence
    assert verdict_on("C24", record("vllm-h100", any_name, engine="vllm")).verdict == "refuted"


def test_the_response_of_a_vllm_run_overrules_the_survey():
    def keys(*names: str) -> RunRecord:
        return record("vllm-h100", {"probes": {"response_keys": list(names)}}, engine="vllm", version="0.34.0")

    assert verdict_on("C26", keys("id", "ttft")).verdict == "reproduced"
    assert verdict_on("C26", keys("id")).verdict == "refuted"
    assert verdict_on("C25", keys("id")).verdict == "refuted"


@pytest.mark.parametrize(
    ("version", "word"),
    [("0.10.1+gptoss", "reproduced"), ("0.10.1.1", "outdated"), ("0.28.0", "outdated"), ("0.9.2", "outdated")],
)
def test_the_version_in_the_manifest_decides_what_is_outdated(version, word):
    run = record("vllm-h100", {}, engine="vllm", version=version)
    verdict = verdict_on("C10", run)
    assert verdict.verdict == word
    assert (verdict.run_id is None) == (version == "0.9.2"), "a version older than the survey decides nothing"


def test_an_outdated_claim_names_the_version_and_the_reason():
    assert "true of vLLM 0.10.1+gptoss" in verdict_on("C13").evidence
    assert "no longer true since 0.10.1.1 (2025-08-20): PR 22714" in verdict_on("C13").evidence


# --- sizes and sums


def attempt(outcome: str, budget_gib: float = 22.49) -> RunRecord:
    tried = {
        "outcome": outcome,
        "architecture": "gpt-oss-20b",
        "dtype": "bf16",
        "budget_bytes": int(budget_gib * 2**30),
    }
    where = {"how": "CPU address-space limit", "reached": "layer 14 of 24, experts.gate_up_proj", "predicted": None}
    where |= {"allocated_bytes": 0, "error": None, "exit_code": 0, "seconds": 1.0}
    return record("transformers-bf16", {"attempt": tried | where})


def test_an_attempt_to_load_bf16_on_an_a10_overrules_the_arithmetic():
    assert verdict_on("C16").verdict == "reproduced"
    assert verdict_on("C16").measured == pytest.approx(42.990, abs=0.001)
    run = attempt("out of memory")
    assert (verdict_on("C16", run).verdict, verdict_on("C16", run).run_id) == ("reproduced", run.run_id)
    assert "24.15 GB (CPU address-space limit): out of memory at layer 14 of 24" in verdict_on("C16", run).evidence
    assert verdict_on("C16", attempt("fits")).verdict == "refuted"
    for undecided in (attempt("fits", budget_gib=80.0), attempt("killed"), attempt("error")):
        assert (verdict_on("C16", undecided).verdict, verdict_on("C16", undecided).run_id) == ("reproduced", None)


def test_the_sink_is_learned_unless_the_weights_have_none():
    assert verdict_on("C09").measured == 1536
    without = [with_arguments(c, tensor="no_such_weight") for c in ALL if c.claim_id[:3] == "C09"]
    assert verdict_on("C09", among=without).verdict == "reproduced"


def test_a_division_by_a_published_zero_names_the_claim():
    with pytest.raises(UsageError, match="C36-rate-is-consistent"):
        verdict_on(
            "C36",
            among=[c for c in changed("C34", value=0.0, step=0.0) if c.claim_id[:3] in ("C31", "C34", "C35", "C36")],
        )


# --- what is shown


def test_verdicts_are_read_from_their_table_as_they_were_written(tmp_path):
    verdicts = decide_claims(ALL, [on_h100(), on_a10()])
    file = tmp_path / "verdicts.parquet"
    verdicts_to_table(verdicts).to_parquet(file)
    assert verdicts_from_table(pd.read_parquet(file)) == verdicts


@pytest.mark.parametrize("width", [60, 100, 140])
def test_the_text_names_every_claim_and_fits_the_terminal(width):
    verdicts = decide_claims(ALL, [embedded(ttft_s={"n": 9, "p50": 0.1}, ttft_formula_s={"p50": 3.0})])
    lines = verdict_text(verdicts, width).splitlines()
    assert max(map(len, lines)) <= width
    assert [line.split()[0] for line in lines if line.startswith("C")] == [v.claim_id[:3] for v in verdicts]
    assert any(TINY in line for line in lines)
    assert "49 claims: 16 reproduced, 5 refuted, 2 outdated" in " ".join(lines[-2:])


def test_the_page_has_a_row_a_claim_and_marks_the_tiny_model():
    page = verdict_page(decide_claims(ALL, [embedded(ttft_s={"n": 9, "p50": 0.1}, ttft_formula_s={"p50": 3.0})]))
    assert len(page) == len(ALL)
    assert page.loc["C27", "evidence"].startswith(TINY)
    assert page.loc["C34", "verdict"] == "not testable here (needs an H100 with vLLM)"


def test_the_overview_shows_each_verdict_by_word_hatch_and_count():
    verdicts = decide_claims(ALL)
    figure = verdict_overview(verdicts, Manifest(run_id="r", gpus=[]))
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == list(VERDICTS)
    assert [int(bar.get_width()) for bar in axes.patches] == list(verdict_counts(verdicts).values())
    assert len({bar.get_hatch() for bar in axes.patches}) == len(VERDICTS)
