"""Every decider, with evidence for each verdict that it can give; and how verdicts are shown."""

import asyncio
import json
from typing import Any

import pandas as pd
import pytest
import yaml

from changed_claims import with_arguments, with_published
from gptoss_bench import paths
from gptoss_bench.claims.deciders import DECIDERS
from gptoss_bench.claims.model import NEEDS, RunRecord, Verdict, WriteUp
from gptoss_bench.claims.schema import load_write_up
from gptoss_bench.claims.verdict_words import BASES, MEASURED, NO_BASIS, SOURCES, VERDICTS, WORDS_BY_BASIS
from gptoss_bench.claims.verdicts import (
    basis_counts,
    decide_claims,
    derived_page,
    headline,
    verdict_counts,
    verdict_page,
    verdict_text,
    verdicts_from_table,
    verdicts_to_table,
)
from gptoss_bench.figures.verdicts import verdict_overview
from gptoss_bench.runs.evidence import ChosenRun
from gptoss_bench.runs.folder import Run
from gptoss_bench.runs.labels import split_labels
from gptoss_bench.runs.manifest import Manifest
from gptoss_bench.runs.request_table import derive_tables
from gptoss_bench.runs.summary import LoadSummary, ServerProbes
from gptoss_bench.session.server_probes import probe_server
from gptoss_bench.stats.summary import summarise
from gptoss_client.errors import UsageError
from scripted import Exchange, scripted
from streams import chat

ALL = load_write_up()
FILE = yaml.safe_load(paths.CLAIMS.read_text())
TINY = "TINY MODEL"


def verdict_on(claim_id: str, *runs: RunRecord, among: WriteUp = ALL) -> Verdict:
    """The verdict on the one claim whose id begins like this."""
    (found,) = (v for v in decide_claims(among, runs) if v.claim_id.startswith(claim_id))
    return found


def record(
    scenario: str,
    summary: dict[str, Any],
    *,
    run_id: str = "20261124T100000Z-run",
    gpu: str | None = None,
    label: str | None = None,
    **endpoint: Any,
) -> RunRecord:
    """A linted run without findings."""
    manifest = {
        "labels": split_labels(label),
        "gpus": [{"name": gpu, "memory_mib": 95830, "driver": "580"}] if gpu else [],
        "endpoint": {"url": "http://127.0.0.1:8000", **endpoint},
    }
    records = Manifest.model_validate(manifest), LoadSummary.model_validate(summary)
    return RunRecord(run_id, scenario, *records, findings=())


# --- the claims as they are

# Without any run: basis and verdict by words, arithmetic, sources and text.
WITHOUT_RUNS = {
    "computed": {"fits": "01", "fits narrowly, not decided": "02", "does not fit": "16"},
    "published figures against each other": {"consistent": "31 32 33 39 40 49"},
    "read in sources": {
        "confirmed in sources": "11 12 15 51",
        "contradicted": "26 50",
        "outdated": "10 13",
        "imprecise": "09",
        "not re-measured": "07 08 59",
    },
    "read in the text or script": {
        "seen": "30 54 57 62",
        "contradicted": "47",
        "not delivered": "06 55",
        "not a measurement": "44 45 46",
    },
    "none": {
        "not re-measured": "17 19 20 23 24 25 27 28 34 35 37 41 42 43 52 56 61",
        "unreadable": "18 22 53 58",
        "out of scope": "03 04",
        "opinion": "05 14 21 29 60",
    },
}


def test_without_a_run_every_claim_has_the_basis_and_the_verdict_worked_out_by_hand():
    verdicts = decide_claims(ALL)
    assert [v.claim_id for v in verdicts] == [c.claim_id for c in ALL.claims]
    found = {
        basis: {
            word: " ".join(sorted(v.claim_id[1:3] for v in verdicts if (v.basis, v.verdict) == (basis, word)))
            for word in words
        }
        for basis, words in WITHOUT_RUNS.items()
    }
    assert found == WITHOUT_RUNS
    assert sum(len(ids.split()) for words in found.values() for ids in words.values()) == len(verdicts)


def test_no_run_no_performance_figure():
    assert headline(decide_claims(ALL)) == "Measured on the published hardware: 0 of 11 performance figures"


