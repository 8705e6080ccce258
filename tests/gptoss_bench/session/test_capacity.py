"""A search for the capacity on real sockets: against a server whose queue is known, stopped, killed and rebuilt."""

import asyncio
import contextlib
import io
import json
import os
import re
from pathlib import Path
from typing import NamedTuple

import pytest

from gptoss_bench.calibration.reference.engine import serve_reference
from gptoss_bench.calibration.reference.plan import ReferencePlan
from gptoss_bench.cli.main import main
from gptoss_bench.engines.launch_options import ServerChoice
from gptoss_bench.readings.capacity_search import capacity_finding
from gptoss_bench.runs.capacity import CapacityGoal
from gptoss_bench.runs.folder import Run
from gptoss_bench.session.session import serving
from gptoss_bench.stats.capacity import CapacitySearch, capacity_text, evaluate_capacity
from gptoss_bench.stats.slo import parse_slo
from gptoss_client.errors import RunFailed
from gptoss_client.plan import LoadPlan
from queue_simulation import Queue, true_capacity
from scripted import Exchange, scripted, speak
from serving import held

QUEUE = Queue(1, 0.025, exponential=False, limit_s=0.1)
SEARCHES = int(os.environ.get("CAPACITY_SEARCHES", "3"))
SERVED = ReferencePlan(ttft_s=QUEUE.service_s, tokens=1, slots=1)


def capacity_of(url: str, results: Path, *more: str) -> list[str]:
    quick = ["--slo", "ttft=0.1s", "--level-seconds", "2", "--start", "16", "--repeats", "4", "--max-minutes", "0.5"]
    return ["capacity", "--url", url, "--results", str(results), *quick, *more]


class Searched(NamedTuple):
    """A run, and what the command printed of it."""

    run: Run
    out: str
    err: str


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Searched:
    results, out, err = tmp_path_factory.mktemp("results"), io.StringIO(), io.StringIO()
    with (
        held(serve_reference(SERVED, results)) as server,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        # 1: this machine was too slow for the load
        assert main(capacity_of(server.url, results, "--usd-per-hour", "2")) in (0, 1)
    [path] = (results / "runs").iterdir()
    return Searched(Run.load(path), out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def run(searched: Searched) -> Run:
    return searched.run


def test_each_level_is_a_part_of_one_run(run: Run) -> None:
    found = run.summary.capacity
    assert (found.goal.share, found.goal.by) == (0.95, "rate")
    assert [level.phase.rpartition("-")[2] for level in found.levels] == [
        str(number) for number in range(1, len(found.levels) + 1)
    ]
    assert found.levels[0].level == 16
    for level in found.levels:
        assert len(run.requests[run.requests.phase == level.phase]) >= level.requests > 0
        assert level.failed == 0
    assert run.requests.prompt_id.is_unique
    assert found == evaluate_capacity(found.levels, found.goal)


def test_the_load_at_the_end_is_the_run_itself(run: Run) -> None:
    summary = run.summary
    assert run.manifest.status == "complete"
    assert summary.requests == (run.requests.phase == "measure").sum() > 0
    assert summary.slo.ttft_s == 0.1
    assert summary.rate_planned is not None
    assert float(run.manifest.parameters["rate"]) > 0


def test_it_is_made_again_byte_for_byte(run: Run) -> None:
    assert main(["rebuild", "--check", str(run.path)]) == 0


def test_the_command_prints_levels_result_and_price(searched: Searched) -> None:
    assert re.search(r"^level \d+: 16 requests/s: \S+ of \d+ requests within the SLO: ", searched.err, re.MULTILINE)
    assert re.search(r"requests/s +requests +within the SLO", searched.out)
    assert capacity_finding(searched.run.summary, searched.run.manifest, 2.0) in searched.out


def test_the_number_of_streams_is_raised_instead_of_the_rate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with held(serve_reference(ReferencePlan(ttft_s=0.005, itl_s=0.001, tokens=4), tmp_path)) as server:
        assert main(capacity_of(server.url, tmp_path, "--max-minutes", "0.05", "--concurrency", "--json")) in (0, 1)
    found = json.loads(capsys.readouterr().out)
    assert found["summary"]["capacity"]["goal"]["by"] == "concurrency"
    assert found["summary"]["concurrency_planned"] >= 1
    assert "this server" in found["result"]
    assert found["usd_per_mtok"] is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--slo", "ttfs=1s"], "'ttfs=1s' is not one of ttft, tpot and e2e"),
        (["--slo", "ttft=1s", "--share", "95"], "it is not a share"),
        (["--slo", "ttft=1s", "--start", "0"], "--start must be above 0, not 0"),
        (["--slo", "ttft=1s", "--start", "1.5", "--concurrency"], "a whole number of requests in flight"),
        (["--slo", "ttft=1s", "--max-minutes", "nan"], "--max-minutes must be above 0"),
        (["--slo", "ttft=1s", "--usd-per-hour", "-1"], "--usd-per-hour must be above 0, not -1"),
        (["--slo", "ttft=1s", "--rate", "3"], "--rate"),
        ([], "--slo"),
    ],
)
def test_bad_usage_is_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["capacity", *words]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert said in line


def test_a_server_that_goes_leaves_the_levels_before(tmp_path: Path) -> None:
    goal, slo = CapacityGoal(), parse_slo("e2e=60s")

    async def until_it_goes() -> None:
        async with scripted(speak) as server:

            async def speak_then_die(exchange: Exchange) -> None:
                levels = session.summary.capacity
                if levels is not None and len(levels.levels) == 2:
                    server.die()
                    return
                await speak(exchange)

            choice = ServerChoice(url=server.endpoint.url, model="m", dialect="openai")
            opened = serving("capacity", choice, plan=LoadPlan(), results_dir=str(tmp_path), slo=slo, capacity=goal)
            async with opened as session:
                server.answer = speak_then_die
                await session.find_capacity(
                    LoadPlan(prompts="distinct"), CapacitySearch(goal, start=100.0, level_s=2.0)
                )

    with pytest.raises(RunFailed, match="the search was at level 400"):
        asyncio.run(until_it_goes())
    [path] = (tmp_path / "runs").iterdir()
    run = Run.load(path)
    assert run.manifest.status == "incomplete"
    assert [level.level for level in run.summary.capacity.levels] == [100, 200, 400]
    assert run.summary.capacity.levels[0].requests > 0
    assert main(["rebuild", "--check", str(path)]) == 0


@pytest.mark.slow
def test_the_interval_holds_the_true_capacity(tmp_path: Path) -> None:
    """Search on real sockets, three times or CAPACITY_SEARCHES times.

    An interval that misses the truth by little is no error, but 17 of 20 hold it.
    """
    truth, found = true_capacity(QUEUE), []
    search = ["--level-seconds", "10", "--repeats", "8", "--max-minutes", "10"]
    for seed in range(SEARCHES):
        results = tmp_path / str(seed)
        with held(serve_reference(SERVED, tmp_path)) as server:
            assert main(capacity_of(server.url, results, *search, "--arrival-seed", str(1000 * seed))) == 0
        [path] = (results / "runs").iterdir()
        summary = Run.load(path).summary
        found.append(summary.capacity)
        print(f"{capacity_text(summary.capacity, summary.slo)}; the truth is {truth:.2f}")
    assert {one.word for one in found} == {"carries"}
    assert all(one.low * 0.9 <= truth <= one.high * 1.1 for one in found)
    assert SEARCHES < 20 or sum(one.low <= truth <= one.high for one in found) >= 0.85 * SEARCHES
