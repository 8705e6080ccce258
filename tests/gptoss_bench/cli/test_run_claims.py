"""A text becomes a claims file, and the verdicts notebook decides its claims from run folders."""

import shlex
import shutil
from pathlib import Path

import pytest
import yaml

import published
from gptoss_bench import paths
from gptoss_bench.claims import (
    RunRecord,
    Verdict,
    decide_claims,
    evidence_for,
    load_write_up,
    verdicts_from_table,
)
from gptoss_bench.cli.main import main
from gptoss_bench.runs import Run, newest_verdicts

PAGE = """\
# Numbers of our server

{engine} serves gpt-oss-20b on one {gpu}.

concurrency: 256
max tokens: 256
Number of requests: 2000
Output token throughput: 12000 tok/s
TTFT p50: 700 ms
TTFT p95: 2000 ms
Duration: {wall}
Mean latency: 5.4 s
"""
RANDOM_WEIGHTS, TINY = "20261127T030946Z-load-281d07", published.folder("vllm-h100").name
SMOKE = str(paths.PROFILES / "smoke.yaml")


def drafted(folder: Path, engine: str = "vLLM 0.26.0", gpu: str = "H100", wall: str = "42.7 s") -> Path:
    page, claims = folder / "page.md", folder / "claims.yaml"
    page.write_text(PAGE.format(engine=engine, gpu=gpu, wall=wall))
    assert main(["audit", str(page), "--draft", str(claims)]) == 0
    return claims


def executed(results: Path, claims: Path, *run_ids: str) -> tuple[dict[str, Verdict], str]:
    """The verdicts of the executed notebook by the name of their claim, and its page; runs are copies."""
    for run_id in run_ids:
        shutil.copytree(paths.RUNS / run_id, results / "runs" / run_id)
    given = ["-p", f"run_ids={list(run_ids)}", "--claims", str(claims), "--results", str(results)]
    assert main(["run", "--profile", SMOKE, *given, "verdicts"]) == 0
    [run] = [run for run in map(Run.load, (results / "runs").iterdir()) if run.scenario == "verdicts"]
    return by_name(verdicts_from_table(run.table("verdicts"))), (run.path / "notebook.html").read_text()


def decided(claims: Path, run_id: str) -> dict[str, Verdict]:
    """The same verdicts without the notebook, by one published run."""
    write_up = load_write_up(claims)
    runs = [RunRecord.of(chosen) for chosen in evidence_for(write_up, paths.RESULTS, [run_id]).chosen]
    return by_name(decide_claims(write_up, runs))


def by_name(verdicts: list[Verdict]) -> dict[str, Verdict]:
    return {one.claim_id.partition("-")[2]: one for one in verdicts}


def test_a_draft_has_the_conditions_that_the_text_states(tmp_path: Path) -> None:
    claims = {one["id"].partition("-")[2]: one for one in yaml.safe_load(drafted(tmp_path).read_text())["claims"]}
    assert claims["token-rate"]["with"] == {
        "path": "output_tok_s_total",
        "gpu": "H100",
        "engine": "vllm",
        "model": "gpt-oss-20b",
        "parameters": {"concurrency": 256, "max_tokens": 256},
        "better": "higher",
    }
    assert claims["wall"]["with"]["parameters"]["requests"] == 2000
    assert "no run reports this statistic" in claims["ttft-p95"]["with"]["because"]
    assert claims["requests"]["decider"] == "not_measured"


def test_what_the_text_does_not_state_is_named_and_not_assumed(tmp_path: Path) -> None:
    page, claims = tmp_path / "page.txt", tmp_path / "claims.yaml"
    page.write_text("Output token throughput: 12000 tok/s\nconcurrency: 8\n")
    assert main(["audit", str(page), "--draft", str(claims)]) == 0
    [rate] = [one for one in yaml.safe_load(claims.read_text())["claims"] if one["id"].endswith("token-rate")]
    assert rate["with"] == {"because": "the text does not state gpu, engine, model, max_tokens"}