def test_the_file_contains_no_verdict_and_nothing_that_decides_one_alone():
    def keys(value: Any) -> set[str]:
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        return {str(key) for key in (value if isinstance(value, dict) else ())}.union(*map(keys, inner))

    assert not {"verdict", "basis", "record"} & keys(FILE["claims"])
    assert not [claim["id"] for claim in FILE["claims"] if isinstance(claim.get("with", {}).get("holds"), bool)]
    assert {claim["decider"] for claim in FILE["claims"]} == set(DECIDERS), "every decider is used by a claim"


def test_derived_numbers_are_no_claims_and_the_ids_stay():
    ids = {claim.claim_id[:3] for claim in ALL.claims}
    derived = {one.derived_id[:3] for one in ALL.derived}
    assert derived == {"C36", "C38", "C48"}
    assert ids | derived >= {f"C{number:02}" for number in range(1, 50)}
    assert not ids & derived
    page = derived_page(ALL)
    assert "255.694 tokens a request" in page.loc["C38", "how"]
    assert "openai-harmony" in page.loc["C48", "what else is known"]


def test_the_words_of_a_basis_belong_to_it():
    claim = ALL.claims[0]
    for basis, words in WORDS_BY_BASIS.items():
        for word in VERDICTS:
            if word in words:
                assert claim.verdict(basis, word, "").verdict == word
            else:
                with pytest.raises(ValueError, match="is no verdict for the basis"):
                    claim.verdict(basis, word, "")
    only = {word for word in WORDS_BY_BASIS[MEASURED]}
    assert only == {"reproduced", "not reproduced", "faster now", "slower now"}
    assert not only & {word for basis, words in WORDS_BY_BASIS.items() if basis != MEASURED for word in words}


def test_only_a_claim_that_was_not_measured_names_what_it_needs():
    for verdict in decide_claims(ALL):
        assert (verdict.needs in NEEDS.values()) == (verdict.verdict == "not re-measured")
        assert verdict.evidence and verdict.lines
    assert verdict_on("C34").text == "not re-measured (needs an H100 NVL with vLLM)"


def test_no_verdict_by_sources_text_or_arithmetic_has_a_run_or_a_label():
    tiny = record(
        "vllm-h100",
        {"probes": {"response_keys": ["id"], "wrong_model_status": 404}},
        engine="vllm", version="0.32.0", model="tiny", label=TINY,
    )  # fmt: skip
    for verdict in decide_claims(ALL, [tiny]):
        if verdict.basis in (SOURCES, "computed", "published figures against each other", "read in the text or script"):
            assert (verdict.run_id, verdict.label) == (None, None)
            assert tiny.run_id not in verdict.evidence
        if verdict.basis == SOURCES and verdict.number not in ("C09",):
            assert ", read 2026-11-2" in verdict.evidence


# --- what a server shows


def test_the_formula_is_decided_by_the_first_tokens_of_the_same_requests():
    def run(first_ms: float, run_id: str, **more: Any) -> RunRecord:
        traces = [chat(first_ms, 10, 256, request_id=i, sent_ms=3000.0 * i) for i in range(25)]
        summary = summarise(*derive_tables(traces), concurrency=1).model_dump()
        return record("vllm-h100", summary, run_id=run_id, engine="llama.cpp", **more)

    quick, fitting = run(40, "a", label=TINY, model="tiny"), run(880, "b", label=TINY, model="tiny")
    verdict = verdict_on("C27", quick)
    assert (verdict.basis, verdict.verdict, verdict.label) == ("seen on a stand-in", "contradicted", TINY)
    assert (verdict.text, verdict.measured) == ("contradicted, not general", pytest.approx(0.040))
    assert verdict_on("C27", fitting).text == "seen, not general"
    both = verdict_on("C27", fitting, quick)
    assert both.run_id == "a", "one server that the formula misses is enough"
    assert "times in run b" in both.evidence
    real = run(880, "c", model="openai/gpt-oss-20b", gpu="NVIDIA L4")
    assert verdict_on("C27", quick, real).run_id == "c", "gpt-oss goes before a stand-in"
    assert verdict_on("C27", real).basis_text == "measured on other hardware (NVIDIA L4: llama.cpp)"
    few = record("vllm-h100", {"ttft_s": {"n": 3, "p50": 1.0}, "ttft_formula_s": {"p50": 9.0}}, model="m", engine="e")
    assert verdict_on("C27", few).verdict == "not re-measured"


