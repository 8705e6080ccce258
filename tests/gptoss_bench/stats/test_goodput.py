"""Goodput: requests that met every limit."""

import pytest

from gptoss_bench.runs.request_table import derive_tables
from gptoss_bench.runs.summary import LoadSummary, Slo
from gptoss_bench.stats.slo import parse_slo
from gptoss_bench.stats.summary import summarise
from gptoss_client import Trace, UsageError
from streams import DONE, answer, chat, counted, finish, trace


def load(traces: list[Trace], concurrency: int, slo: Slo | None = None) -> LoadSummary:
    return summarise(*derive_tables(traces), concurrency=concurrency, slo=slo)


def answered(request_id: int, first_ms: float, gap_ms: float) -> Trace:
    """A reply that ended by itself after four tokens, 60 ms after the request before it was sent."""
    texts = [(first_ms + at * gap_ms, answer(usage=counted(at + 1))) for at in range(4)]
    return trace([*texts, (texts[-1][0], finish()), (texts[-1][0], DONE)], request_id, sent_ms=60.0 * request_id)


def test_goodput_counts_what_met_every_limit() -> None:
    good, slow_first, slow_gaps = answered(0, 10, 5), answered(1, 30, 5), answered(2, 10, 15)
    failed, truncated = trace([(10, answer())], 3, sent_ms=180, ending="cut"), chat(10, 5, 4, 4, sent_ms=240)
    stopped = trace([], 5, sent_ns=None, status=None, ending="cancelled")
    traces = [good, slow_first, slow_gaps, failed, truncated, stopped, answered(6, 10, 5)]
    summary = load(traces, 1, slo=Slo(ttft_s=0.020, tpot_s=0.010))
    assert summary.goodput_share == pytest.approx(2 / 6)
    assert summary.goodput_share_interval is None  # of 6 requests
    window_s = summary.steady_window_s
    assert window_s == pytest.approx(0.360 + 0.025 - 0.010)
    assert summary.goodput_request_s == pytest.approx(2 / window_s)
    assert load(traces, 1).goodput_share is None


def test_goodput_is_unknown_where_its_limit_cannot_be_checked() -> None:
    unreported = [trace([(10, answer()), (40, answer()), (50, DONE)], n, sent_ms=60.0 * n) for n in range(3)]
    assert load(unreported, 1, slo=Slo(tpot_s=0.1)).goodput_share is None
    assert load(unreported, 1, slo=Slo(e2e_s=0.1)).goodput_share == 1.0


def test_the_share_of_a_long_load_has_an_interval() -> None:
    traces = [answered(n, 10 if n % 3 else 30, 5) for n in range(60)]
    summary = load(traces, 1, slo=Slo(ttft_s=0.020))
    low, high = summary.goodput_share_interval or (0.0, 0.0)
    assert 0 < low < summary.goodput_share < high < 1


def test_limits_are_read_with_their_units() -> None:
    assert parse_slo("ttft=0.5s, tpot=30ms,E2E=10s") == Slo(ttft_s=0.5, tpot_s=0.03, e2e_s=10.0)


@pytest.mark.parametrize(
    "text", ["", "ttft", "ttft=1", "ttft=0s", "itl=5ms", "ttft=1s,ttft=2s", "ttft=1 min", "tpot=-1s"]
)
def test_a_limit_that_cannot_be_read_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match=r"write ttft=0\.5s,tpot=30ms,e2e=10s"):
        parse_slo(text)


def test_an_answer_of_full_length_is_a_good_one_if_the_plan_asked_for_it() -> None:
    traces = [answered(n, 10, 5) for n in range(6)]
    requests, events = derive_tables(traces)
    requests["truncated"] = True
    slo = Slo(ttft_s=0.5)
    assert summarise(requests, events, concurrency=1, slo=slo).goodput_share == 0.0
    assert summarise(requests, events, concurrency=1, slo=slo, full_length=True).goodput_share == 1.0
