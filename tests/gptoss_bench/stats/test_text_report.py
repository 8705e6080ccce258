"""The printed block: every number that is known stands in it, and every other one is a dash."""

import re

import pandas as pd
import pytest

from gptoss_bench.runs.request_table import derive_tables
from gptoss_bench.runs.summary import Percentiles, Slo
from gptoss_bench.stats.summary import summarise
from gptoss_bench.stats.text_report import headline, result_block
from gptoss_client.trace import Trace
from streams import DONE, answer, chat, finish, trace

TITLE = "embedded engine, TINY MODEL"
FAILED = [trace([], n, sent_ns=None, status=None, ending="connect", error="refused") for n in range(3)]


def block(traces: list[Trace], concurrency: int = 1) -> str:
    return result_block(summarise(*derive_tables(traces), concurrency=concurrency), title_line=TITLE, write_up=True)


def lines(text: str, label: str) -> list[list[str]]:
    """The cells of each line that starts so."""
    return [line.removeprefix(label).split() for line in text.splitlines() if line.startswith(label)]


def replies(count: int) -> list[Trace]:
    """One after the other, 101 ms apart: the first token after 40 ms, six tokens 10 ms apart, 91 ms in all."""
    return [chat(40, 10, 6, n, sent_ms=101.0 * n) for n in range(count)]


def test_an_open_loop_shows_its_rate_and_the_waits_from_when_a_request_was_due() -> None:
    # sent every 101 ms, each 20 ms after it was due: the first token after 40 + 20 ms, the last one after 90 + 20 ms
    requests, events = derive_tables(replies(1000))
    requests["scheduled_ns"] = requests["sent_ns"].astype("int64") - 20_000_000
    for name, to in (("ttft_scheduled_s", "ttft_s"), ("e2e_scheduled_s", "e2e_s"), ("client_queue_s", "connect_s")):
        requests[name] = requests[to] + 0.020
    slo = Slo(ttft_s=0.1)
    text = result_block(summarise(requests, events, concurrency=None, slo=slo, full_length=True), title_line=TITLE)
    assert lines(text, "TTFT from due (s)") == [["0.060"] * 3]
    assert lines(text, "Latency from due (s)") == [["0.110"] * 3]
    assert lines(text, "Due to sent (ms)") == [["20.000"] * 3]
    assert lines(text, "Offered load")[0][:3] == ["9.90", "req/s", "due;"]
    # 998 of them end between the first and the last planned arrival, 999 × 101 ms apart
    assert lines(text, "Goodput")[0][:2] == ["9.89", "req/s"]
    assert "TTFT ≤ 0.1 s: 100.0%" in text
    assert lines(text, "Concurrency") == []


def test_the_block_of_a_whole_run() -> None:
    text = block(replies(1000))
    formula = 88 / 94 * 0.091
    assert text.splitlines()[:2] == [TITLE, "=" * len(TITLE)]
    assert lines(text, "Latency (s)") == [["0.091"] * 3] * 2  # once by each rule
    assert lines(text, "TTFT (s)") == lines(text, "TTFT, measured (s)") == [["0.040"] * 3]
    assert lines(text, "TTFT, by formula (s)") == [[f"{formula:.3f}"] * 3]
    assert lines(text, "  formula / measured") == [[f"{formula / 0.040:.1f}×"] * 3]
    assert lines(text, "ITL (ms)") == [["10.000"] * 3]
    assert lines(text, "Total wall-clock time") == [["100.99", "s"]]
    assert lines(text, "Requests / second")[0][0] == f"{1000 / 100.99:.1f}"
    assert lines(text, "Tokens / second")[0][0] == f"{6000 / 100.99:.1f}"
    assert "1000 completed; 0 failed; 0 cancelled; 1000 stopped at the token limit" in text
    assert "~" not in text


def test_a_stopped_load_tells_requests_that_were_never_sent_from_those_on_their_way() -> None:
    requests, events = derive_tables(replies(3))
    requests.loc[1:, "outcome"] = "cancelled"
    requests.loc[2, "sent_ns"] = pd.NA
    summary = summarise(requests, events, concurrency=1, unsent={"measure": 40})
    assert (summary.requests, summary.cancelled, summary.never_sent) == (43, 42, 41)
    text = result_block(summary, title_line=TITLE)
    assert "1 completed; 0 failed; 1 cancelled on their way; 41 never sent" in text


