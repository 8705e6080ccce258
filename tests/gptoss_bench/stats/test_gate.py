"""A limit fails, holds, or nobody can tell; a gate between a server and itself fails at most one time in twenty."""

import json
from pathlib import Path

import pytest

from gptoss_bench import paths
from gptoss_bench.cli.main import main
from gptoss_bench.runs.summary import Distribution, LoadSummary, PercentileIntervals, RunIntervals, SamplingInterval
from gptoss_bench.stats.comparison import ComparedResult
from gptoss_bench.stats.gate import Limit, LimitResult, check_limits
from gptoss_client import UsageError
from sampling_simulation import BETWEEN, gate_alarms

NO_CHANGE = ("ttft_p50 > +0%", "itl_p50 > +0%", "latency_p50 > +0%", "output_tok_s < -0%")


def run(ttft_s: float, half_s: float | None = None, tok_s: float = 100.0) -> ComparedResult:
    ends = {} if half_s is None else {"low": ttft_s - half_s, "high": ttft_s + half_s}
    ttft = Distribution(p50=ttft_s, p99=2 * ttft_s, intervals=PercentileIntervals(p50=SamplingInterval(**ends)))
    rates = RunIntervals(output_tok_s_total=(tok_s - 1, tok_s + 1))
    return ComparedResult(LoadSummary(ttft_s=ttft, output_tok_s_total=tok_s, intervals=rates))


def checked(limit: str, first: list[ComparedResult], second: list[ComparedResult]) -> LimitResult:
    [found] = check_limits([Limit.parse(limit)], first, second)
    return found


SINGLE = [
    ("ttft_p50 > +10%", 1.3, "fails"),
    ("ttft_p50 > +10%", 1.02, "holds"),
    ("ttft_p50 > +10%", 1.1, "cannot tell"),
    ("ttft_p50 < -10%", 0.7, "fails"),
    ("ttft_p50 < -10%", 1.3, "holds"),
]


@pytest.mark.parametrize(("limit", "second_s", "word"), SINGLE)
def test_a_limit_is_compared_with_the_whole_interval(limit: str, second_s: float, word: str) -> None:
    found = checked(limit, [run(1.0, 0.02)], [run(second_s, 0.02)])
    assert found.word == word
    assert found.interval is not None and found.change is not None
    assert found.interval[0] < found.change < found.interval[1]


def test_a_rate_that_falls_has_a_limit_below() -> None:
    assert checked("output_tok_s < -5%", [run(1.0)], [run(1.0, tok_s=80.0)]).word == "fails"
    assert checked("output_tok_s < -5%", [run(1.0)], [run(1.0, tok_s=120.0)]).word == "holds"


def test_no_limit_holds_for_a_side_that_fails_requests_which_the_first_completed() -> None:
    sound, failing = run(1.0, 0.02), run(0.5, 0.02)
    sound.summary.requests, failing.summary.requests, failing.summary.failed = 100, 100, 1
    found = checked("ttft_p50 > +10%", [sound], [failing])
    assert (found.word, found.why) == ("fails", "1.0% of the requests of the second side failed, 0.0% of the first")
    assert checked("ttft_p50 > +10%", [failing], [failing]).word == "holds"  # the baseline failed as many
    failing.summary.requests = 101
    assert checked("ttft_p50 > +10%", [sound], [failing]).word == "holds"


def test_a_tail_takes_three_runs_of_each_side() -> None:
    single = checked("ttft_p99 > +10%", [run(1.0, 0.02)], [run(1.3, 0.02)])
    assert (single.word, single.interval) == ("cannot tell", None)
    assert "give 3 runs of each side" in (single.why or "")
    first, second = ([run(by * at) for at in (0.99, 1.0, 1.01)] for by in (1.0, 1.3))
    assert checked("ttft_p99 > +10%", first, second).word == "fails"
    assert checked("ttft_p99 > +10%", first, first).word == "holds"
    assert "2 runs on a side" in (checked("ttft_p99 > +10%", first[:2], second).why or "")


def test_a_figure_that_a_run_lacks_is_no_limit_that_holds() -> None:
    found = checked("tpot_p50 > +10%", [run(1.0)], [run(1.0)])
    assert (found.word, found.why) == ("cannot tell", "a run does not report it")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ttft_p99 +10%", "is no limit"),
        ("ttft_p98 > +10%", "did you mean 'ttft_p99'?"),
        ("xyz > +10%", "is one of ttft_p50"),
        ("ttft_p50 < -100%", "cannot happen"),
    ],
)
def test_a_wrong_limit_is_refused(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=r"limit|figure|happen") as refused:
        Limit.parse(text)
    assert words in str(refused.value)


@pytest.mark.parametrize("text", ["ttft_p99 > +10%", "output_tok_s < -5%", "itl_p50 > +2.5%", "request_s < +0%"])
def test_a_limit_is_shown_as_it_was_written(text: str) -> None:
    assert Limit.parse(text).text == text


@pytest.mark.parametrize("between", BETWEEN)
def test_a_server_against_itself_fails_rarely(between: float) -> None:
    assert gate_alarms(NO_CHANGE, between, runs=3, repetitions=300) <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize("between", BETWEEN)
def test_at_most_one_gate_in_twenty_fails_without_a_change(between: float) -> None:
    assert gate_alarms(NO_CHANGE, between, runs=3, repetitions=4000) <= 0.05
    assert gate_alarms(("ttft_p50 > +5%", "output_tok_s < -5%"), between, runs=1, repetitions=4000) <= 0.05


def test_single_runs_of_a_server_that_never_varies_fail_rarely() -> None:
    assert gate_alarms(NO_CHANGE, between=0.0, runs=1, repetitions=1000) <= 0.05


def test_the_command_ends_with_3_and_says_what_it_cannot_tell(capsys: pytest.CaptureFixture[str]) -> None:
    run_a, run_b = sorted((paths.RESULTS / "runs").glob("*-load-*"))[:2]
    limits = ["--fail-if", "ttft_p50 > +10%"]
    assert main(["compare", str(run_a), str(run_b), *limits]) == 3
    assert "limit ttft_p50 > +10%" in (shown := capsys.readouterr().out)
    assert "cannot tell" in shown
    assert main(["compare", str(run_b), "--baseline", str(run_a), *limits, "--cannot-tell", "pass", "--json"]) == 0
    [found] = json.loads(capsys.readouterr().out)["limits"]
    assert (found["limit"], found["word"]) == ("ttft_p50 > +10%", "cannot tell")


def test_a_side_of_more_runs_than_a_file_name_is_long(capsys: pytest.CaptureFixture[str]) -> None:
    run = max((paths.RESULTS / "runs").glob("*-load-*")).name
    many = ",".join([run] * 10)
    assert len(many) > 255
    assert main(["compare", many, many, "--fail-if", "ttft_p50 > +10%"]) == 0
    assert "limit ttft_p50 > +10%  +0.0%" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a"], "name two sides"),
        (["a", "b", "--baseline", "c"], "name two sides"),
        (["a", "b", "--cannot-tell", "maybe"], "write pass or fail"),
        (["a", "b", "--fail-if", "ttft"], "is no limit"),
    ],
)
def test_bad_input_gets_one_line(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *arguments, "--results", str(tmp_path)]) == 2
    assert words in capsys.readouterr().err
