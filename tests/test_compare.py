"""Two results side by side: the word says what the interval says, and no more."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_bench import __main__ as shell
from gptoss_bench import paths
from gptoss_bench.compare import Difference, compare, word
from gptoss_bench.importers.imported import Row, of_rows

FILES = Path(__file__).parent / "imported"
SHARE = st.floats(-0.5, 0.5)


def side(seed: int, scale: float = 1.0, count: int = 400, noise: float = 0.1) -> tuple[dict[str, Any], pd.DataFrame]:
    """Requests of 20 tokens from one slot: 100 ms to the first token and 10 ms for each other, times `scale`."""
    draw = np.random.default_rng(seed)
    rows, sent_ns = [], 0
    for ttft_s, gap_s in scale * draw.normal([0.1, 0.01], [0.1 * noise, 0.01 * noise], (count, 2)):
        rows.append(Row(sent_ns, ttft_s=ttft_s, e2e_s=ttft_s + 19 * gap_s, completion_tokens=20))
        sent_ns += round((ttft_s + 19 * gap_s) * 1e9)
    return of_rows(rows, concurrency=1, gaps_known=False)


def words(found: list[Difference]) -> dict[str, str]:
    return {difference.name: difference.word for difference in found}


def test_two_loads_of_the_same_are_the_same() -> None:
    found = compare(side(1, noise=0.03), side(2, noise=0.03))
    assert set(words(found).values()) == {"same"}
    assert {difference.name for difference in found} == {"ttft_s", "tpot_s", "done_s", "output_tok_s_total"}


@pytest.mark.parametrize(("scale", "expected"), [(1.2, "slower"), (0.8, "faster")])
def test_what_takes_longer_is_slower_and_its_rate_is_too(scale: float, expected: str) -> None:
    found = compare(side(1), side(2, scale))
    assert set(words(found).values()) == {expected}
    for difference in found:
        true = 1 / scale - 1 if difference.name == "output_tok_s_total" else scale - 1
        assert difference.interval is not None
        assert difference.interval[0] - 0.01 <= true <= difference.interval[1] + 0.01


def test_few_and_noisy_requests_cannot_tell() -> None:
    found = compare(side(1, count=12, noise=3.0), side(2, 1.05, count=12, noise=3.0))
    assert words(found)["ttft_s"] == "cannot tell"


def test_too_few_requests_are_not_compared_and_say_so() -> None:
    for difference in compare(side(1), side(2, count=9)):
        assert (difference.word, difference.interval) == ("cannot tell", None)
        assert "9 requests" in (difference.why or "")


def test_the_rate_of_unchanged_requests_is_the_rate_that_was_measured() -> None:
    first, second = side(1), side(2, 1.1)
    [rate] = [one for one in compare(first, second) if one.name == "output_tok_s_total"]
    assert rate.change == pytest.approx(second[0]["output_tok_s_total"] / first[0]["output_tok_s_total"] - 1)
    assert rate.interval is not None
    assert rate.interval[0] < rate.change < rate.interval[1]


def test_the_same_seed_gives_the_same_intervals() -> None:
    assert compare(side(1), side(2), seed=3) == compare(side(1), side(2), seed=3)


@given(SHARE, SHARE, st.floats(0.001, 0.2), st.booleans())
def test_the_word_claims_no_more_than_the_interval(one: float, other: float, margin: float, lower: bool) -> None:
    low, high = sorted((one, other))
    found = word((low, high), margin, lower_is_faster=lower)
    if found in ("faster", "slower"):
        assert low > 0 or high < 0
        assert (found == "faster") == ((high < 0) == lower)
    elif found == "same":
        assert max(abs(low), abs(high)) <= margin
    else:
        assert low <= 0 <= high
    assert word((low, high), margin, lower_is_faster=not lower) == {"faster": "slower", "slower": "faster"}.get(
        found, found
    )


def test_a_run_and_another_tools_file_are_compared_from_a_shell(capsys: pytest.CaptureFixture[str]) -> None:
    run = sorted(paths.RUNS.glob("*-vllm-h100-*"))[0]
    assert shell.main(["compare", str(run), str(FILES / "vllm-bench-serve-detailed.json")]) == 0
    shown = capsys.readouterr().out
    assert "(TINY MODEL)" in shown.splitlines()[0]
    assert "[mixed-models]" in shown
    assert "error in vllm-bench-serve-detailed.json" in shown  # its TTFT counts the role chunk: that has to be said


@pytest.mark.parametrize("arguments", [("nothing", "nothing"), ("--same", "200%", "a", "b")])
def test_bad_input_is_one_line(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = shell.main(["compare", *arguments])
    except SystemExit as ended:
        code = int(ended.code or 0)
    assert code == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
