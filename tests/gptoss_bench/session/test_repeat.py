"""A notebook repeats its load: one run folder per repeat, one repeat group, an interval over the runs."""

import asyncio

import pytest

from gptoss_bench.calibration.reference.engine import serve_reference
from gptoss_bench.calibration.reference.plan import ReferencePlan
from gptoss_bench.engines.launch_options import ServerChoice
from gptoss_bench.runs.catalogue import new_repeat_group, repeated_runs
from gptoss_bench.runs.evidence import choose_evidence
from gptoss_bench.runs.folder import Run
from gptoss_bench.runs.manifest import Purpose
from gptoss_bench.runs.record import write_record
from gptoss_bench.session.session import serving
from gptoss_bench.stats.trials import run_spreads, spreads_text
from gptoss_client.errors import UsageError
from gptoss_client.plan import LoadPlan
from serving import held

PLAN = LoadPlan(concurrency=2, requests=4, warmup=1, max_tokens=4, prompts="distinct", sweep=(1,))


def repeated(results, repeats):
    """Run the load so often against one reference server, and return the first run and the summaries."""

    async def measure(server):
        group = new_repeat_group(repeats)
        opened = serving("vllm-h100", server, plan=PLAN, results_dir=str(results), repeat_group=group)
        async with opened as session:
            await session.load(PLAN)
        summaries = await session.repeat(PLAN, server, repeats)
        return session.finish(), summaries

    with held(serve_reference(ReferencePlan(ttft_s=0.02, itl_s=0.005, tokens=4), results)) as server:
        return asyncio.run(measure(ServerChoice(url=server.url, model=server.model)))


def test_three_runs_of_a_notebook_give_an_interval(tmp_path):
    first, summaries = repeated(tmp_path, 3)
    runs = [Run.load(path) for path in repeated_runs(tmp_path, first.manifest.repeat_group)]
    assert [run.manifest.status for run in runs] == ["complete"] * 3
    assert sorted(run.run_id for run in runs)[0] == first.run_id
    salts = sorted(run.manifest.parameters["salt"] for run in runs)
    assert salts == [PLAN.salt, PLAN.salt + 1, PLAN.salt + 2]
    assert [len(run.summary.sweep) for run in runs] == [1, 0, 0]
    assert [summary.completed for summary in summaries] == [4, 4, 4]
    found = run_spreads(summaries)["ttft_s.p50"]
    assert found.n == 3 and found.interval.low < found.mean < found.interval.high
    assert any(line.startswith("TTFT p50, s ") and "[" in line for line in spreads_text(run_spreads(summaries)))


def test_one_run_says_that_an_interval_needs_more(tmp_path):
    run, summaries = repeated(tmp_path, 1)
    assert run.manifest.repeat_group is None
    assert spreads_text(run_spreads(summaries)) == ["one run: an interval over runs needs 3, set repeats to 3"]


def test_the_repeats_of_a_labelled_run_are_evidence_with_it(tmp_path):
    first, _ = repeated(tmp_path, 2)
    for path in [first.path, *repeated_runs(tmp_path, first.manifest.repeat_group)]:
        manifest = Run.load(path).manifest
        manifest.purpose, manifest.labels, manifest.gpus = Purpose(profile="local", parameters={}), ["TINY MODEL"], []
        write_record(path / "manifest.json", manifest)
    assert len(choose_evidence(tmp_path).chosen) == 2


@pytest.mark.parametrize("repeats", [0, -1])
def test_a_load_cannot_run_less_than_once(repeats):
    with pytest.raises(UsageError, match=f"repeats must be 1 or more, not {repeats}"):
        new_repeat_group(repeats)
