"""Summaries of runs drawn by hand: the rates, the distributions, what is unknown, and that everything adds up."""

import json
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from gptoss_bench.runs.request_table import derive_tables
from gptoss_bench.runs.summary import LoadSummary, Median, TokenCounts
from gptoss_bench.stats.summary import summarise
from gptoss_client.trace import Trace
from recordings import body
from streams import DONE, answer, chat, finish, thought, trace, two_slots, usage


def load(traces: list[Trace], concurrency: int, **more: Any) -> LoadSummary:
    return summarise(*derive_tables(traces), concurrency=concurrency, **more)


def test_the_rates_of_two_slots() -> None:
    summary = load(two_slots(), 2)
    assert summary.wall_s == pytest.approx(0.201)
    assert summary.request_s == pytest.approx(6 / 0.201)
    assert summary.output_tok_s_total == pytest.approx(18 / 0.201)
    # After 40 ms and up to 171 ms: 2 of the first, 2 of the second, 3 each of three, 1 of the last (at 160 ms).
    assert summary.output_tok_s == pytest.approx(13 / 0.131)
    assert summary.steady_window_s == pytest.approx(0.131)
    assert summary.tokens_per_event == 1.0
    assert summary.itl_s.n == 12
    assert summary.completion_tokens == TokenCounts(sum=18, mean=3.0, min=3, max=3)


def test_where_tokens_of_an_event_are_unknown_only_the_total_is_given() -> None:
    doubled = [(10, answer()), (30, answer()), (40, finish()), (40, usage(4)), (40, DONE)]
    summary = load([trace(doubled, n, sent_ms=50.0 * n) for n in range(4)], 1)
    assert summary.output_tok_s_total == pytest.approx(16 / 0.190)
    assert summary.steady_window_s is not None
    assert (summary.output_tok_s, summary.tpot_s.n, summary.tokens_per_event) == (None, 0, 2.0)


def test_without_usage_no_rate_of_tokens_is_given() -> None:
    silent = trace([(10, answer()), (40, finish()), (40, DONE)], 9, sent_ms=180)
    summary = load([*two_slots(), silent], 2)
    assert (summary.output_tok_s_total, summary.completion_tokens.sum, summary.completed) == (None, None, 7)


def test_failures_and_warmup_bend_no_distribution() -> None:
    cut = trace([(500, answer()), (900, answer())], 6, sent_ms=180, ending="cut")
    warm = chat(500, 90, 3, 7, phase="warmup")
    bent, plain = load([warm, *two_slots(), cut], 2), load(two_slots(), 2)
    for name in ("ttft_s", "itl_s", "done_s", "tpot_s"):
        assert bent.distribution(name) == plain.distribution(name)
    assert (bent.requests, bent.failures) == (7, {"cut": 1})
    assert bent.wall_s == pytest.approx(1.080)  # the failed request took its time all the same


def test_a_missing_answer_is_counted() -> None:
    lost = trace([(10, thought()), (40, finish("length")), (40, usage(1)), (40, DONE)], 6, sent_ms=180)
    summary = load([*two_slots(), lost], 2)
    assert (summary.ttfa_missing, summary.ttfa_s.n, summary.ttft_s.n) == (1, 6, 7)


def test_what_the_server_says_stands_apart() -> None:
    timings = {"predicted_n": 30, "predicted_ms": 600.0, "prompt_ms": 20.0}
    said = [(10, answer()), (40, finish()), (40, answer("", timings=timings)), (40, DONE)]
    server = load([trace(said, n, sent_ms=50.0 * n) for n in range(3)], 1).server
    assert server.source == "llama.cpp"
    assert server.tok_s == Median(n=3, p50=50.0, interval=None, why="2 waves: repeat the run (--repeats 3)")
    assert (server.prompt_s.p50, server.load_s.n) == (0.020, 0)
    assert load(two_slots(), 2).server is None


def test_one_token_has_no_decode_rate() -> None:
    """The recorded Ollama says that decoding its only token took 1 µs: its time begins with the first token."""
    one = load([trace([(40, body("ollama-0.33.0-rc2/num_predict_1"))])], 1).server
    assert (one.eval_s.p50, one.tok_s.n) == (1e-6, 0)
    assert one.wait_s.p50 == pytest.approx(0.031157419 - 0.000966131 - 0.003717 - 1e-6)


def test_a_run_in_which_everything_failed_has_no_numbers() -> None:
    summary = load([trace([], n, sent_ns=None, status=None, ending="connect", error="refused") for n in range(5)], 2)
    assert (summary.failed, summary.failures, summary.completed) == (5, {"connect": 5}, 0)
    rates = ("wall_s", "request_s", "output_tok_s_total", "output_tok_s", "concurrency_delivered")
    assert [summary.rate(name) for name in rates] == [None] * 5
    assert summary.ttft_s.p50 is None


@st.composite
def runs(draw: st.DrawFn) -> list[Trace]:
    """Replies of up to five tokens, some cut, some cancelled, some refused, sent in any order."""
    traces = []
    for request_id in range(draw(st.integers(0, 12))):
        numbers = draw(st.tuples(st.integers(0, 50), st.integers(1, 20), st.integers(1, 5), st.integers(0, 200)))
        first, gap, tokens, sent = numbers
        ending = draw(st.sampled_from(["complete", "complete", "cut", "cancelled", "connect"]))
        traces.append(chat(first, gap, tokens, request_id, sent_ms=sent, ending=ending))
    return traces


@settings(deadline=None, max_examples=12)
@given(runs(), st.integers(1, 4), st.randoms(use_true_random=False))
def test_a_summary_adds_up_in_any_order_of_its_requests(traces: list[Trace], concurrency: int, random: Any) -> None:
    summary = load(traces, concurrency)
    assert summary.completed + summary.failed + summary.cancelled == summary.requests == len(traces)
    assert sum(summary.failures.values()) == summary.failed
    json.dumps(summary.model_dump(), allow_nan=False)
    random.shuffle(traces)
    assert_frame_equal(flat(load(traces, concurrency)), flat(summary), rtol=1e-9)


def flat(summary: LoadSummary) -> pd.DataFrame:
    """One row, without the intervals: a bootstrap draws by position."""
    return pd.json_normalize(summary.document()).filter(regex="^(?!.*interval)")


def test_tables_read_back_from_disk_give_the_same_summary(tmp_path: Any) -> None:
    tables = derive_tables(two_slots())
    for table, name in zip(tables, ("requests", "events"), strict=True):
        table.to_parquet(tmp_path / name)
    again = (pd.read_parquet(tmp_path / "requests"), pd.read_parquet(tmp_path / "events"))
    assert summarise(*again, concurrency=2) == summarise(*tables, concurrency=2)