def test_percentiles_that_are_not_resolved_are_marked_and_explained() -> None:
    text = block(replies(100))
    assert lines(text, "Latency (s)")[0] == ["0.091", "0.091", "~0.091"]
    assert lines(text, "ITL (ms)") == [["10.000", "10.000", "~10.000"]]  # 500 gaps
    assert "fewer than 10 samples" in text


def test_both_rules_stand_side_by_side() -> None:
    text = block([chat(10 * (n + 1), 10, 2, n, sent_ms=200.0 * n) for n in range(3)])
    [inclusive], [exclusive] = lines(text, "TTFT (s)"), lines(text, "TTFT, measured (s)")
    assert inclusive == ["~0.020", "~0.028", "~0.030"]
    assert exclusive == ["~0.020", "~0.036", "~0.040"]  # beyond the slowest that there was
    assert text.index("\npercentiles") < text.index("\nas in the write-up")


def test_the_quantities_of_the_write_up_are_printed_only_where_they_are_asked_for() -> None:
    text = result_block(summarise(*derive_tables(replies(3)), concurrency=1), title_line=TITLE)
    assert "formula" not in text and "write-up" not in text
    assert len(lines(text, "Latency (s)")) == len(lines(text, "TTFT (s)")) == 1


@pytest.mark.parametrize("traces", [pytest.param([], id="no request"), pytest.param(FAILED, id="all failed")])
def test_the_block_of_a_run_without_a_number_is_all_there(traces: list[Trace]) -> None:
    whole, bare = block(replies(2)), block(traces)
    labels = re.findall(r"^\S[^–~\d\n]*?(?=  )", whole, flags=re.MULTILINE)
    assert len(labels) > 10
    assert [label for label in labels if not lines(bare, label)] == []
    assert lines(bare, "Latency (s)") == [["–"] * 3] * 2
    assert lines(bare, "  formula / measured") == [["–"] * 3]
    assert not re.search(r"nan|None|inf", bare)


def test_planned_tokens_of_some_requests_are_not_a_share_of_the_tokens_of_all() -> None:
    requests, events = derive_tables(replies(3))
    requests["max_tokens"] = pd.array([6, None, 6], dtype="Int32")
    text = result_block(summarise(requests, events, concurrency=1), title_line=TITLE)
    assert "12 planned, 6 a request: for 2 of the 3 requests" in text
    requests["max_tokens"] = pd.array([6, 12, 6], dtype="Int32")
    text = result_block(summarise(requests, events, concurrency=1), title_line=TITLE)
    assert "24 planned, 6 to 12 a request: 75.0% came" in text


def test_a_rate_that_is_unknown_says_why() -> None:
    unreported = [trace([(40, answer()), (50, finish()), (50, DONE)], n, sent_ms=60.0 * n) for n in range(3)]
    assert (
        "–  tok/s, steady window of 0.13 s: the server sends no running token counts (see the finding no-token-counts)"
        in block(unreported)
    )


def test_failures_are_named_by_class() -> None:
    text = block([*replies(2), *FAILED, trace([], 9, status=503, sent_ms=300)])
    assert "2 completed; 4 failed (connect 3, http_5xx 1); 0 cancelled" in text


def test_the_first_failure_is_quoted_as_one_printable_line() -> None:
    refused = trace([(5, b'{"error": "wrong\x1b[2J key"}\n' + b"x" * 500)], 9, status=401, sent_ms=300)
    text = block([*replies(2), *FAILED, refused])
    [line] = [line for line in text.splitlines() if line.startswith("First failure")]
    assert line.split("  ")[-1].strip().startswith('status 401: {"error": "wrong\\x1b[2J key"} xxx')
    assert len(line) < 200
    assert "First failure" not in block(replies(2))


def test_the_headline_quotes_no_median_that_the_client_knows_too_badly() -> None:
    found = summarise(*derive_tables(replies(12)), concurrency=1)
    assert "with 1 stream; first token after 0.040 s (median); then a token every 10.00 ms" in headline(found)
    found.ttft_s.low, found.ttft_s.high = Percentiles(p50=0.03, p90=0.04, p99=0.04), Percentiles(p50=0.05)
    assert "first token after" not in headline(found) and "with 1 stream; a token every" in headline(found)
    assert "do not quote TTFT p50 0.03 to 0.05 s: the client read late; give it a core of its own" in headline(found)
