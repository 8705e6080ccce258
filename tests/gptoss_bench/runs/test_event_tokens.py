"""Tokens of an event from each source that a server has; unknown if it has none."""

import json

import pandas as pd
import pytest

from folders import TESTS
from gptoss_bench.runs.request_table import derive_tables
from streams import DONE, Timed, answer, counted, finish, role, row, trace, usage

RECORDED = TESTS / "wire"


def tokens(timed: list[Timed]) -> list[int | None]:
    """Of the output-bearing events."""
    events = derive_tables([trace(timed)])[1]
    return [None if pd.isna(count) else int(count) for count in events.loc[events["output"], "tokens"]]


def test_tpot_is_exact_with_several_tokens_an_event() -> None:
    """The first event has 4 tokens (three channel marks and its own), the others 3 each; the last token, harmony's end
    mark, is in the finish chunk."""
    texts = [(40 + 30 * k, answer(usage=counted(4 + 3 * k))) for k in range(5)]
    timed = [(10, role(usage=counted(0))), *texts, (170, finish()), (170, usage(17)), (170, DONE)]
    assert tokens(timed) == [4, 3, 3, 3, 3]
    assert row(trace(timed))["tpot_s"] == pytest.approx(0.130 / (17 - 4), abs=1e-15)


@pytest.mark.parametrize(
    ("end", "last_ms"),
    [
        pytest.param([(70, finish()), (80, usage(9))], 70, id="finish chunk"),
        pytest.param([(60, role(usage=counted(8))), (70, role(usage=counted(9)))], 70, id="full count"),
        pytest.param([(85, usage(9))], 85, id="usage alone"),
    ],
)
def test_tokens_behind_the_last_text_belong_to_the_event_that_ends_the_reply(end: list[Timed], last_ms: int) -> None:
    timed = [(40, answer(usage=counted(4))), (50, answer(usage=counted(7))), *end, (90, DONE)]
    requests, events = derive_tables([trace(timed)])
    assert events["tokens"].sum() == 9
    assert requests["tpot_s"][0] == pytest.approx((last_ms - 40) / 1e3 / 5)


@pytest.mark.parametrize(
    "end",
    [
        pytest.param([(60, usage(9))], id="fewer events than tokens"),
        pytest.param([(60, usage(1))], id="more events than tokens"),
        pytest.param([], id="no usage"),
    ],
)
def test_tokens_that_are_not_reported_are_unknown(end: list[Timed]) -> None:
    timed = [(40, answer()), (50, answer(" two words")), (60, finish()), *end, (60, DONE)]
    assert tokens(timed) == [None, None]
    seen = row(trace(timed))
    assert pd.isna(seen["tpot_s"])
    assert seen["e2e_s"] == 0.050
    assert pd.isna(seen["ttft_formula_s"]) == (not end)


def test_a_running_count_that_falls_is_ignored() -> None:
    assert tokens([(40, answer(usage=counted(4))), (50, answer(usage=counted(3))), (60, DONE)]) == [None, None]


@pytest.mark.parametrize(
    ("name", "first", "total"),
    [
        pytest.param("vllm-chat_stream_continuous_usage", 4, 48, id="usage in each chunk"),
        pytest.param("vllm-chat_stream_return_token_ids", 4, 48, id="token ids"),
    ],
)
def test_tokens_of_a_recorded_stream(name: str, first: int, total: int) -> None:
    lines = (RECORDED / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    timed = [(record["t"] * 1e3, record["data"].encode()) for record in map(json.loads, lines)]
    counts = tokens(timed)
    assert (counts[0], sum(count or 0 for count in counts)) == (first, total)
    assert row(trace(timed))["completion_tokens"] == total
