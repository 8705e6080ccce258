"""A sweep is separate from the load before it, is rebuilt from its raw bytes, and is reported level by level."""

import asyncio
import json
from dataclasses import asdict
from pathlib import Path

import pytest
from matplotlib.text import Text

from gptoss_bench.calibration.reference.engine import serve_reference
from gptoss_bench.calibration.reference.plan import ReferencePlan
from gptoss_bench.cli.main import main
from gptoss_bench.engines.launch_options import ServerChoice
from gptoss_bench.figures.load import requests_in_flight
from gptoss_bench.figures.sweep import NO_RATE, NO_SWEEP, PublishedPoint, throughput_against_latency
from gptoss_bench.lint.check import check_run
from gptoss_bench.runs.folder import Run
from gptoss_bench.runs.manifest import Manifest
from gptoss_bench.runs.phases import PHASE_INFERENCE
from gptoss_bench.runs.planned_load import PlannedLoad
from gptoss_bench.runs.summary import Slo, SweepRow
from gptoss_bench.session.session import serving
from gptoss_bench.stats.summary import summarise
from gptoss_bench.stats.sweep import sweep_rows
from gptoss_bench.stats.sweep_plan import MIN_LEVEL_REQUESTS, parse_sweep_levels, sweep_plans
from gptoss_bench.stats.text_report import result_block
from gptoss_client.errors import RunFailed, UsageError
from gptoss_client.plan import LoadPlan
from scripted import Exchange, scripted, speak
from serving import held

