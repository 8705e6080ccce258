"""Whatever a server reports as usage, the run has a summary that is JSON, without NaN; tokens of several in a chunk."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_bench.runs.request_table import derive_tables
from gptoss_bench.stats.summary import summarise
from gptoss_bench.stats.text_report import result_block
from streams import DONE, answer, counted, finish, role, sse, trace, usage

COUNTS = st.sampled_from([0, 1, -1, 3, 4, 500, 2**31, 10**30, None, "4", 1.5, True, [], {}, float("nan")])
USAGES = st.none() | st.dictionaries(st.sampled_from(["prompt_tokens", "completion_tokens"]), COUNTS)


@given(in_chunks=USAGES, at_end=USAGES, hidden=COUNTS)
def test_any_usage_gives_a_summary(in_chunks: object, at_end: dict[str, object] | None, hidden: object) -> None:
    end = None if at_end is None else at_end | {"completion_tokens_details": {"reasoning_tokens": hidden}}
    texts = [(40.0 + 9 * at, answer(usage=in_chunks)) for at in range(4)]
    ends = [(70.0, finish()), (70.0, sse({"choices": [], "usage": end})), (70.0, DONE)]
    table, events = derive_tables([trace([*texts, *ends], number, sent_ms=80.0 * number) for number in range(12)])
    found = summarise(table, events, concurrency=1)
    assert (found.completed, found.ttft_s.p50) == (12, 0.04)
    json.dumps(found.document(), allow_nan=False)
    assert "nan" not in result_block(found, title_line="one")


def test_chunks_of_several_tokens() -> None:
    """31 tokens in 11 chunks: 100 ms, then every 45 ms until 550 ms, the end at 572 ms.

    ITL 45 ms, per chunk, 10 of each request. TPOT at least 450 / 30 = 15 ms, at most (572 - 100) / 10 = 47.2 ms.
    """
    texts = [(100.0 + 45 * at, answer()) for at in range(11)]
    body = [(0.1, role()), *texts, (572.0, finish()), (572.0, usage(31)), (572.0, DONE)]
    traces = [trace(body, n, sent_ms=600.0 * n) for n in range(12)]
    found = summarise(*derive_tables(traces), concurrency=1)
    assert (found.itl_s.n, found.itl_s.p50, found.tokens_per_event) == (120, pytest.approx(0.045), 31 / 11)
    assert found.tpot_s.n == 0
    block = result_block(found, title_line="one")
    assert "which hold 2.82 tokens on average" in block
    assert "the tokens of the first event are unknown (12): see the finding no-token-counts" in block


def test_usage_of_zeros_is_not_reported() -> None:
    """LocalAI's usage of zeros in each chunk: tokens are unknown, the run has its times."""
    zeros = counted(0, 0)
    body = [
        (50.0, role(usage=zeros)),
        *[(60.0 + 10 * at, answer(usage=zeros)) for at in range(9)],
        (150.0, finish()),
        (150.0, DONE),
    ]
    found = summarise(*derive_tables([trace(body, n, sent_ms=160.0 * n) for n in range(12)]), concurrency=1)
    assert (found.completion_tokens.sum, found.prompt_tokens.max, found.output_tok_s_total) == (None, None, None)
    assert (found.completed, found.ttft_s.p50) == (12, 0.06)
