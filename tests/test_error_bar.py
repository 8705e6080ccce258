"""The error bar: which load of which ruler speaks for a run, when a run is client-bound, and where both are shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_bench.error_bar import NO_RULER, bar_words, client_bound, error_bar, ruler_of
from gptoss_bench.frame import RED, finished, new_figure
from gptoss_bench.machine import machine
from gptoss_bench.report import result_block
from gptoss_bench.scenario import ruler_here
from gptoss_bench.store import RunFolder
from gptoss_bench.summary import summarise
from gptoss_bench.tables import derive
from streams import chat

HERE = {"cpu": "c", "cores": 2, "system": "s", "python": "3.11.7", "memory_gib": 1.0}
QUIET = {"lag_s": {"p50": 1e-5, "p90": 2e-5, "p99": 5e-5}, "cpu_share": 0.2, "shared_read_share": 0.0}


def level(events_s: float, ttft_ms: float | None = 0.1, *, trusted: bool = True) -> dict:
    spread = {"p50": ttft_ms, "p99": ttft_ms, "max": 9.0}
    return {"events_s": events_s, "ttft_error": spread, "itl_error": spread, "trusted": trusted, "cpu_share": 0.5}


def laid(*rates: float, run_id: str = "a-ruler") -> dict:
    return ruler_of(HERE, [(run_id, HERE, {"levels": [level(rate, rate) for rate in rates]})])


@given(st.lists(st.floats(1, 1e6), min_size=1, max_size=8, unique=True), st.floats(0, 2e6))
def test_a_run_takes_the_errors_of_the_next_busier_load(rates, events_s):
    bar = error_bar(events_s, laid(*rates))
    busier = [rate for rate in rates if rate >= events_s]
    assert bar["ruler_events_s"] == (min(busier) if busier else None)
    if busier:
        assert bar["why"] is None
        assert bar["ttft_s"]["p99"] == pytest.approx(min(busier) / 1e3)
    else:
        assert bar["why"] == "busier than every load of the ruler"
        assert bar["ttft_s"] is bar["itl_s"] is bar["trusted"] is None


@pytest.mark.parametrize("other", [{"cpu": "d"}, {"cores": 4}, {"system": "t"}, {"python": "3.12.0"}])
def test_a_ruler_of_another_machine_says_nothing(other):
    assert ruler_of(HERE, [("a", HERE | other, {"levels": [level(1)]})]) == {"run_id": None, "levels": []}
    assert error_bar(1.0, {"run_id": None, "levels": []})["why"] == NO_RULER
    assert error_bar(1.0, None)["why"] == NO_RULER


def test_the_newest_ruler_of_this_machine_counts():
    rulers = [("1", HERE, {"levels": [level(1)]}), ("2", HERE, {"levels": [level(2)]}), ("3", {}, {"levels": []})]
    assert ruler_of(HERE, rulers)["run_id"] == "2"


@pytest.mark.parametrize(
    ("client", "word"),
    [
        ({"lag_s": {"p50": 1e-5, "p90": 1e-3, "p99": 1.1e-3}}, "lag"),
        ({"cpu_share": 0.81}, "81%"),
        ({"shared_read_share": 0.06}, "6%"),
    ],
)
def test_each_reason_to_be_client_bound_is_told_by_its_number(client, word):
    assert client_bound(QUIET, 0.02) == client_bound(QUIET | {"lag_s": None, "cpu_share": None}, None) == []
    [reason] = client_bound(QUIET | client, 0.02)
    assert word in reason


def test_an_error_bar_in_words():
    assert "TTFT 20 / 20 ms, ITL 20 / 20 ms (a-ruler at 20 events/s)" in bar_words(error_bar(10.0, laid(20.0)))
    doubtful = ruler_of(HERE, [("r", HERE, {"levels": [level(20.0, None, trusted=False)]})])
    assert "TTFT – / – ms" in bar_words(error_bar(10.0, doubtful))
    assert "does not trust" in bar_words(error_bar(10.0, doubtful))
    assert "make ruler" in bar_words(error_bar(10.0, None))


def test_figures_carry_the_error_bar_and_a_client_that_was_the_limit_in_red():
    figure, _ = new_figure()
    finished(figure, {"client": {"error_bar": "the bar", "bound": ["it was busy 90% of the time"]}})
    assert "the bar" in figure.get_supxlabel()
    title = figure._suptitle
    assert title.get_text() == "CLIENT-BOUND: it was busy 90% of the time"
    assert title.get_color() == RED
    figure, _ = new_figure()
    finished(figure, {"client": {"error_bar": "the bar", "bound": []}})
    assert figure._suptitle is None


def test_the_block_carries_both():
    requests, chunks = derive([chat(40, 9, 9, n, sent_ms=114.0 * n) for n in range(10)])
    summary = summarise(requests, chunks, concurrency=1)
    assert "CLIENT-BOUND" not in result_block(summary, title_line="t")
    summary["client"] |= {"error_bar": error_bar(10.0, laid(20.0)), "bound": ["it was busy 90% of the time"]}
    block = result_block(summary, title_line="t")
    assert "client's error, p50 / p99: TTFT 20 / 20 ms" in block
    assert "CLIENT-BOUND: it was busy 90% of the time" in block


def test_a_run_finds_the_ruler_that_lies_beside_it(tmp_path):
    assert ruler_here(tmp_path, machine())["run_id"] is None
    folder = RunFolder.create(tmp_path, "ruler", parameters={})
    ruler = folder.finish({"levels": [level(50.0)]})
    RunFolder.create(tmp_path, "ruler", parameters={})  # one that never ended
    assert ruler_here(tmp_path, machine())["run_id"] == ruler.run_id


def test_a_summary_knows_its_event_rate():
    requests, chunks = derive([chat(40, 9, 9, n, sent_ms=114.0 * n) for n in range(10)])
    summary = summarise(requests, chunks, concurrency=1)
    assert summary["client"]["events_s"] == pytest.approx(len(chunks) / summary["wall_s"])
    assert summarise(*derive([]), concurrency=1)["client"]["events_s"] is None
