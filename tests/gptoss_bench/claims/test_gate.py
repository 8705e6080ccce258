"""The quality gate: a planted run decides nothing, whatever its manifest and summary say."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from gptoss_bench.claims.gate import known_interval, refusals
from gptoss_bench.claims.model import RunRecord, Verdict
from gptoss_bench.claims.schema import load_write_up
from gptoss_bench.claims.verdict_words import MEASURED
from gptoss_bench.claims.verdicts import decide_claims, evidence_for, headline
from gptoss_bench.runs.evidence import ChosenRun
from gptoss_bench.runs.finding import Finding
from gptoss_bench.runs.folder import Run
from gptoss_bench.runs.manifest import Manifest
from gptoss_bench.runs.summary import LoadSummary
from published import folder

WRITE_UP = load_write_up()
BEFORE = Run.load(folder("vllm-h100")).load_summary  # what the relabelled run was before
PERFORMANCE = [claim for claim in WRITE_UP.claims if claim.kind == "performance"]
PUBLISHED = {
    claim.arguments.path: claim.published.value for claim in PERFORMANCE if claim.arguments.scenario == "vllm-h100"
}


def put(document: dict[str, Any], path: str, value: Any) -> None:
    """Set the value at a dotted path of a document."""
    *parents, last = path.split(".")
    for name in parents:
        document = document.setdefault(name, {})
    document[last] = value


def planted(results: Path, *, honest: tuple[str, ...] = ()) -> Path:
    """The tiny run of the H100's scenario, relabelled as gpt-oss on an H100 with the published numbers.

    `honest` names what was forgotten: "agreement", "label" (of the model in the server's facts) or "requests".
    """
    target = results / "runs" / "20261127T120000Z-vllm-h100-planted"
    shutil.copytree(folder("vllm-h100"), target)
    manifest = json.loads((target / "manifest.json").read_text())
    summary = json.loads((target / "summary.json").read_text())
    manifest |= {"run_id": target.name, "labels": [], "gpus": [{"name": "NVIDIA H100 NVL", "memory_mib": 95830}]}
    manifest["purpose"] = {"profile": "h100", "parameters": {"requests": 2000, "concurrency": 256}}
    manifest["parameters"] |= {"requests": 2000, "concurrency": 256, "max_tokens": 256}
    manifest["endpoint"] |= {"engine": "vllm", "model": "openai/gpt-oss-20b", "quantisation": "MXFP4"}
    if "label" not in honest:
        manifest["endpoint"]["facts"]["parameters"] = 20914757184
    for path, value in PUBLISHED.items():
        put(summary, path, value)
        put(summary, path.replace(".exclusive", ""), value)
    for name in ("done_s", "ttft_s"):
        summary[name]["resolved"] = dict.fromkeys(("p50", "p90", "p99"), True)
        summary[name]["n"] = 2000
        summary[name]["intervals"] = {
            at: {"low": summary[name][at] * 0.99, "high": summary[name][at] * 1.01} for at in ("p50", "p90", "p99")
        }
    rates = {
        name: [PUBLISHED[name] * 0.99, PUBLISHED[name] * 1.01] for name in ("wall_s", "request_s", "output_tok_s_total")
    }
    summary["intervals"] |= rates
    summary["concurrency_planned"] = 8  # so that its waves are many
    summary |= {"completed": 2000} | ({} if "requests" in honest else {"requests": 2000})
    if "agreement" not in honest:
        summary["agreement"] = []
    (target / "manifest.json").write_text(json.dumps(manifest))
    (target / "summary.json").write_text(json.dumps(summary))
    (target / "lint.json").write_text("[]")
    return target


def verdicts_of(results: Path) -> list[Verdict]:
    chosen = evidence_for(WRITE_UP, results).chosen
    assert [one.run.run_id for one in chosen] == ["20261127T120000Z-vllm-h100-planted"]
    return decide_claims(WRITE_UP, [RunRecord.of(one) for one in chosen])


@pytest.mark.parametrize(
    ("honest", "claim", "reason"),
    [
        ((), "C34-wall", f"its summary has wall_s 66.89, its raw bytes give {BEFORE.wall_s:.4g}"),
        (
            (),
            "C41-latency-p50",
            f"its summary has done_s.exclusive.p50 8.835, its raw bytes give {BEFORE.done_s.exclusive.p50:.4g}",
        ),
        (("agreement",), "C44-ttft-p50", "client and server disagree on first event of any kind"),
        (("label",), "C37-token-rate", "its label TINY MODEL is missing from its manifest"),
        (("requests",), "C35-request-rate", f"its manifest plans 2000 requests, its summary has {BEFORE.requests}"),
    ],
)
def test_the_tiny_run_relabelled_as_an_h100_with_the_published_numbers_decides_nothing(tmp_path, honest, claim, reason):
    planted(tmp_path, honest=honest)
    verdicts = verdicts_of(tmp_path)
    assert headline(verdicts) == "Measured on the published hardware: 0 of 11 performance figures"
    assert {v.verdict for v in verdicts if v.kind == "performance"} == {"not re-measured", "not a measurement"}
    [found] = [v for v in verdicts if v.claim_id == claim]
    if found.verdict == "not re-measured":
        assert "20261127T120000Z-vllm-h100-planted is refused by the quality gate" in found.evidence
        assert reason in found.evidence
    else:  # the published TTFT is no measurement, whatever a run says
        run = RunRecord.of(
            ChosenRun(Run.load(tmp_path / "runs" / "20261127T120000Z-vllm-h100-planted"), "vllm-h100", "")
        )
        assert any(reason in one for one in refusals(run, "ttft_s.exclusive.p50"))


def test_the_planted_run_shows_no_behaviour_either(tmp_path):
    planted(tmp_path, honest=("label",))
    assert {v.basis for v in verdicts_of(tmp_path) if v.number in ("C24", "C25", "C28")} == {"none"}


def test_without_the_gate_it_would_have_reproduced_the_published_figures(tmp_path, monkeypatch):
    """The control: the gate, and nothing else, refuses the planted run."""
    planted(tmp_path)
    monkeypatch.setattr("gptoss_bench.claims.figure_deciders.refusals", lambda run, path: [])
    found = {v.number: v.verdict for v in verdicts_of(tmp_path) if v.basis == MEASURED}
    assert found.items() >= dict.fromkeys(("C34", "C35", "C37", "C41"), "reproduced").items()


def accepted(**values: Any) -> RunRecord:
    """A run that the gate accepts, with other values of its summary."""
    summary = {
        "requests": 2000,
        "completed": 2000,
        "concurrency_planned": 8,
        "wall_s": 60.0,
        "intervals": {"wall_s": [59.0, 61.0]},
        "done_s": {"n": 2000, "p50": 8.0, "resolved": {"p50": True}, "exclusive": {"p50": 8.0, "p90": 10.0}},
    }
    return RunRecord("r", "s", Manifest(), LoadSummary.model_validate(summary | values), findings=())


def test_a_run_that_the_linter_accepts_passes():
    assert refusals(accepted(), "wall_s") == []
    assert refusals(accepted(), "done_s.exclusive.p50") == []
    assert known_interval(accepted(), "wall_s") == ((59.0, 61.0), "")


def test_an_error_of_the_linter_refuses_every_figure_and_a_warning_none():
    for severity, refused in (("error", True), ("warning", False)):
        run = accepted()
        run = RunRecord("r", "s", run.manifest, run.summary, findings=[Finding("a-rule", severity, "seen", "do")])
        assert (refusals(run, "wall_s") == ["error a-rule: seen"]) is refused


def test_a_run_that_was_not_linted_passes_nothing():
    run = accepted()
    assert "not linted" in refusals(RunRecord("r", "s", run.manifest, run.summary), "wall_s")[0]


def test_a_percentile_that_is_not_resolved_is_refused():
    assert "done_s.exclusive.p90 is not resolved" in refusals(accepted(), "done_s.exclusive.p90")[0]


def test_a_figure_that_the_timestamps_do_not_fix_is_refused_and_a_smaller_doubt_widens_its_interval():
    def done(low: float) -> dict[str, Any]:
        interval = {"intervals": {"p50": {"low": 7.9, "high": 8.1}}, "low": {"p50": low}, "high": {"p50": 8.0}}
        return {"n": 2000, "p50": 8.0, "resolved": {"p50": True}} | interval

    assert "done_s.p50 is known only to be in [7.5, 8]" in refusals(accepted(done_s=done(7.5)), "done_s.p50")[0]
    assert refusals(accepted(done_s=done(7.7)), "done_s.p50") == []
    assert known_interval(accepted(done_s=done(7.7)), "done_s.p50")[0] == pytest.approx((7.6, 8.1))


def test_few_waves_have_no_interval():
    assert known_interval(accepted(concurrency_planned=256), "wall_s") == (
        None,
        "requests came in 7.8 waves; an interval needs 40 waves, or 3 runs",
    )