TTFT_S, ITL_S, TOKENS = 0.05, 0.01, 16
LEVELS = (1, 2, 5)
PUBLISHED = PublishedPoint("published, H100", 256, 7645.2, 8.835, 2.271)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A load with a sweep, from the shell, against a server whose every token is due at a known time."""
    results = tmp_path_factory.mktemp("results")
    with held(serve_reference(ReferencePlan(ttft_s=TTFT_S, itl_s=ITL_S, tokens=TOKENS), results)) as server:
        load = ["load", "--url", server.url, "--model", server.model, "-c", "3", "-n", "9", "--warmup", "3"]
        more = ["--prompts", "distinct", "--sweep", "1,2,5", "--sweep-waves", "3", "--results", str(results)]
        assert main([*load, *more]) == 0
    [path] = (results / "runs").iterdir()
    return Run.load(path)


def test_each_level_is_a_row_of_what_the_tables_hold(run) -> None:
    rows = run.summary.sweep
    assert [row.concurrency for row in rows] == list(LEVELS)
    assert [row.requests for row in rows] == [MIN_LEVEL_REQUESTS, MIN_LEVEL_REQUESTS, 15]
    for row in rows:
        assert row.completed == row.requests
        assert row.tpot_s.p50 == pytest.approx(ITL_S, rel=0.5)
        assert row.ttft_s.p50 == pytest.approx(TTFT_S, rel=0.5)
        assert row.ttft_s.p50_interval is None and "waves: repeat the run" in row.ttft_s.p50_why
        assert 0 < row.cpu_share < 1
        of_level = run.requests[run.requests.phase == f"sweep-{row.concurrency}"]
        assert len(of_level) == row.requests
    rates = [row.output_tok_s for row in rows]
    assert rates == sorted(rates)


def test_nothing_of_the_measured_load_is_moved_by_it(run) -> None:
    requests, events = (table[~table.phase.str.startswith("sweep")] for table in (run.requests, run.events))
    assert set(requests.phase) == {"warmup", "measure"}
    alone = summarise(requests, events, concurrency=3)
    assert alone.client.lag_s == run.summary.client.lag_s
    computed = alone.model_fields_set - {"client"}
    assert run.summary.model_dump(include=computed) == alone.model_dump(include=computed)
    sweep = run.requests[run.requests.phase.str.startswith("sweep")]
    [inference] = [span for span in run.summary.telemetry.phases if span.phase == PHASE_INFERENCE]
    assert inference.end_ns <= sweep.sent_ns.min()
    assert requests.done_ns.max() <= inference.end_ns
    assert run.requests.prompt_id.is_unique  # distinct prompts stay distinct over all levels
    assert run.manifest.parameters["sweep"] == list(LEVELS)
    requests_in_flight(run.requests, run.manifest)  # of the load alone


def test_each_level_has_the_goodput_of_the_limits_of_the_load_and_is_drawn_with_it(run) -> None:
    limits = Slo(ttft_s=60.0, e2e_s=0.001)
    assert sweep_rows(run.requests, run.events, {})[0].goodput_share is None
    missed, met = (
        sweep_rows(run.requests, run.events, {}, slo=slo, full_length=True) for slo in (limits, Slo(ttft_s=60))
    )
    assert [row.goodput_share for row in missed] == [0.0] * len(LEVELS)
    assert [row.goodput_share for row in met] == [1.0] * len(LEVELS)
    assert all(row.goodput_request_s > 0 for row in met) and missed[0].goodput_interval is None
    manifest = Manifest(parameters={"concurrency": 3, "slo": limits.model_dump()})
    *panels, goodput = throughput_against_latency(met, manifest).axes
    assert len(panels) == 3 and {"completed", "within SLO", "1: 100%"} <= {text.get_text() for text in goodput.texts}
    lines = [text.get_text() for axes in panels for text in axes.texts if text.get_text().startswith("SLO")]
    assert lines == ["SLO E2E 0.001 s", "SLO TTFT 60 s"]


def test_the_interval_of_the_goodput_is_that_of_its_share() -> None:
    row = SweepRow(concurrency=1, goodput_request_s=8.0, goodput_share=0.8, goodput_share_interval=(0.7, 0.9))
    assert row.goodput_interval == pytest.approx((7.0, 9.0))


def test_levels_are_no_warm_up(run) -> None:
    for requests, fires in ((run.requests, False), (run.requests[run.requests.phase != "warmup"], True)):
        found = {finding.rule for finding in check_run(run.summary, requests, Manifest())}
        assert ("no-warmup" in found) is fires


def test_it_is_made_again_byte_for_byte(run) -> None:
    assert main(["rebuild", "--check", str(run.path)]) == 0


def test_the_block_has_a_line_a_level(run) -> None:
    text = result_block(run.summary, title_line="t")
    [table] = [part for part in text.split("\n\n") if part.startswith("Sweep")]
    assert "\nPrompts of the sweep: distinct, all of one length\n" in table
    lines = [line.split() for line in table.splitlines() if line.strip()[:1].isdigit()]
    assert [line[0] for line in lines] == ["1", "2", "5"]
    assert lines[0][3] == f"{run.summary.sweep[0].output_tok_s:.1f}"
    assert "Sweep" not in result_block(run.summary.model_copy(update={"sweep": []}), title_line="t")


def test_it_is_drawn_with_the_published_point_on_the_same_axes(run) -> None:
    comparable = run.manifest.model_copy(update={"labels": []})
    figure = throughput_against_latency(run.summary.sweep, comparable, PUBLISHED)
    latency, tpot, ttft = figure.axes
    for axes, name, scale in ((latency, "done_s", 1), (tpot, "tpot_s", 1e3), (ttft, "ttft_s", 1)):
        [curve] = [line for line in axes.get_lines() if line.get_label() == "p50"]
        assert list(curve.get_xdata()) == [row.output_tok_s for row in run.summary.sweep]
        assert list(curve.get_ydata()) == [row.times(name).p50 * scale for row in run.summary.sweep]
        texts = [text.get_text().removesuffix(" !") for text in axes.texts]
        assert texts[: len(LEVELS)] == [str(level) for level in LEVELS]
    [star] = [line for line in latency.get_lines() if line.get_marker() == "*"]
    assert (star.get_xdata()[0], star.get_ydata()[0]) == (PUBLISHED.tok_s, PUBLISHED.done_s)
    low, high = latency.get_xlim()
    assert low < PUBLISHED.tok_s < high
    assert "published, H100, p50, by its formula" in [text.get_text() for text in ttft.get_legend().get_texts()]
    assert "published: not reported" in [text.get_text() for text in tpot.get_legend().get_texts()]


def test_a_labelled_run_is_drawn_without_the_published_point(run) -> None:
    figure = throughput_against_latency(run.summary.sweep, run.manifest, PUBLISHED)
    assert not [line for axes in figure.axes for line in axes.get_lines() if line.get_marker() == "*"]
    assert "REFERENCE SERVER" in [text.get_text() for text in figure.findobj(Text)]
    assert "REFERENCE SERVER cannot be compared with it" in " ".join(figure.get_supxlabel().split())


@pytest.mark.filterwarnings("error")
def test_a_time_of_0_stands_at_the_foot_in_words(run) -> None:
    """Where most of a level's tokens came in one read; a logarithmic axis has no place for it."""
    first, *others = run.summary.sweep
    at_zero = first.tpot_s.model_copy(update={"p50": 0.0, "p50_interval": (0.0, 0.004)})
    hidden = first.model_copy(update={"tpot_s": at_zero})
    figure = throughput_against_latency([hidden, *others], run.manifest)
    tpot = figure.axes[1]
    [curve] = [line for line in tpot.get_lines() if line.get_label() == "p50"]
    assert list(curve.get_xdata()) == [row.output_tok_s for row in others]
    assert f"{LEVELS[0]}: p50 not resolved" in [text.get_text() for text in tpot.texts]
    assert tpot.get_ylim()[0] > 0


