"""The error bar: which load of which ruler speaks for a run, when a run is client-bound, and where both are shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_bench.figures.style import RED, finish_figure, new_figure
from gptoss_bench.runs.calibration import CalibrationLevel, CalibrationSummary, ErrorSpread
from gptoss_bench.runs.folder import RunFolder
from gptoss_bench.runs.manifest import CalibrationReference, ClientLimits, Machine, Manifest, machine_facts
from gptoss_bench.runs.request_table import derive_tables
from gptoss_bench.runs.summary import ClientLoad, Percentiles
from gptoss_bench.session.session import newest_calibration
from gptoss_bench.stats.client_bound import client_bound_reasons
from gptoss_bench.stats.error_bar import NOT_CALIBRATED, client_error_bar, error_bar_text, select_calibration
from gptoss_bench.stats.summary import summarise
from gptoss_bench.stats.text_report import result_block
from streams import chat

HERE = Machine(cpu="c", cores=2, system="s", python="3.11.7", memory_gib=1.0)
NONE = CalibrationReference(run_id=None, levels=[])
QUIET = ClientLoad(lag_s=Percentiles(p50=1e-5, p90=2e-5, p99=5e-5), cpu_share=0.2, shared_read_share=0.0)


def level(events_s: float, ttft_ms: float | None = 0.1, *, trusted: bool = True) -> CalibrationLevel:
    spread = ErrorSpread(p50=ttft_ms, p99=ttft_ms, max=9.0)
    errors = dict.fromkeys(("ttft_error", "itl_error", "arrival_error", "lag", "server_late"), spread)
    load = {"client": "a", "streams": 1, "tokens_s": 40.0, "events": 40, "offered_events_s": 40.0, "unmatched": 0}
    rest = {"cpu_share": 0.5, "itl_p50_ms": 25.0, "trusted": trusted, "client_bound": False}
    return CalibrationLevel(events_s=events_s, **load, **errors, **rest)


def calibrated(*levels: CalibrationLevel) -> CalibrationSummary:
    return CalibrationSummary(levels=list(levels), trusted_up_to_events_s=None)


def laid(*rates: float, run_id: str = "a-calibration") -> CalibrationReference:
    return select_calibration(HERE, [(run_id, HERE, calibrated(*(level(rate, rate) for rate in rates)))])


@given(st.lists(st.floats(1, 1e6), min_size=1, max_size=8, unique=True), st.floats(0, 2e6))
def test_a_run_takes_the_errors_of_the_next_busier_load(rates, events_s):
    bar = client_error_bar(events_s, laid(*rates))
    busier = [rate for rate in rates if rate >= events_s]
    assert bar.calibration_events_s == (min(busier) if busier else None)
    if busier:
        assert bar.why is None
        assert bar.ttft_s.p99 == pytest.approx(min(busier) / 1e3)
    else:
        assert bar.why == "busier than every load of the calibration"
        assert bar.ttft_s is bar.itl_s is bar.trusted is None


@pytest.mark.parametrize("other", [{"cpu": "d"}, {"cores": 4}, {"system": "t"}, {"python": "3.12.0"}])
def test_a_ruler_of_another_machine_says_nothing(other):
    assert select_calibration(HERE, [("a", HERE.model_copy(update=other), calibrated(level(1)))]) == NONE
    assert client_error_bar(1.0, NONE).why == NOT_CALIBRATED
    assert client_error_bar(1.0, None).why == NOT_CALIBRATED


def test_the_newest_ruler_of_this_machine_counts():
    calibrations = [
        ("1", HERE, calibrated(level(1))),
        ("2", HERE, calibrated(level(2))),
        ("3", Machine(), calibrated()),
    ]
    assert select_calibration(HERE, calibrations).run_id == "2"


@pytest.mark.parametrize(
    ("client", "word"),
    [
        ({"lag_s": Percentiles(p50=1e-5, p90=1e-3, p99=1.1e-3)}, "lag"),
        ({"cpu_share": 0.81}, "81%"),
        ({"shared_read_share": 0.06}, "6%"),
    ],
)
def test_each_reason_to_be_client_bound_is_reported_by_its_number(client, word):
    assert client_bound_reasons(QUIET, 0.02) == client_bound_reasons(ClientLoad(shared_read_share=0.0), None) == []
    [reason] = client_bound_reasons(QUIET.model_copy(update=client), 0.02)
    assert word in reason


def test_an_error_bar_in_words():
    assert "TTFT 20 / 20 ms, ITL 20 / 20 ms (a-calibration at 20 events/s)" in error_bar_text(
        client_error_bar(10.0, laid(20.0))
    )
    doubtful = select_calibration(HERE, [("r", HERE, calibrated(level(20.0, None, trusted=False)))])
    assert "TTFT – / – ms" in error_bar_text(client_error_bar(10.0, doubtful))
    assert "does not trust" in error_bar_text(client_error_bar(10.0, doubtful))
    assert "make calibrate" in error_bar_text(client_error_bar(10.0, None))


def test_figures_carry_the_error_bar_and_a_client_that_was_the_limit_in_red():
    figure, _ = new_figure()
    finish_figure(figure, Manifest(client=ClientLimits(error_bar="the bar", bound=["it was busy 90% of the time"])))
    assert "the bar" in figure.get_supxlabel()
    title = figure._suptitle
    assert title.get_text() == "CLIENT-BOUND: it was busy 90% of the time"
    assert title.get_color() == RED
    figure, _ = new_figure()
    finish_figure(figure, Manifest(client=ClientLimits(error_bar="the bar")))
    assert figure._suptitle is None


def test_the_block_carries_both():
    requests, events = derive_tables([chat(40, 9, 9, n, sent_ms=114.0 * n) for n in range(10)])
    summary = summarise(requests, events, concurrency=1)
    assert "CLIENT-BOUND" not in result_block(summary, title_line="t")
    summary.client.error_bar = client_error_bar(10.0, laid(20.0))
    summary.client.bound = ["it was busy 90% of the time"]
    block = result_block(summary, title_line="t")
    assert "client's error, p50 / p99: TTFT 20 / 20 ms" in block
    assert "CLIENT-BOUND: it was busy 90% of the time" in block


def test_a_run_finds_the_ruler_that_lies_beside_it(tmp_path):
    assert newest_calibration(tmp_path, machine_facts()).run_id is None
    folder = RunFolder.create(tmp_path, "calibration", parameters={})
    calibration = folder.finish(calibrated(level(50.0)))
    RunFolder.create(tmp_path, "calibration", parameters={})  # one that never ended
    assert newest_calibration(tmp_path, machine_facts()).run_id == calibration.run_id


def test_a_summary_knows_its_event_rate():
    requests, events = derive_tables([chat(40, 9, 9, n, sent_ms=114.0 * n) for n in range(10)])
    summary = summarise(requests, events, concurrency=1)
    assert summary.client.events_s == pytest.approx(len(events) / summary.wall_s)
    assert summarise(*derive_tables([]), concurrency=1).client.events_s is None
