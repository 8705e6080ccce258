"""Intervals of rates, wall time and high percentiles: they hold what they are of, and are None where none is known."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptoss_bench.claims.model import RunRecord
from gptoss_bench.claims.schema import load_claims
from gptoss_bench.runs.request_table import derive_tables
from gptoss_bench.stats.bootstrap import run_intervals
from gptoss_bench.stats.summary import summarise
from streams import chat

NAMES = ("request_s", "output_tok_s_total", "wall_s")


def one_slot(lengths: list[int]) -> tuple[dict, pd.DataFrame]:
    """Requests of so many tokens, 10 ms each, one after the other."""
    sent = np.cumsum([0, *(20 + 10 * length for length in lengths)])
    traces = [chat(10, 10, length, n, sent_ms=float(sent[n])) for n, length in enumerate(lengths)]
    requests, events = derive_tables(traces)
    return summarise(requests, events, concurrency=1), requests


@settings(deadline=None, max_examples=10)
@given(st.lists(st.integers(1, 20), min_size=10, max_size=30))
def test_an_interval_holds_what_it_is_of(lengths: list[int]) -> None:
    summary, requests = one_slot(lengths)
    found = run_intervals(summary, requests)
    for name in NAMES:
        low, high = found[name]
        assert low <= summary[name] * (1 + 1e-9) and summary[name] <= high * (1 + 1e-9)
    assert found == run_intervals(summary, requests)
    assert found["wall_s"][0] * found["request_s"][1] == pytest.approx(len(lengths))
    assert found["done_s"] == {"p90": None, "p99": None}, "its own tail does not tell it"


def test_a_percentile_has_an_interval_where_it_is_resolved() -> None:
    summary, requests = one_slot([1 + n % 12 for n in range(120)])
    found = run_intervals(summary, requests)
    low, high = found["done_s"]["p90"]
    assert low <= summary["done_s"]["p90"] <= high
    assert found["done_s"]["p99"] is None


def test_fewer_than_ten_requests_tell_no_interval() -> None:
    found = run_intervals(*one_slot([3] * 9))
    assert [found[name] for name in NAMES] == [None, None, None]
    nothing = derive_tables([])
    assert run_intervals(summarise(*nothing, concurrency=1), nothing[0])["request_s"] is None


def test_a_rate_is_as_sure_as_the_requests_are_many() -> None:
    few, many = (run_intervals(*one_slot([1 + n % 12 for n in range(count)]))["request_s"] for count in (12, 120))
    assert (many[1] - many[0]) / many[0] < 0.6 * (few[1] - few[0]) / few[0]


def test_every_figure_is_judged_by_an_interval_of_the_same_quantity() -> None:
    summary, requests = one_slot([1 + n % 12 for n in range(1000)])
    run = RunRecord("r", "vllm-h100", {}, {**summary, "intervals": run_intervals(summary, requests)})
    judged = [claim for claim in load_claims() if claim.judge == "measured" and claim.arguments.get("interval")]
    assert len(judged) == 11
    for claim in judged:
        path, interval = claim.arguments["path"], claim.arguments["interval"].removeprefix("intervals.")
        assert path.split(".")[0] == interval.split(".")[0]
        assert path.split(".")[-1].partition("_")[0] == interval.split(".")[-1].partition("_")[0] or "tok_s" in path
        if not path.startswith("server"):  # this one has no witness
            span = run.span(claim.arguments["interval"])
            assert span is not None and span[0] <= (run.number(path) or 0) * 1.001, claim.claim_id