def test_a_formula_is_not_decided_by_times_that_the_gate_refuses():
    disagreeing = {
        "quantity": "first event of any kind", "statistic": "mean", "unit": "s", "client": 0.07, "server_low": 0.03,
        "server_high": 0.03, "apart": 0.04, "error": 0.01, "agrees": False, "client_n": 48, "server_n": 48,
        "basis": "b",
    }  # fmt: skip
    times = {"n": 48, "p50": 0.07, "resolved": {"p50": True}}
    summary = {"agreement": [disagreeing], "ttft_s": times, "ttft_formula_s": times | {"p50": 0.5}}
    verdict = verdict_on("C27", record("vllm-h100", summary, engine="vllm", model="tiny", label=TINY))
    assert verdict.verdict == "not re-measured"
    assert "refused by the quality gate" in verdict.evidence and "disagree" in verdict.evidence


def test_what_a_server_sends_is_decided_by_a_real_answer_over_a_socket():
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
    run = record("vllm-h100", {"probes": answers}, engine="vllm", version="0.33.0", model="m", label=TINY)
    assert verdict_on("C28", run).verdict == "contradicted"
    assert verdict_on("C24", run).verdict == "seen"
    assert verdict_on("C25", run).verdict == "seen"


@pytest.mark.parametrize("usage", [b"null", b"[]", b'{"prompt_tokens": "7"}', b'{"prompt_tokens": true}'])
def test_a_probe_of_a_server_with_an_odd_usage_has_no_prompt_tokens(usage: bytes):
    async def answer(exchange: Exchange) -> None:
        body = b'{"choices": [], "usage": %s}' % usage
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body), body)

    async def asked() -> ServerProbes:
        async with scripted(answer) as server:
            return await probe_server(server.endpoint)

    assert asyncio.run(asked()).prompt_tokens is None


def test_http2_is_seen_over_cleartext_only_and_where_it_was_asked_for():
    spoken = {"probes": {"http_version": "HTTP/2", "http2_requested": True}}
    served = {"engine": "x", "model": "m", "label": TINY}
    assert verdict_on("C28", record("vllm-h100", spoken, **served)).verdict == "seen"
    assert verdict_on("C28", record("vllm-h100", spoken, url="https://host", **served)).verdict == "not re-measured"
    unasked = {"probes": {"http_version": "HTTP/1.1", "http2_requested": False}}
    assert verdict_on("C28", record("vllm-h100", unasked, **served)).verdict == "not re-measured"
    assert "this is no property of vLLM" in verdict_on("C28", record("vllm-h100", spoken, **served)).evidence


def test_only_vllm_decides_on_model_names():
    any_name = {"probes": {"wrong_model_status": 200}}
    other = verdict_on("C24", record("vllm-h100", any_name, engine="llama.cpp", model="m", label=TINY))
    assert (other.verdict, other.run_id) == ("not re-measured", None)
    assert "llama.cpp: the server answered 200" in other.evidence
    vllm = record("vllm-h100", any_name, engine="vllm", model="m", label=TINY)
    assert verdict_on("C24", vllm).verdict == "contradicted"


@pytest.mark.parametrize(
    ("where", "basis", "word"),
    [
        ({"gpu": "NVIDIA H100 NVL"}, "measured on the published hardware and model", "reproduced"),
        ({"gpu": "NVIDIA H100 80GB HBM3"}, "measured on other hardware", "seen"),
        ({"gpu": "NVIDIA H100 NVL", "label": "RANDOM WEIGHTS"}, "measured with random weights", "seen"),
        ({"label": TINY}, "seen on a stand-in", "seen"),
        ({"gpu": "NVIDIA H100 NVL", "label": "REMOTE SERVER"}, "seen on a stand-in", "seen"),
    ],
)
def test_the_basis_of_a_behaviour_is_what_it_was_seen_on(where, basis, word):
    answered = {"probes": {"wrong_model_status": 404}}
    verdict = verdict_on("C24", record("vllm-h100", answered, engine="vllm", model="openai/gpt-oss-20b", **where))
    assert (verdict.basis, verdict.verdict) == (basis, word)


