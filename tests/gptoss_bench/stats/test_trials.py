"""Repeated runs: the interval over them, the trend that is separated from chance, and a load that repeats itself."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_bench import paths
from gptoss_bench.cli.main import main
from gptoss_bench.runs.folder import Run
from gptoss_bench.runs.summary import Distribution, LoadSummary
from gptoss_bench.stats.bootstrap import interval_over_runs
from gptoss_bench.stats.comparison import QUANTITY_WORDS
from gptoss_bench.stats.trials import (
    RunSpread,
    drift_p,
    intervals_within,
    least_drift,
    run_spread,
    run_spreads,
    spreads_text,
)

VALUES = st.lists(st.floats(1, 1000), min_size=5, max_size=12)


def reported(rate: float, ttft_s: float | None = 0.1) -> LoadSummary:
    return LoadSummary(output_tok_s_total=rate, ttft_s=Distribution(p50=ttft_s), tpot_s=Distribution(p50=0.01))


def spreads(*rates: float) -> dict[str, RunSpread]:
    return run_spreads([reported(rate) for rate in rates])


@pytest.mark.parametrize("n", [5, 6])
def test_the_chance_of_a_trend_is_that_of_all_orders_counted(n: int) -> None:
    def strictness(order: tuple[int, ...]) -> int:
        return abs(sum(1 if order[j] > order[i] else -1 for i in range(n) for j in range(i + 1, n)))

    orders = list(permutations(range(n)))
    for order in orders[:: len(orders) // 20]:
        as_strict = sum(strictness(other) >= strictness(order) for other in orders) / len(orders)
        assert drift_p(order) == pytest.approx(min(1.0, as_strict))


@given(VALUES)
def test_a_trend_has_no_direction_and_the_interval_is_around_the_mean(values: list[float]) -> None:
    assert drift_p(values) == drift_p(values[::-1])
    found = run_spread(values)
    low, high = found.interval.ends or (np.nan, np.nan)
    assert low <= found.mean <= high
    assert found.half_width == pytest.approx((high - low) / 2 / found.mean)


def test_two_runs_have_no_interval_and_four_no_test_of_a_trend() -> None:
    found = run_spread([1.0, 2.0])
    assert (found.interval.ends, found.drift_p, found.half_width, found.drifts) == (None, None, None, False)
    assert any("2 runs, 3 are needed: repeat the run" in line for line in spreads_text(spreads(100.0, 101.0)))
    assert "drift: not tested, 5 runs are needed" in spreads_text(spreads(*[100.0] * 4))


def test_the_interval_covers_a_true_mean_as_often_as_it_says() -> None:
    draw = np.random.default_rng(1)
    ends = [interval_over_runs(list(draw.normal(100, 2, 3))).ends or (0, 0) for _ in range(1000)]
    assert 0.93 <= np.mean([low <= 100 <= high for low, high in ends]) <= 0.97


def test_runs_that_rise_from_one_to_the_next_are_reported() -> None:
    found = spreads(100.0, 101.0, 103.0, 104.0, 108.0)
    assert found["output_tok_s_total"].drifts
    assert any("DRIFT: +8.0% from the first to the last, p = 0.017" in line for line in spreads_text(found))
    assert not spreads(100.0, 104.0, 101.0, 108.0, 103.0)["output_tok_s_total"].drifts


def test_the_drift_that_the_test_finds_is_found_in_80_percent() -> None:
    draw, drift = np.random.default_rng(2), least_drift(7)
    found = [drift_p(list(draw.standard_normal(7) + drift * np.linspace(0, 1, 7))) for _ in range(1000)]
    assert np.mean([p is not None and p < 0.05 for p in found]) == pytest.approx(0.8, abs=0.05)
    assert least_drift(5) > 9  # of five runs all must be in order
    assert any(
        "of 5 runs, the test finds one of" in line for line in spreads_text(spreads(100.0, 102.0, 99.0, 101.0, 100.0))
    )


@pytest.mark.parametrize(("until", "enough"), [(0.05, True), (0.001, False)])
def test_it_is_enough_when_every_interval_is_narrow(until: float, enough: bool) -> None:
    found = spreads(100.0, 102.0, 99.0, 101.0, 100.0)
    assert intervals_within(found, until) is enough
    assert any("NOT WITHIN" in line for line in spreads_text(found, until)) is not enough
    assert not intervals_within(spreads(100.0, 100.0, 100.0, 100.0), until)  # not before the fifth run


def test_what_a_run_does_not_report_is_not_watched() -> None:
    assert set(run_spreads([reported(1.0), reported(2.0, ttft_s=None)])) == {"output_tok_s_total", "tpot_s.p50"}
    assert not intervals_within({}, 0.5)


@pytest.fixture
def reference() -> Iterator[str]:
    options = ("--ttft-s", "0.02", "--itl-s", "0.005", "--tokens", "6")
    path = {"PYTHONPATH": str(paths.PACKAGE.parent)}
    with subprocess.Popen(
        [sys.executable, "-m", "gptoss_bench", "reference-server", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **path},
    ) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


@pytest.mark.parametrize(("until", "runs"), [("90%", 5), ("0.0001%", 6)])
def test_a_load_repeats_itself_until_it_is_known_or_the_budget_is_spent(
    reference: str, tmp_path: Any, capsys: pytest.CaptureFixture[str], until: str, runs: int
) -> None:
    load = ["load", "--url", reference, "--model", "reference", "-n", "4", "-c", "2", "--results", str(tmp_path)]
    assert main([*load, "--until", until, "--max-trials", "6"]) == 0
    found = [Run.load(folder) for folder in (tmp_path / "runs").iterdir()]
    assert [run.summary.completed for run in found] == [4] * runs
    reported = capsys.readouterr().out
    assert f"{runs} runs of {reference}, repeat group " in reported
    assert ("NOT WITHIN" in reported) is (runs == 6)


def test_two_servers_are_loaded_in_turn_and_compared(
    reference: str, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    load = ["load", "--url", reference, "--url", reference, "--model", "reference", "-n", "4", "-c", "2"]
    assert main([*load, "--repeats", "3", "--results", str(tmp_path), "--json"]) == 0
    *lines, last = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    groups = [one["repeat_group"] for one in last["repeats"]]
    made = {run.run_id: run for run in map(Run.load, (tmp_path / "runs").iterdir())}
    order = [groups.index(made[line["run"]].manifest.repeat_group) for line in lines]
    assert order == [0, 1, 1, 0, 0, 1]
    salts = [made[line["run"]].manifest.parameters["salt"] for line in lines]
    assert salts == [salts[0] + number for number in (0, 0, 1, 1, 2, 2)]
    ttft = last["repeats"][0]["figures"]["ttft_s.p50"]
    assert ttft["n"] == 3 and ttft["interval"]["low"] < ttft["mean"] < ttft["interval"]["high"]
    [differences] = last["differences"]
    # On a busy machine most gaps of so few requests may lie within one read: a median of 0 is not compared.
    assert {one["word"] for one in differences} <= {"faster", "slower", "same", "no difference seen", "not compared"}
    assert [one["word"] for one in differences if one["name"] == "ttft_s"] != ["not compared"]
    assert main(["compare", *groups, "--results", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert all(f"{QUANTITY_WORDS[one['name']]:<20}" in shown and one["word"] in shown for one in differences)
    assert shown.splitlines()[0].count("-load-") == 3


@pytest.mark.parametrize(
    "more",
    [
        *(("--until", "3%", "--max-trials", "4"), ("--until", "3"), ("--until", "much"), ("--repeats", "0")),
        *(("--until", "3%", "--repeats", "3"), ("--model", "n"), ("--repeats", "three")),
    ],
)
def test_trials_that_can_tell_nothing_are_refused(more: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = main(["load", "--url", "http://127.0.0.1:9", "--model", "m", *more])
    except SystemExit as ended:
        code = int(ended.code or 0)
    assert code == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
