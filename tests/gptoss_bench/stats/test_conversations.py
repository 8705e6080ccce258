"""The summary of conversations: the window, who is in progress, and the first turn against later ones."""

import pandas as pd
import pytest

from gptoss_bench.runs.request_table import derive_tables
from gptoss_bench.stats.conversations import think_s
from gptoss_bench.stats.summary import summarise
from gptoss_bench.stats.text_report import result_block
from streams import SENT_NS, conversations, two_slots


def test_the_window_ends_when_the_first_slot_has_no_conversation_left() -> None:
    requests, events = derive_tables(conversations())
    requests["reordered"] = 0  # a run that recorded when its responses ended
    summary = summarise(requests, events, concurrency=2)
    window = summary.steady_window_ns
    # slot B has its first token at 40 ms, and slot A ends at 455 ms; of single requests the window would end at 636 ms
    assert window is not None and [(at - SENT_NS) / 1e6 for at in window] == [40, 455]
    held = summary.conversations
    assert held is not None and held.in_progress == pytest.approx(2)  # nobody is idle, and most of them think
    assert summary.concurrency_delivered is not None and summary.concurrency_delivered < 1.1
    assert summary.slot_idle_share == 0


def test_turns_are_summarised_one_by_one_and_the_later_ones_together() -> None:
    requests, events = derive_tables(conversations())
    requests["prompt_tokens"] = (88 * requests["turn"]).astype("Int32")
    requests["cached_tokens"] = (80 * (requests["turn"] - 1)).astype("Int32")
    held = summarise(requests, events, concurrency=2).conversations
    assert held is not None and (held.conversations, held.completed) == (6, 6)
    assert [turn.requests for turn in held.turns] == [6, 5, 1] == [turn.completed for turn in held.turns]
    assert [turn.ttft_s.p50 for turn in held.turns] == pytest.approx([0.010, 0.005, 0.005])
    assert [turn.prompt_tokens for turn in held.turns] == [88, 176, 264]
    assert [turn.cached_share for turn in held.turns] == pytest.approx([0, 80 / 176, 160 / 264])
    assert held.first.ttft_s.p50 == pytest.approx(0.010) and held.later.ttft_s.n == 6
    assert held.later.cached_share == pytest.approx((5 * 80 + 160) / (5 * 176 + 264))


def test_the_cached_tokens_of_the_timings_of_llama_cpp_count_where_usage_has_none() -> None:
    requests, events = derive_tables(conversations())
    requests["server_cached_tokens"] = pd.array([44] * len(requests), dtype="Int32")
    held = summarise(requests, events, concurrency=2).conversations
    assert held is not None and held.first.cached_share == 0.5


def test_a_user_thinks_before_later_turns_only() -> None:
    requests, _ = derive_tables(conversations())
    assert list(think_s(requests)) == pytest.approx([0.0 if turn == 1 else 0.1 for turn in requests["turn"]])
    single, _ = derive_tables(two_slots())
    assert list(think_s(single)) == [0.0] * 6


def test_the_offered_load_of_an_open_loop_counts_the_turns_that_are_due_while_conversations_arrive() -> None:
    requests, events = derive_tables(conversations())
    summary = summarise(requests, events, concurrency=None)
    # first turns are due from 0 to 434 ms; after the first of them eight turns more are due until then
    due_ms = (requests["scheduled_ns"] - SENT_NS) / 1e6
    assert summary.rate_planned == pytest.approx(((due_ms <= 434).sum() - 1) / 0.434)


def test_the_block_has_a_line_for_each_turn() -> None:
    requests, events = derive_tables(conversations())
    text = result_block(summarise(requests, events, concurrency=2), title_line="t").splitlines()
    at = text.index("Conversations: 6, of which 6 completed with all their turns")
    assert [line.split()[:4] for line in text[at + 2 : at + 5]] == [
        ["1", "6", "6", "0.010"],
        ["2", "5", "5", "0.005"],
        ["3", "1", "1", "0.005"],
    ]
    assert text[at + 5].split()[:6] == ["2", "and", "later", "6", "6", "0.005"]
    assert "conversations planned; in the steady window 2.0" in "\n".join(text)


def test_a_load_of_single_requests_has_no_conversations() -> None:
    summary = summarise(*derive_tables(two_slots()), concurrency=2)
    assert summary.conversations is None and "conversations" not in summary.document()
