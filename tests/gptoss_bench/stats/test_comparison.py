"""Two sides: the word claims no more than the runs support."""

import json
import re
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from folders import TESTS
from gptoss_bench import paths
from gptoss_bench.cli.main import main
from gptoss_bench.runs.summary import Distribution, LoadSummary, PercentileIntervals, RunIntervals, SamplingInterval
from gptoss_bench.stats.comparison import (
    RATE,
    ComparedResult,
    Difference,
    MeasuredRate,
    compare_results,
    comparison_table,
    made_in_turn,
)
from tool_files import LLAMA_BENCH, VLLM_ALL_FAILED, VLLM_ZEROS

FILES = TESTS / "imported"
FIGURES = ("ttft_s", "tpot_s", "done_s", "itl_s", RATE)
SHORT = SamplingInterval(why="7 waves: repeat the run (--repeats 3)")


def run(
    scale: float = 1.0, *, start: str | None = None, half: float | None = 0.01, noise: float = 0.0
) -> ComparedResult:
    """A run of which all times are `scale` × 0.1 s, with an interval of ± `half` of them; `noise` moves each."""
    draw = np.random.default_rng(crc32(repr((scale, start, noise)).encode()))
    summary = LoadSummary()
    for name in FIGURES:
        value = (1 / scale if name == RATE else 0.1 * scale) * float(np.exp(noise * draw.standard_normal()))
        ends = None if half is None else (value * (1 - half), value * (1 + half))
        if name == RATE:
            why = {} if ends else {RATE: SHORT.why or ""}
            summary.output_tok_s_total = value
            summary.intervals = RunIntervals(output_tok_s_total=ends, why=why)
        else:
            sampled = SamplingInterval(low=ends[0], high=ends[1]) if ends else SHORT
            setattr(summary, name, Distribution(p50=value, intervals=PercentileIntervals(p50=sampled)))
    return ComparedResult(summary, start)


def in_turn(scale: float, side: int, count: int = 3, noise: float = 0.002) -> list[ComparedResult]:
    return [run(scale, start=f"2026-11-24T09:{2 * at + side:02}:00", half=None, noise=noise) for at in range(count)]


def words(found: list[Difference]) -> set[str]:
    return {one.word for one in found}


@pytest.mark.parametrize(("scale", "expected"), [(1.001, "no difference seen"), (1.2, "these two runs differ")])
def test_two_single_runs_differ_or_they_do_not(scale: float, expected: str) -> None:
    found = compare_results([run()], [run(scale)])
    assert [one.name for one in found] == list(FIGURES)
    assert words(found) == {expected}
    for one in found:
        true = 1 / scale - 1 if one.name == RATE else scale - 1
        assert one.change == pytest.approx(true)
        assert one.interval is not None and one.interval[0] < true < one.interval[1]


def test_the_interval_of_a_difference_is_wider_than_those_of_its_runs() -> None:
    found = compare_results([run(half=0.01)], [run(half=0.01)])[0]
    assert found.interval == pytest.approx((-0.0131, 0.0131), rel=0.02)  # t of 18 instead of 9 degrees, two errors


def test_runs_that_are_too_short_say_repeat() -> None:
    for one in compare_results([run()], [run(1.5, half=None)]):
        assert (one.word, one.interval, one.why) == ("repeat the run", None, "7 waves")
        assert one.change is not None
    for one in compare_results([run(), run()], [run(1.5)]):
        assert one.text == "repeat the run: 2 and 1 runs, 3 are needed on each side"


def rates(tok_s: float, n: int | None = 5, half: float | None = 1.0, start: str | None = None) -> ComparedResult:
    """A result with one prefill rate and the interval ± `half` of its repetitions."""
    ends = None if half is None else (tok_s - half, tok_s + half)
    return ComparedResult(LoadSummary(), start, (MeasuredRate("prefill", "512 @ 4096", tok_s, n, ends),))


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (rates(100), rates(150), "these two runs differ"),
        (rates(100), rates(100.5), "no difference seen"),
        (rates(100, 1, None), rates(150, 1, None), "n = 1: cannot tell"),
        (rates(100), rates(150, 1, None), "n = 5 and n = 1: cannot tell"),
        (rates(100, None, None), rates(150), "n is not reported and n = 5: cannot tell"),
        (rates(100), ComparedResult(LoadSummary()), "not compared: a run does not report it"),
        (rates(0.0), rates(150), "not compared: a rate is 0"),
    ],
)
def test_rates_of_a_test_are_compared_by_their_repetitions(first, second, expected) -> None:
    [found] = compare_results([first], [second])
    assert (found.name, found.text) == ("prefill 512 @ 4096", expected)
    # standard error: 1 / t(0.975, 4) = 1 / 2.776 = 0.36 % of 100, 0.24 % of 150: 50 % more is seen, 0.5 % is not
    assert (found.interval is not None) is (expected in ("these two runs differ", "no difference seen"))