def test_the_notebook_decides_a_draft_by_the_named_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    claims = drafted(tmp_path)
    found, page = executed(tmp_path / "results", claims, RANDOM_WEIGHTS, TINY)
    assert {name: one.text for name, one in decided(claims, RANDOM_WEIGHTS).items()} == {
        name: one.text for name, one in found.items()
    }
    rate = found["token-rate"]
    assert (rate.basis, rate.verdict) == ("measured with random weights", "measured elsewhere")
    assert rate.measured == pytest.approx(11989.05, abs=0.01)
    assert rate.run_id == RANDOM_WEIGHTS
    assert found["ttft-p95"].verdict == "not re-measured"
    assert "page.md, by fill in" in page
    assert "The published TTFT was not measured" not in page  # a section about another write-up
    out = capsys.readouterr().out
    assert "claims: " in out
    given = ["-p", f"run_ids={[RANDOM_WEIGHTS, TINY]}", "--claims", str(claims), "--results", str(tmp_path / "results")]
    assert shlex.join(["gptoss-bench", "run", "--profile", SMOKE, *given, "--all", "verdicts"]) in out
    assert newest_verdicts(tmp_path / "results") is None  # the site is about the claims file of the kit


@pytest.mark.parametrize(
    ("changed", "kinds"),
    [({"engine": "SGLang 0.5.1"}, "engine"), ({"engine": "Ollama 0.11", "gpu": "A10"}, "hardware, engine")],
)
def test_another_engine_or_gpu_is_not_comparable(tmp_path: Path, changed: dict[str, str], kinds: str) -> None:
    found = decided(drafted(tmp_path, **changed), RANDOM_WEIGHTS)
    rate = found["token-rate"]
    assert (rate.verdict, rate.detail) == ("not comparable", f" (differs in {kinds})")
    assert f"engine: vllm, not {changed['engine'].split()[0].lower()}" in rate.evidence
    assert not {one.verdict for one in found.values()} & {"reproduced", "not reproduced", "faster now", "slower now"}


def test_a_run_of_the_tiny_model_decides_no_figure(tmp_path: Path) -> None:
    found = decided(drafted(tmp_path), TINY)
    rate = found["token-rate"]
    assert (rate.verdict, rate.needs) == ("not re-measured", "the published hardware, engine and model")
    assert f"run {TINY} does not count: TINY MODEL" in rate.evidence


def test_the_notebook_decides_another_claims_file_of_the_repository(tmp_path: Path) -> None:
    file = paths.CLAIMS.parent / "gpustack-gpt-oss-20b-h100.yaml"
    found, page = executed(tmp_path, file)
    assert found["total-rate"].verdict == "consistent"
    assert "published figures against each other" in page
    assert "Optimizing GPT-OSS-20B Throughput" in page


def test_a_mistake_in_the_claims_file_is_found_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = tmp_path / "claims.yaml"
    wrong.write_text(drafted(tmp_path).read_text().replace("decider: measured", "decider: mesured"))
    capsys.readouterr()
    assert main(["run", "--profile", SMOKE, "--claims", str(wrong), "--results", str(tmp_path / "results")]) == 2
    assert "mesured" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


@pytest.mark.slow  # the published runs above are evidence of the same engine
def test_the_embedded_engine_is_measured_and_its_run_is_no_evidence_for_a_gpu(tmp_path: Path) -> None:
    claims, results = drafted(tmp_path), tmp_path / "results"
    command = ["run", "--profile", SMOKE, "--claims", str(claims), "--results", str(results), "vllm_h100", "verdicts"]
    assert main(command) == 0
    runs = {run.scenario: run for run in map(Run.load, (results / "runs").iterdir())}
    verdicts = verdicts_from_table(runs["verdicts"].table("verdicts"))
    [rate] = [one for one in verdicts if one.claim_id.endswith("token-rate")]
    assert (rate.verdict, rate.basis) == ("not re-measured", "none")
    assert runs["vllm-h100"].manifest.labels == ["TINY MODEL"]
    assert runs["vllm-h100"].run_id in {**runs["verdicts"].summary.chosen, **runs["verdicts"].summary.refused}