def test_the_quantisation_is_the_one_that_ollama_reports_else_that_of_the_sources():
    def on_a10(**fields: Any) -> RunRecord:
        reported = {"engine": "ollama", "model": "gpt-oss:20b", "quantisation": "MXFP4"} | fields
        return record("ollama-a10", {}, gpu="NVIDIA A10-24Q", **reported)

    assert verdict_on("C15", on_a10()).verdict == "reproduced"
    assert verdict_on("C15", on_a10(quantisation="Q4_K_M")).verdict == "not reproduced"
    for other in (on_a10(model="llama3:8b"), on_a10(label=TINY)):
        assert (verdict_on("C15", other).basis, verdict_on("C15", other).run_id) == (SOURCES, None)
    changed = with_arguments(ALL, "C15", value="Q4_K_M")
    assert verdict_on("C15", among=changed).verdict == "contradicted"
    assert verdict_on("C15", among=with_arguments(ALL, "C15", sources=())).verdict == "not re-measured"


# --- sources, text and sums


def test_an_outdated_claim_names_the_version_and_the_reason():
    verdict = verdict_on("C13")
    assert verdict.text == "outdated since vLLM 0.10.1.1, 2025-08-20"
    assert "Triton, capability 8.0: on request (VLLM_ATTENTION_BACKEND=TRITON_ATTN_VLLM_V1" in verdict.evidence
    assert "vLLM issue 22331, comment of 2025-08-11, read 2026-11-27" in verdict.evidence
    hopper = with_arguments(ALL, "C13", capability="9.0")
    assert verdict_on("C13", among=hopper).verdict == "contradicted", (
        "on Hopper vLLM took sinks from the first build on"
    )


def test_both_halves_of_ollama_or_transformers_are_decided():
    transformers = verdict_on("C50")
    assert transformers.text == "contradicted at its date, true since transformers 4.55.1, 2025-08-13"
    assert "4.55.0, 2025-08-05: loading fails: compute capability 8.6 is below 9.0" in transformers.evidence
    assert verdict_on("C50", among=with_arguments(ALL, "C50", capability="9.0")).verdict == "confirmed in sources"
    assert verdict_on("C51").verdict == "confirmed in sources"


def test_a_field_of_a_response_is_decided_by_what_was_read_of_it():
    assert verdict_on("C26").verdict == "contradicted"
    read = ALL.by_id["C26-ttft-field"].arguments.entries
    entries = [one.model_copy(update={"has": ("ttft",), "lacks": ()}) for one in read]
    assert verdict_on("C26", among=with_arguments(ALL, "C26", entries=tuple(entries))).verdict == "confirmed in sources"
    older = (*read[:-1], entries[-1])
    assert verdict_on("C26", among=with_arguments(ALL, "C26", entries=older)).text.startswith(
        "contradicted at its date, true since vLLM 0.33.0"
    )


def test_the_sink_is_learned_unless_the_weights_have_none():
    assert verdict_on("C09").measured == 1536
    assert verdict_on("C09", among=with_arguments(ALL, "C09", tensor="no_such")).verdict == "confirmed in sources"


def test_a_quote_shows_what_it_contains():
    assert verdict_on("C54").verdict == "seen"
    other = with_arguments(ALL, "C54", quote="default=128, default=1024, default=128")
    assert verdict_on("C54", among=other).verdict == "contradicted"
    assert "does not show default=64" in verdict_on("C54", among=other).evidence


def test_the_published_ttft_is_a_measurement_where_it_is_no_share_of_the_latency():
    assert [verdict_on(at).text for at in ("C44", "C55")] == ["not a measurement (see C47)", "not delivered"]
    free = with_published(ALL, "C46", value=0.9)
    assert verdict_on("C47", among=free).verdict == "seen"
    assert verdict_on("C44", among=free).verdict == "not re-measured"
    assert verdict_on("C55", among=free).verdict == "seen"


@pytest.mark.parametrize(("gb", "word"), [(13.0, "does not fit"), (14.5, "fits narrowly, not decided"),
                                          (16.0, "fits narrowly, not decided"), (16.2, "fits")])  # fmt: skip
