"""Two results side by side: the word says what the interval says, and no more."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from folders import TESTS
from gptoss_bench import paths
from gptoss_bench.cli.main import main
from gptoss_bench.runs.summary import Distribution, LoadSummary
from gptoss_bench.stats.comparison import (
    ComparedResult,
    Difference,
    compare_results,
    comparison_table,
    interval_verdict,
)

FILES = TESTS / "imported"
SHARE = st.floats(-0.5, 0.5)


def side(seed: int, scale: float = 1.0, count: int = 400, noise: float = 0.1, gaps: int = 19) -> ComparedResult:
    """Requests from one slot: 100 ms to the first token and 10 ms for each other, times `scale`.

    All gaps of a request are as long or short as the request is, which is what makes them tell less than they are many.
    """
    draw = np.random.default_rng(seed)
    ttft_s, gap_s = scale * draw.normal([0.1, 0.01], [0.1 * noise, 0.01 * noise], (count, 2)).T
    itl_s = gap_s[:, None] * draw.uniform(0.99, 1.01, (count, gaps))
    done_s = ttft_s + itl_s.sum(axis=1)
    requests = pd.DataFrame({"request_id": np.arange(count), "phase": "measure", "outcome": "completed"})
    requests = requests.assign(ttft_s=ttft_s, ttfa_s=np.nan, done_s=done_s, tpot_s=itl_s.mean(axis=1))
    events = pd.DataFrame({"request_id": np.repeat(np.arange(count), gaps), "phase": "measure", "itl_s": itl_s.ravel()})
    times = {name: Distribution(p50=requests[name].median()) for name in ("ttft_s", "done_s", "tpot_s")}
    itl_s = Distribution(p50=events["itl_s"].median())
    summary = LoadSummary(**times, itl_s=itl_s, output_tok_s_total=count * (1 + gaps) / done_s.sum())
    return ComparedResult(summary, requests.assign(completion_tokens=1 + gaps), events)


def words(found: list[Difference]) -> dict[str, str]:
    return {difference.name: difference.verdict for difference in found}


def named(found: list[Difference], name: str) -> Difference:
    [one] = [one for one in found if one.name == name]
    return one


def test_two_loads_of_the_same_are_the_same() -> None:
    found = compare_results(side(1, noise=0.03), side(2, noise=0.03))
    assert set(words(found).values()) == {"same"}
    assert {difference.name for difference in found} == {"ttft_s", "tpot_s", "done_s", "itl_s", "output_tok_s_total"}


@pytest.mark.parametrize(("scale", "expected"), [(1.2, "slower"), (0.8, "faster")])
def test_what_takes_longer_is_slower_and_its_rate_is_too(scale: float, expected: str) -> None:
    found = compare_results(side(1), side(2, scale))
    assert set(words(found).values()) == {expected}
    for difference in found:
        true = 1 / scale - 1 if difference.name == "output_tok_s_total" else scale - 1
        assert difference.interval is not None
        assert difference.interval[0] - 0.01 <= true <= difference.interval[1] + 0.01


def test_few_and_noisy_requests_cannot_tell() -> None:
    found = compare_results(side(1, count=12, noise=3.0), side(2, 1.05, count=12, noise=3.0))
    assert words(found)["ttft_s"] == "cannot tell"


def test_too_few_requests_are_not_compared_and_say_so() -> None:
    for difference in compare_results(side(1), side(2, count=9)):
        assert (difference.verdict, difference.interval) == ("cannot tell", None)
        assert "9 requests" in (difference.why or "")


def test_gaps_that_one_side_does_not_keep_are_not_compared_and_it_is_said() -> None:
    found = named(compare_results(side(1), replace(side(2), gaps=None)), "itl_s")
    assert (found.verdict, found.interval, found.why) == (
        "cannot tell",
        None,
        "a side has no single gaps between tokens",
    )
    assert found.change is not None


def test_gaps_that_lie_within_one_read_have_no_share() -> None:
    first = side(1)
    assert first.gaps is not None
    none = replace(first, gaps=first.gaps.assign(itl_s=first.gaps["itl_s"] * 0))
    found = named(compare_results(none, side(2)), "itl_s")
    assert (found.verdict, found.why) == ("cannot tell", "half of the first side's values may be 0")


def test_an_interval_of_gaps_is_as_wide_as_the_requests_differ() -> None:
    few, many = (named(compare_results(side(1, gaps=n), side(2, gaps=n)), "itl_s").interval for n in (5, 100))
    assert few is not None and many is not None
    assert many[1] - many[0] == pytest.approx(few[1] - few[0], rel=0.5)  # not a fifth of it


def test_two_samples_of_one_distribution_differ_as_seldom_as_an_interval_of_95_percent_promises() -> None:
    pairs = 150  # of few requests, where an interval is soonest too narrow
    found = [
        compare_results(side(2 * at, count=40), side(2 * at + 1, count=40), margin=0.0, seed=at) for at in range(pairs)
    ]
    for name in ("ttft_s", "done_s", "itl_s", "output_tok_s_total"):
        wrong = sum(named(one, name).verdict in ("faster", "slower") for one in found)
        # 5 %, give or take chance; a rate of so few requests leans on its longest ones, and is told apart sooner
        assert 0.01 <= wrong / pairs <= (0.14 if name == "output_tok_s_total" else 0.10), name


def test_the_rate_of_unchanged_requests_is_the_rate_that_was_measured() -> None:
    first, second = side(1), side(2, 1.1)
    rate = named(compare_results(first, second), "output_tok_s_total")
    assert rate.change == pytest.approx(second.summary.output_tok_s_total / first.summary.output_tok_s_total - 1)
    assert rate.interval is not None
    assert rate.interval[0] < rate.change < rate.interval[1]


def test_the_same_seed_gives_the_same_intervals() -> None:
    assert compare_results(side(1), side(2), seed=3) == compare_results(side(1), side(2), seed=3)


def test_the_table_holds_each_later_result_against_the_first() -> None:
    found = comparison_table({"a": side(1), "b": side(2, 1.2), "c": side(3, count=5)})
    assert list(found["run"].unique()) == ["b", "c"]
    [ttft] = found[(found["quantity"] == "ttft_s") & (found["run"] == "b")].to_dict("records")
    assert ttft["word"] == "slower" and re.fullmatch(r"\[\+\d+\.\d%, \+\d+\.\d%\]", ttft["interval"])
    assert set(found[found["run"] == "c"]["interval"]) == {""}
    assert found[found["run"] == "c"]["word"].str.startswith("cannot tell: one side has only 5 requests").all()


@given(SHARE, SHARE, st.floats(0.001, 0.2), st.booleans())
def test_the_word_claims_no_more_than_the_interval(one: float, other: float, margin: float, lower: bool) -> None:
    low, high = sorted((one, other))
    found = interval_verdict((low, high), margin, lower_is_faster=lower)
    if found in ("faster", "slower"):
        assert low > 0 or high < 0
        assert (found == "faster") == ((high < 0) == lower)
    elif found == "same":
        assert max(abs(low), abs(high)) <= margin
    else:
        assert low <= 0 <= high
    assert interval_verdict((low, high), margin, lower_is_faster=not lower) == {
        "faster": "slower",
        "slower": "faster",
    }.get(found, found)


def test_a_run_and_another_tools_file_are_compared_from_a_shell(capsys: pytest.CaptureFixture[str]) -> None:
    run = sorted(paths.RUNS.glob("*-vllm-h100-*"))[0]
    assert main(["compare", str(run), str(FILES / "vllm-bench-serve-detailed.json")]) == 0
    shown = capsys.readouterr().out
    assert "(TINY MODEL)" in shown.splitlines()[0]
    assert "[mixed-models]" in shown
    assert re.search(r"^itl_s .* cannot tell: a side has no single gap", shown, re.MULTILINE)
    assert "error in vllm-bench-serve-detailed.json" in shown  # its TTFT counts the role chunk: that has to be said


def test_two_runs_are_compared_down_to_their_gaps(capsys: pytest.CaptureFixture[str]) -> None:
    first, second = sorted(paths.RUNS.glob("*-vllm-h100-*"))[:2]
    assert main(["compare", str(first), str(second)]) == 0
    assert re.search(r"^itl_s .*%\]  (same|faster|slower|cannot tell)$", capsys.readouterr().out, re.MULTILINE)


@pytest.mark.parametrize("arguments", [("nothing", "nothing"), ("--same", "200%", "a", "b")])
def test_bad_input_is_one_line(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = main(["compare", *arguments])
    except SystemExit as ended:
        code = int(ended.code or 0)
    assert code == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
