"""The floor of the client's error: which loads of which calibration count for a run, and where it is shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_bench.figures.style import RED, finish_figure, new_figure
from gptoss_bench.runs.calibration import CalibrationLevel, CalibrationSummary, ErrorSpread
from gptoss_bench.runs.folder import RunFolder
from gptoss_bench.runs.manifest import (
    CalibrationReference,
    ClientLimits,
    EndpointRecord,
    Machine,
    Manifest,
    machine_facts,
)
from gptoss_bench.runs.request_table import derive_tables
from gptoss_bench.runs.summary import ClientLoad, ErrorBar
from gptoss_bench.session.session import newest_calibration
from gptoss_bench.stats.error_bar import (
    NOT_CALIBRATED,
    OTHER_MACHINE,
    client_error_bar,
    error_bar_text,
    select_calibration,
)
from gptoss_bench.stats.summary import summarise
from gptoss_bench.stats.text_report import result_block
from streams import chat

HERE = Machine(id="here", cpu="c", cores=2, system="s", python="3.11.7", memory_gib=1.0)
NONE = CalibrationReference(run_id=None, levels=[])


def level(
    events_s: float, ttft_ms: float | None = 0.1, *, trusted: bool = True, condition: str = "idle"
) -> CalibrationLevel:
    spread = ErrorSpread(p50=ttft_ms, p99=ttft_ms, max=9.0)
    errors = dict.fromkeys(("ttft_error", "itl_error", "arrival_error", "lag", "server_late"), spread)
    load = {"client": "a", "streams": 1, "tokens_s": 40.0, "events": 40, "offered_events_s": 40.0, "unmatched": 0}
    rest = {"cpu_share": 0.5, "itl_p50_ms": 25.0, "trusted": trusted, "client_bound": False, "condition": condition}
    return CalibrationLevel(events_s=events_s, **load, **errors, **rest)


def calibrated(*levels: CalibrationLevel) -> CalibrationSummary:
    return CalibrationSummary(levels=list(levels), trusted_up_to_events_s=None)


def laid(*rates: float, run_id: str = "a-calibration") -> CalibrationReference:
    return select_calibration(HERE, [(run_id, HERE, calibrated(*(level(rate, rate) for rate in rates)))])


def floor(events_s: float | None, calibration: CalibrationReference | None, **changed) -> ErrorBar:
    fields = {"url": "http://127.0.0.1:8000", "source": "kernel", "labels": []} | changed
    client = ClientLoad(events_s=events_s, timestamp_source=fields["source"])
    manifest = Manifest(calibration=calibration, labels=fields["labels"], endpoint=EndpointRecord(url=fields["url"]))
    return client_error_bar(client, manifest)


@given(st.lists(st.floats(1, 1e6), min_size=1, max_size=8, unique=True), st.floats(0, 2e6))
def test_a_run_takes_the_worst_errors_of_the_neighbouring_loads(rates, events_s):
    errors_ms = dict(zip(sorted(rates), rates, strict=True))
    levels = [level(rate, error) for rate, error in errors_ms.items()]
    bar = floor(events_s, select_calibration(HERE, [("c", HERE, calibrated(*levels))]))
    busier = [rate for rate in rates if rate >= events_s]
    quieter = [rate for rate in rates if rate < events_s]
    if busier:
        nearest = [min(busier), *([max(quieter)] if quieter else [])]
        assert (bar.why, bar.calibration_events_s) == (None, min(busier))
        assert bar.ttft_s.p99 == pytest.approx(max(errors_ms[rate] for rate in nearest) / 1e3)
    else:
        assert bar.why == "busier than every load of the calibration"
        assert bar.ttft_s is bar.itl_s is bar.trusted is None


@pytest.mark.parametrize("other", [{"id": "there"}, {"id": None}])
def test_a_calibration_of_another_machine_says_nothing(other):
    assert select_calibration(HERE, [("a", HERE.model_copy(update=other), calibrated(level(1)))]) == NONE
    assert select_calibration(Machine(), [("a", Machine(), calibrated(level(1)))]) == NONE
    assert floor(1.0, NONE).why == NOT_CALIBRATED
    assert floor(1.0, None).why == NOT_CALIBRATED


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"url": "https://127.0.0.1"}, "TLS"),
        ({"labels": ["REMOTE SERVER"]}, "another machine"),
        ({"source": "read"}, "kernel"),
        ({"source": "kernel+read"}, "kernel"),
    ],
)
def test_a_calibration_says_nothing_of_a_run_unlike_it(changed, word):
    bar = floor(10.0, laid(20.0), **changed)
    assert bar.ttft_s is None
    assert word in error_bar_text(bar)


def test_a_calibration_without_the_id_of_its_machine_says_nothing():
    old = laid(20.0).model_copy(update={"machine_id": None})
    assert floor(10.0, old).why == OTHER_MACHINE


def test_the_newest_calibration_of_this_machine_counts():
    calibrations = [
        ("1", HERE, calibrated(level(1))),
        ("2", HERE, calibrated(level(2))),
        ("3", Machine(id="there"), calibrated()),
    ]
    assert select_calibration(HERE, calibrations).run_id == "2"


def test_the_floor_in_words():
    contended = level(20.0, 7.0, condition="contended")
    both = select_calibration(HERE, [("r", HERE, calibrated(level(20.0, 20.0), contended))])
    assert "CPUs idle / contended: TTFT p99 20 / 7 ms, ITL p99 20 / 7 ms (r at 20 events/s)" in error_bar_text(
        floor(10.0, both)
    )
    doubtful = select_calibration(HERE, [("r", HERE, calibrated(level(20.0, None, trusted=False)))])
    assert "TTFT p50 – / – ms" in error_bar_text(floor(10.0, doubtful))
    assert "does not trust" in error_bar_text(floor(10.0, doubtful))
    assert "make calibrate" in error_bar_text(floor(10.0, None))


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
    traces = [chat(40, 9, 9, n, sent_ms=114.0 * n, timestamp_source="kernel") for n in range(10)]
    summary = summarise(*derive_tables(traces), concurrency=1)
    assert "CLIENT-BOUND" not in result_block(summary, title_line="t")
    summary.client.error_bar = floor(10.0, laid(20.0))
    summary.client.bound = ["it was busy 90% of the time"]
    block = " ".join(result_block(summary, title_line="t").split())
    assert "uncertainty unknown for this run: made before arrivals were intervals; client floor" in block
    assert "TTFT p99 20 / – ms" in block
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