def test_where_less_is_left_than_assumed_the_arithmetic_does_not_decide(gb, word):
    verdict = verdict_on("C02", among=with_published(ALL, "C02", value=gb))
    assert (verdict.basis, verdict.verdict, verdict.measured) == ("computed", word, pytest.approx(15.022, abs=0.001))


def test_bf16_is_held_against_both_forms_of_an_a10():
    evidence = verdict_on("C16").evidence
    assert "178% of NVIDIA A10 (bare" in evidence and "167% of NVIDIA A10-24Q" in evidence
    assert "layer" not in evidence


def test_a_check_of_published_figures_says_what_would_have_failed():
    for number in ("C31", "C32", "C33", "C39", "C40", "C49"):
        assert "what would have failed this check: " in verdict_on(number).evidence
        assert verdict_on(number).evidence.endswith("nothing was measured")
    assert verdict_on("C31", among=with_published(ALL, "C35", value=31.0)).verdict == "inconsistent"
    assert verdict_on("C06", among=with_published(ALL, "C06", value=1.0)).verdict == "seen"


def test_a_division_by_a_published_zero_names_the_claim():
    with pytest.raises(UsageError, match="C39-progress-rate"):
        decide_claims(with_published(ALL, "C39", value=0.0, step=0.0))


# --- what is shown


def test_verdicts_are_read_from_their_table_as_they_were_written(tmp_path):
    verdicts = decide_claims(ALL)
    file = tmp_path / "verdicts.parquet"
    verdicts_to_table(verdicts).to_parquet(file)
    assert verdicts_from_table(pd.read_parquet(file)) == verdicts
    with pytest.raises(UsageError, match="run the verdicts notebook again"):
        verdicts_from_table(pd.read_parquet(file).drop(columns="basis"))


@pytest.mark.parametrize("width", [60, 100, 140])
def test_the_text_begins_with_the_headline_names_every_claim_and_fits_the_terminal(width):
    verdicts = decide_claims(ALL)
    text = verdict_text(verdicts, width)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    assert [line.split()[0] for line in lines if line.startswith("C")] == [v.number for v in verdicts]
    computed = sum(verdict.basis == "computed" for verdict in verdicts)
    assert " ".join(text.split()).startswith(
        f"Measured on the published hardware: 0 of 11 performance figures {len(verdicts)} claims: {computed} computed, "
    )


def test_the_page_has_a_row_a_claim_with_its_line_and_its_basis():
    page = verdict_page(decide_claims(ALL))
    assert len(page) == len(ALL.claims)
    assert page.loc["C47", ["line", "basis", "verdict"]].tolist() == [
        "126-130, 343",
        "read in the text or script",
        "contradicted",
    ]


def test_the_overview_shows_each_basis_by_name_hatch_and_count():
    verdicts = decide_claims(ALL)
    (axes,) = verdict_overview(verdicts, Manifest(run_id="r", gpus=[])).axes
    shown = [" ".join(label.get_text().split()) for label in axes.get_yticklabels()]
    assert shown == list(BASES) == [*basis_counts(verdicts)]
    assert [int(bar.get_width()) for bar in axes.patches] == list(basis_counts(verdicts).values())
    assert len({(bar.get_hatch(), bar.get_facecolor()) for bar in axes.patches}) == len(BASES)
    assert axes.get_title() == headline(verdicts)
    assert sum(verdict_counts(verdicts).values()) == len(verdicts)


def test_every_basis_and_every_verdict_is_explained_on_the_page_of_the_method():
    method = (paths.SITE_TEMPLATES / "method.html.j2").read_text()
    assert all(f"\n| {word} |" in method for word in VERDICTS)
    assert NO_BASIS in BASES and len(VERDICTS) == len(set(VERDICTS))


def test_the_trial_of_the_method_is_evidence_beside_the_published_figures():
    tried = Run.load(paths.RUNS / "20261127T191016Z-method-trial-035478")
    alone, beside = (
        verdict_on("C47", *runs) for runs in ((), [RunRecord.of(ChosenRun(tried, tried.scenario, "named"))])
    )
    assert (beside.basis, beside.verdict, beside.run_id) == (alone.basis, alone.verdict, None)
    assert beside.evidence.removeprefix(alone.evidence) == (
        "; tried on a server whose first token came after 0.201 s, it prints a TTFT of 2.378 s, p50"
        f" (run {tried.run_id})"
    )