def test_a_higher_rate_of_several_files_in_turn_is_faster() -> None:
    sides = [
        [rates(tok_s + at, 1, None, f"2026-11-24T09:{2 * at + side:02}:00") for at in range(3)]
        for side, tok_s in enumerate((1000.0, 1500.0))
    ]
    assert [one.word for one in compare_results(*sides)] == ["faster"]
    assert [one.word for one in compare_results(*sides[::-1])] == ["slower"]


@pytest.mark.parametrize(("scale", "expected"), [(1.2, "slower"), (0.8, "faster"), (1.001, "same")])
def test_three_runs_of_each_in_turn_are_faster_slower_or_the_same(scale: float, expected: str) -> None:
    assert words(compare_results(in_turn(1.0, 0), in_turn(scale, 1))) == {expected}


def test_runs_one_side_after_the_other_are_not_called_faster() -> None:
    later = [run(0.8, start=f"2026-11-24T10:0{at}:00", half=None, noise=0.002) for at in range(3)]
    assert {one.text for one in compare_results(in_turn(1.0, 0), later)} == {
        "these runs differ: they were not made in turn"
    }
    unknown = [ComparedResult(one.summary) for one in later]
    assert words(compare_results(in_turn(1.0, 0), unknown)) == {"these runs differ"}


def test_runs_that_scatter_show_no_difference() -> None:
    found = compare_results(in_turn(1.0, 0, noise=0.2), in_turn(1.1, 1, noise=0.2))
    assert words(found) == {"no difference seen"}


@given(st.permutations([0, 0, 0, 1, 1, 1]))
def test_in_turn_is_never_more_than_two_of_a_side(order: list[int]) -> None:
    sides = [[run(start=f"2026-11-24T09:0{at}:00") for at, side in enumerate(order) if side == of] for of in (0, 1)]
    assert made_in_turn(*sides) is ("000" not in (text := "".join(map(str, order))) and "111" not in text)


@given(st.floats(0.5, 2.0), st.floats(0.001, 0.2))
def test_the_other_way_round_it_is_the_inverse(scale: float, half: float) -> None:
    there, back = (
        compare_results(*sides) for sides in (([run()], [run(scale, half=half)]), ([run(scale, half=half)], [run()]))
    )
    for one, other in zip(there, back, strict=True):
        assert one.word == other.word
        assert 1 + (one.change or 0) == pytest.approx(1 / (1 + (other.change or 0)))


def test_a_median_of_0_has_no_relative_change() -> None:
    first = run()
    first.summary.itl_s = Distribution(p50=0.0)
    found = {one.name: one for one in compare_results([first], [run()])}["itl_s"]
    assert (found.word, found.why) == ("not compared", "a median is 0: most gaps lie within one read of the socket")


def test_what_one_side_does_not_report_is_not_compared() -> None:
    first = run()
    first.summary.itl_s = Distribution()
    found = {one.name: one for one in compare_results([first], [run()])}["itl_s"]
    assert (found.first, found.text) == (None, "not compared: a run does not report it")


def test_holm_asks_more_of_several_rows_than_of_one() -> None:
    """Two medians apart by 2.5 standard errors differ if that is all, and not beside four equal ones."""
    alone, first, second = ComparedResult(LoadSummary()), run(), run()
    assert words(compare_results([alone], [alone])) == set()
    half = 0.01 * (2**0.5) / 2.1 * 2.26
    for result, value in ((first, 0.1), (second, 0.1025 * 1.0)):
        sampled = SamplingInterval(low=value * (1 - half), high=value * (1 + half))
        result.summary.ttft_s = Distribution(p50=value, intervals=PercentileIntervals(p50=sampled))
    found = {one.name: one for one in compare_results([first], [second])}["ttft_s"]
    assert found.p is not None and 0.01 < found.p < 0.05
    assert found.word == "no difference seen"
    for result in (first, second):
        result.summary.tpot_s = result.summary.done_s = result.summary.itl_s = Distribution()
        result.summary.output_tok_s_total = None
    assert words(compare_results([first], [second])) == {"these two runs differ"}


def test_the_table_holds_each_later_side_against_the_first() -> None:
    found = comparison_table({"a": in_turn(1.0, 0), "b": in_turn(1.2, 1), "c": [run()]})
    assert list(found["run"].unique()) == ["b", "c"]
    [ttft] = found[(found["quantity"] == "ttft_s") & (found["run"] == "b")].to_dict("records")
    assert ttft["word"] == "slower" and re.fullmatch(r"\[\+\d+\.\d%, \+\d+\.\d%\]", ttft["interval"])
    assert set(found[found["run"] == "c"]["interval"]) == {""}
    assert found[found["run"] == "c"]["word"].str.startswith("repeat the run: 3 and 1 runs").all()