def test_no_sweep_and_one_without_a_rate_are_said(run) -> None:
    without = run.summary.sweep[0].model_copy(update={"output_tok_s": None, "output_tok_s_total": None})
    for rows, words in (([], NO_SWEEP), ([without], NO_RATE)):
        figure = throughput_against_latency(rows, run.manifest)
        assert words in [text.get_text() for text in figure.axes[0].texts]


def test_a_server_that_goes_in_the_sweep_leaves_the_load_and_the_levels_before(tmp_path: Path) -> None:
    plan = LoadPlan(concurrency=2, requests=4, warmup=2, sweep=(1, 3, 4), sweep_waves=3)
    before = 2 + 4 + MIN_LEVEL_REQUESTS + 2  # two of the second level

    async def until_it_goes() -> None:
        async with scripted(speak) as server:

            async def speak_then_die(exchange: Exchange) -> None:
                if exchange.number >= before:
                    server.die()
                    return
                await speak(exchange)

            server.answer = speak_then_die
            choice = ServerChoice(url=server.endpoint.url, model="m", dialect="openai")
            async with serving("test", choice, plan=plan, results_dir=str(tmp_path)) as session:
                await session.load(plan)

    with pytest.raises(RunFailed, match="the sweep was at concurrency 3"):
        asyncio.run(until_it_goes())
    [path] = (tmp_path / "runs").iterdir()
    run = Run.load(path)
    assert run.manifest.status == "incomplete"
    assert (run.summary.requests, run.summary.completed) == (4, 4)
    first, second = run.summary.sweep
    assert (first.concurrency, first.completed) == (1, MIN_LEVEL_REQUESTS)
    assert second.requests == second.completed + second.failed == MIN_LEVEL_REQUESTS
    assert second.failed > 0
    json.dumps(run.summary.model_dump(), allow_nan=False)


def test_a_plan_says_its_levels() -> None:
    plans = sweep_plans(LoadPlan(concurrency=8, requests=None, duration_s=9.0, warmup=8, sweep=(2, 64), sweep_waves=5))
    assert [(plan.concurrency, plan.requests, plan.warmup, plan.sweep) for plan in plans] == [
        (2, MIN_LEVEL_REQUESTS, 0, ()),
        (64, 320, 0, ()),
    ]
    assert parse_sweep_levels("1,4,16") == (1, 4, 16)
    assert parse_sweep_levels("") == ()


@pytest.mark.parametrize("levels", [(0, 1), (4, 1), (2, 2), (1, 2.5), (True, 2), ("1",)])
def test_levels_that_do_not_rise_are_refused_in_words(levels) -> None:
    with pytest.raises(UsageError, match="rising whole numbers from 1 on"):
        LoadPlan(sweep=levels)


@pytest.mark.parametrize(
    ("words", "said"),
    [("4,1", "must be rising"), ("1,x", "such as 1,4,16"), ("1,,2", "such as 1,4,16"), ("0", "from 1 on")],
)
def test_a_sweep_that_the_shell_cannot_read_is_one_line(capsys, words, said) -> None:
    assert main(["load", "--model", "m", "--sweep", words]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert said in line


@pytest.mark.parametrize(
    ("fields", "prompts", "words"),
    [
        ({}, "distinct", "distinct, all of one length"),
        ({"sweep_prompts": "same"}, "fixed", "one prompt for all requests"),
        ({"prompts": "distinct"}, "distinct", "distinct, all of one length"),
        ({"prompt_tokens": "50"}, "synthetic", "random words, 50 tokens each"),
    ],
)
def test_the_sweep_has_distinct_prompts_unless_asked_otherwise(fields, prompts, words) -> None:
    plan = LoadPlan(sweep=(1, 2), **fields)
    assert {level.prompts for level in sweep_plans(plan)} == {prompts}
    assert PlannedLoad.of(json.loads(json.dumps(asdict(plan)))).sweep_prompts == words
    assert PlannedLoad.of({"concurrency": 1, "prompts": "fixed", "sweep": [1]}).sweep_prompts is None  # an old run
