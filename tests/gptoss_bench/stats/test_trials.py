"""Repeated trials: the interval over them, the trend that is told from chance, and a load that repeats itself."""

import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptoss_bench import paths
from gptoss_bench.cli.main import main
from gptoss_bench.runs.folder import Run
from gptoss_bench.runs.summary import Distribution, LoadSummary
from gptoss_bench.stats.trials import drift_p, intervals_within, trial_spread, trial_spreads, trials_text

VALUES = st.lists(st.floats(1, 1000), min_size=5, max_size=12)


def reported(rate: float, ttft_s: float | None = 0.1) -> LoadSummary:
    return LoadSummary(output_tok_s_total=rate, ttft_s=Distribution(p50=ttft_s), tpot_s=Distribution(p50=0.01))


@pytest.mark.parametrize("n", [5, 6])
def test_the_chance_of_a_trend_is_that_of_all_orders_counted(n: int) -> None:
    def strictness(order: tuple[int, ...]) -> int:
        return abs(sum(1 if order[j] > order[i] else -1 for i in range(n) for j in range(i + 1, n)))

    orders = list(permutations(range(n)))
    for order in orders[:: len(orders) // 20]:
        as_strict = sum(strictness(other) >= strictness(order) for other in orders) / len(orders)
        assert drift_p(order) == pytest.approx(min(1.0, as_strict))


@settings(deadline=None, max_examples=30)
@given(VALUES)
def test_a_trend_has_no_direction_and_the_interval_lies_among_the_values(values: list[float]) -> None:
    assert drift_p(values) == drift_p(values[::-1])
    found = trial_spread(values)
    assert found.interval is not None
    assert min(values) - 1e-9 <= found.interval[0] <= found.interval[1] <= max(values) + 1e-9


def test_four_trials_tell_no_interval_and_no_trend() -> None:
    found = trial_spread([1.0, 2.0, 3.0, 4.0])
    assert (found.interval, found.drift_p, found.half_width, found.drifts) == (None, None, None, False)
    assert "no interval: 5 trials are needed" in trials_text(trial_spreads([reported(100.0)] * 4), 0.03)


def test_the_interval_covers_a_true_mean_about_as_often_as_it_says() -> None:
    draw = np.random.default_rng(1)
    covered = 0
    for at in range(60):
        found = trial_spread(list(draw.normal(100, 2, 6)), seed=at)
        assert found.interval is not None
        covered += found.interval[0] <= 100 <= found.interval[1]
    assert covered >= 52


def test_trials_that_rise_from_one_to_the_next_are_reported() -> None:
    found = trial_spreads([reported(rate) for rate in (100.0, 101.0, 103.0, 104.0, 108.0)])
    assert found["output_tok_s_total"].drifts
    assert any("DRIFT: +8.0% from the first to the last, p = 0.017" in line for line in trials_text(found, 0.5))
    assert not trial_spreads([reported(rate) for rate in (100.0, 104.0, 101.0, 108.0, 103.0)])[
        "output_tok_s_total"
    ].drifts


@pytest.mark.parametrize(("until", "enough"), [(0.05, True), (0.001, False)])
def test_it_is_enough_when_every_interval_is_narrow(until: float, enough: bool) -> None:
    found = trial_spreads([reported(rate) for rate in (100.0, 102.0, 99.0, 101.0, 100.0)])
    assert intervals_within(found, until) is enough
    assert any("NOT WITHIN" in line for line in trials_text(found, until)) is not enough


def test_what_a_trial_does_not_tell_is_not_watched() -> None:
    assert set(trial_spreads([reported(1.0), reported(2.0, ttft_s=None)])) == {"output_tok_s_total", "tpot_s"}
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
    assert f"over {runs} trials" in reported
    assert ("NOT WITHIN" in reported) is (runs == 6)


@pytest.mark.parametrize("more", [("--until", "3%", "--max-trials", "4"), ("--until", "3"), ("--until", "much")])
def test_trials_that_can_tell_nothing_are_refused(more: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = main(["load", "--url", "http://127.0.0.1:9", "--model", "m", *more])
    except SystemExit as ended:
        code = int(ended.code or 0)
    assert code == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