def test_a_run_and_another_tools_file_are_compared_from_a_shell(capsys: pytest.CaptureFixture[str]) -> None:
    committed = sorted(paths.RUNS.glob("*-vllm-h100-*"))[0]
    assert main(["compare", str(committed), str(FILES / "vllm-bench-serve-detailed.json")]) == 0
    shown = capsys.readouterr().out
    assert "(TINY MODEL)" in shown.splitlines()[0]
    assert "[mixed-models]" in shown
    assert re.search(r"^TTFT, s .* repeat the run: \d+ waves and \d waves$", shown, re.MULTILINE)
    assert "error in vllm-bench-serve-detailed.json" in shown  # its TTFT counts the role chunk: that has to be said


def test_two_tools_that_mean_something_else_by_a_name_are_compared_with_that_said(capsys):
    assert main(["compare", str(FILES / "vllm-bench-serve.json"), str(FILES / "aiperf.json")]) == 0
    shown = capsys.readouterr().out
    assert "repeat the run: its file has no interval" in shown
    assert "note on vllm-bench-serve.json: vllm bench serve of truth: TTFT is to the first chunk with a choice" in shown


def test_json_has_the_same_words(capsys: pytest.CaptureFixture[str]) -> None:
    first, second = sorted(paths.RUNS.glob("*-vllm-h100-*"))[:2]
    assert main(["compare", str(first), f"{second},{first}", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {one["word"] for one in found["differences"]} == {"repeat the run"}
    assert found["differences"][0]["why"] == "1 and 2 runs, 3 are needed on each side"
    assert second.name in found["second"] and first.name in found["second"]


@pytest.mark.parametrize(
    "arguments",
    [("nothing", "nothing"), ("--same", "200%", "a", "b"), ("20261127T000000Z-repeats-0a1b2c", "nothing")],
)
def test_bad_input_is_one_line(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = main(["compare", *arguments])
    except SystemExit as ended:
        code = int(ended.code or 0)
    assert code == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_a_group_of_another_folder_is_found_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "20261127T000000Z-repeats-0a1b2c", "x", "--results", str(tmp_path)]) == 2
    assert "there is no run '20261127T000000Z-repeats-0a1b2c'" in capsys.readouterr().err


def test_two_files_of_llama_bench_are_compared_test_by_test(tmp_path, capsys) -> None:
    files = []
    for factor in (1.0, 1.5):
        tests = [{**test, "avg_ts": factor * test["avg_ts"], "samples_ts": [factor * 900]} for test in LLAMA_BENCH[:1]]
        files.append(tmp_path / f"{factor}.json")
        files[-1].write_text(json.dumps(tests))
    assert main(["compare", *map(str, files)]) == 0
    assert re.search(r"prefill 512 @ 4096\s+900\s+1350\s+\+50.0%\s+n = 1: cannot tell", capsys.readouterr().out)


def test_placeholders_and_failed_loads_are_not_compared(tmp_path, capsys) -> None:
    for name, content in {"zeros.json": VLLM_ZEROS, "failed.json": VLLM_ALL_FAILED}.items():
        (tmp_path / name).write_text(json.dumps(content))
    assert main(["compare", str(tmp_path / "zeros.json"), str(tmp_path / "failed.json")]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if "not compared" in line]
    assert [re.split(r"\s{2,}", row)[:3] for row in rows] == [["TPOT, s", "0.05", "–"], ["tok/s, whole run", "50", "–"]]


def test_results_of_one_file_are_compared_by_their_number(tmp_path, capsys) -> None:
    file = tmp_path / "sweep.json"
    file.write_text(json.dumps([VLLM_ZEROS, {**VLLM_ZEROS, "median_tpot_ms": 55.0}]))
    assert main(["compare", f"{file}#1", f"{file}#2"]) == 0
    assert re.search(r"TPOT, s\s+0.05\s+0.055\s+\+10.0%", capsys.readouterr().out)
    for names, words in (
        ((str(file), f"{file}#1"), "holds 2 results: compare one of them, such as sweep.json#1 with sweep.json#2"),
        ((f"{file}#3", f"{file}#1"), "sweep.json#3: sweep.json has 2 results, #1 to #2"),
        ((f"{file}#x", f"{file}#1"), "cannot read"),
    ):
        assert main(["compare", *names]) == 2
        [line] = capsys.readouterr().err.splitlines()
        assert words in line
