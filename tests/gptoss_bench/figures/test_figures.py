"""Every figure has its title, label and warning, texts do not overlap, and it is readable without colour."""

from itertools import pairwise

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.text import Text

from folders import TESTS
from gptoss_bench import paths
from gptoss_bench.calibration.accuracy import levels_table
from gptoss_bench.claims.schema import load_write_up
from gptoss_bench.figures.calibration import CALIBRATION_COLUMNS, cpu_by_load, error_by_kind, error_by_load
from gptoss_bench.figures.comparison import shared_manifest
from gptoss_bench.figures.load import gap_distribution, published_and_measured
from gptoss_bench.figures.machine import machine_timeline, phase_names
from gptoss_bench.figures.memory import weights_by_module
from gptoss_bench.figures.open_loop import waiting_from_due
from gptoss_bench.figures.picture import dark_colour, figure_svg
from gptoss_bench.figures.style import HATCHES, finish_figure, new_figure
from gptoss_bench.lint.check import check_result
from gptoss_bench.lint.results import read_results
from gptoss_bench.memory.architecture import architectures
from gptoss_bench.memory.gpus import parse_budget
from gptoss_bench.runs.calibration import CalibrationLevel, ErrorSpread
from gptoss_bench.runs.manifest import ClientLimits, Manifest
from gptoss_bench.runs.phases import PHASE_AFTER, PHASE_BEFORE, PHASE_INFERENCE, PHASE_LOADING
from gptoss_bench.runs.request_table import derive_tables
from gptoss_bench.runs.summary import GpuDevice, GpuTelemetry, LoadSummary, PhaseSpan, SamplingCost, Telemetry
from gptoss_bench.stats.summary import summarise
from gptoss_bench.telemetry.samples import HOST_COLUMNS
from streams import chat

S = 10**9
BOUND = Manifest(client=ClientLimits(error_bar="the bar", bound=["it was busy 90% of the time"]))
PUBLISHED = {
    "done_s": {"p50": 8.835, "p90": 11.235, "p99": 14.755},
    "ttft_formula_s": {"p50": 2.271, "p90": 2.874, "p99": 3.775},
}


def words(figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def spans(*phases: tuple[str, float]) -> list[PhaseSpan]:
    """Return consecutive phases, each with its length in seconds."""
    found, at = [], 0.0
    for phase, length_s in phases:
        found.append(PhaseSpan(phase=phase, start_ns=int(at * S), end_ns=int((at + length_s) * S)))
        at += length_s
    return found


def machine_summary(phases: list[PhaseSpan], total_bytes: int) -> LoadSummary:
    gpu, cost = GpuTelemetry(devices=[GpuDevice(memory_total_bytes=total_bytes)]), SamplingCost(cores=0.01)
    return LoadSummary(telemetry=Telemetry(engine_here=True, phases=phases, gpu=gpu, cost=cost))


def test_the_three_phases_of_a_gpu_are_one_timeline_with_its_title_whatever_the_client_did() -> None:
    phases = spans((PHASE_BEFORE, 2), (PHASE_LOADING, 20), (PHASE_AFTER, 2), (PHASE_INFERENCE, 60), ("sweep", 30))
    at_ns = [int(second * S) for second in range(114)]
    gpu = pd.DataFrame(
        {"timestamp_ns": at_ns, "gpu": 0, "memory_used_bytes": 2**30, "utilisation": 0.5, "power_w": None}
    )
    host = pd.DataFrame({"timestamp_ns": at_ns, **dict.fromkeys(HOST_COLUMNS.keys() - {"timestamp_ns", "phase"}, 0.5)})
    tables = {"gpu": gpu.astype({"power_w": "float64"}), "host": host}
    figure = machine_timeline(tables, machine_summary(phases, 80 * 2**30), BOUND)
    shown = words(figure)
    assert any(text.startswith("The machine through the phases of the run") for text in shown)
    assert any(text.startswith("CLIENT-BOUND") for text in shown)
    assert {PHASE_INFERENCE, "sweep", "power: unknown", "total"} <= set(shown)


@given(
    st.lists(
        st.tuples(st.sampled_from([PHASE_BEFORE, PHASE_AFTER, PHASE_INFERENCE]), st.floats(0.001, 100)),
        max_size=9,
    )
)
def test_the_names_of_phases_never_overlap_and_none_is_lost(phases) -> None:
    marked = spans(*phases)
    named = phase_names(marked)
    whole_ns = marked[-1].end_ns if marked else 0
    places = [place for place, _ in named]
    assert all(right - left >= 0.03 * whole_ns for left, right in pairwise(places))
    assert {name for _, text in named for name in text.split(" · ")} == {phase for phase, _ in phases}


def compared(labels: list[str]) -> tuple[LoadSummary, list[Axes]]:
    requests, events = derive_tables([chat(40 + n * 5 % 9, 10, 6, n, sent_ms=200.0 * n) for n in range(60)])
    summary = summarise(requests, events, concurrency=1)
    return summary, published_and_measured(PUBLISHED, summary, Manifest(labels=labels)).axes


def test_our_interval_is_on_the_axis_of_the_published_value() -> None:
    summary, (latency, ttft) = compared([])
    drawn = [tuple(y for _, y in path.vertices) for lines in ttft.collections for path in lines.get_paths()]
    assert tuple(summary.ttft_s.p50_interval) in [pytest.approx(ends) for ends in drawn]
    assert {"8.835", "11.235", "14.755"} <= {text.get_text() for text in latency.texts}
    assert "3.775" in [text.get_text() for text in ttft.texts]
    low, high = ttft.get_ylim()
    assert low < summary.ttft_s.p50 < PUBLISHED["ttft_formula_s"]["p99"] < high


def test_an_unresolved_percentile_has_an_empty_mark() -> None:
    _, (latency, _) = compared([])  # 60 requests resolve the median only
    marks = [line.get_markerfacecolor() == "white" for line in latency.get_lines() if len(line.get_xdata())]
    assert marks == [False] * 3 + [False, True, True]


def test_a_toy_is_on_no_axis_with_a_published_value() -> None:
    summary, panels = compared(["TINY MODEL"])
    published = [value for values in PUBLISHED.values() for value in values.values()]
    shown = [[y for line in axes.get_lines() for y in line.get_ydata()] for axes in panels]
    assert [set(ys) <= set(published) for ys in shown] == [True, True, False, False]
    assert not any(set(ys) & set(published) for ys in shown[2:])
    assert summary.ttft_s.exclusive.p50 in shown[3]


def test_gaps_within_one_read_are_counted_and_not_drawn_as_short_ones() -> None:
    requests, events = derive_tables([chat(40, 10, 6, n, sent_ms=200.0 * n) for n in range(10)])
    events.loc[events.itl_s.notna() & (events.request_id < 2), "itl_s"] = 0.0
    figure = gap_distribution(events, summarise(requests, events, concurrency=1), Manifest())
    assert "10 of 50 gaps lie within one read" in " ".join(figure.get_supxlabel().split())
    assert figure.axes[0].get_xlim()[0] > 1.0  # ms


def test_the_waits_of_an_open_loop_have_three_curves_their_names_a_caption_and_the_limit() -> None:
    requests, _ = derive_tables([chat(40 + n * 5 % 9, 10, 6, n, sent_ms=20.0 * n) for n in range(120)])
    parameters = {"concurrency": 8, "rate": "50", "slo": {"ttft_s": 0.04, "e2e_s": 1.0}}
    figure = waiting_from_due(requests, Manifest(parameters=parameters))
    ttft, whole = figure.axes
    assert [len(axes.get_lines()) for axes in figure.axes] == [4, 4]  # three curves and the limit
    assert {text.get_text() for text in ttft.texts} == {"SLO TTFT 0.04 s"}
    assert {text.get_text() for text in whole.texts} == {"SLO E2E 1 s", "from due", "from sending", "in a closed loop"}
    assert "p90 of TTFT:" in " ".join(figure.get_supxlabel().split())
    heights = sorted(text.xy[1] for text in whole.texts if not text.get_text().startswith("SLO"))
    assert all(above - below > 0.03 for below, above in pairwise(heights)) and heights[-1] <= 1
    assert "no request completed" in waiting_from_due(requests[:0], Manifest()).get_supxlabel()


def test_the_same_figure_gives_the_same_svg() -> None:
    first, second = (figure_svg(finish_figure(new_figure()[0], Manifest(run_id="one"))) for _ in range(2))
    assert first == second and first.startswith(b"<?xml")


@given(st.integers(0, 255))
def test_a_grey_is_turned_for_a_dark_page(level: int) -> None:
    made = dark_colour(f"#{level:02x}{level:02x}{level:02x}")
    red, green, blue = (int(made[at : at + 2], 16) for at in (1, 3, 5))
    assert red == green == blue == pytest.approx(230 - level * (230 - 23) / 255, abs=1)


def test_a_colour_becomes_light_enough_for_a_dark_page() -> None:
    assert dark_colour("#b00020")[:3] == "#ff"
    assert dark_colour("#ffcc66") == "#ffcc66"


def test_a_machine_without_a_gpu_has_no_panel_of_one() -> None:
    host = pd.DataFrame({"timestamp_ns": [0, S], **dict.fromkeys(HOST_COLUMNS.keys() - {"timestamp_ns", "phase"}, 0.5)})
    summary = LoadSummary(telemetry=Telemetry(engine_here=True, phases=spans((PHASE_INFERENCE, 1))))
    figure = machine_timeline({"gpu": pd.DataFrame(), "host": host}, summary, Manifest())
    assert [axes.get_ylabel() for axes in figure.axes] == ["CPU, of 1 cores", "memory, GiB"]
    assert "no GPU was sampled" in figure.get_supxlabel()


def test_parts_side_by_side_differ_in_print_without_colour() -> None:
    models = list(architectures().values())
    figure = weights_by_module(models[:1], [parse_budget("A10")], Manifest())
    hatches = [bars.patches[0].get_hatch() for bars in figure.axes[0].containers]
    assert [hatch or "" for hatch in hatches] == list(HATCHES[: len(hatches)])
    assert len(set(hatches)) == len(hatches)


@pytest.mark.parametrize(
    ("labels", "one"),
    [
        ([["TINY MODEL"], [], ["TINY MODEL"]], ["TINY MODEL"]),
        ([["TINY MODEL"], ["TINY MODEL", "CPU"]], ["TINY MODEL", "CPU"]),
        ([["REFERENCE SERVER"], ["TINY MODEL"]], ["REFERENCE SERVER", "TINY MODEL"]),
        ([[]], []),
        ([], []),
    ],
)
def test_a_figure_of_several_runs_has_every_label_once(labels, one) -> None:
    runs = {str(at): Manifest(run_id=str(at), labels=each) for at, each in enumerate(labels)}
    assert shared_manifest(runs).labels == one


@pytest.mark.parametrize("label", ["TINY MODEL", "TINY MODEL, CPU, REFERENCE SERVER, NO GPU, REMOTE SERVER"])
@pytest.mark.parametrize(("width", "height"), [(9.0, 1.9), (12.0, 4.0), (6.5, 7.6)])
def test_the_label_across_a_figure_is_inside_it(label, width, height) -> None:
    figure, _ = new_figure(width=width, height=height)
    finish_figure(figure, Manifest(labels=label.split(", "), run_id="r"))
    figure.draw_without_rendering()
    [text] = [text for text in figure.texts if text.get_text() == label]
    box = text.get_window_extent()
    assert 0 <= box.x0 < box.x1 <= figure.bbox.width
    assert 0 <= box.y0 < box.y1 <= figure.bbox.height


def test_the_published_block_is_the_one_of_the_claims_and_trips_the_first_rule() -> None:
    [block] = read_results(paths.PUBLISHED_BLOCK)
    printed = {claim.name: claim.published.value for claim in load_write_up().claims}
    for at in ("p50", "p90", "p99"):
        assert block.summary.done_s.at(at) == printed[f"latency-{at}"]
        assert block.summary.ttft_s.at(at) == printed[f"ttft-{at}"]
    assert block.summary.output_tok_s_total == printed["token-rate"]
    assert block.summary.wall_s == printed["wall"]
    assert {f.rule for f in check_result(block).findings if f.severity == "error"} == {"ttft-is-a-fraction-of-latency"}
    assert paths.PUBLISHED_BLOCK.read_bytes() == (TESTS / "imported" / "write-up.txt").read_bytes()


@pytest.mark.parametrize("resolved", [True, False])
def test_the_errors_of_a_calibration_are_drawn_by_condition_and_kind_where_they_are_resolved(resolved: bool) -> None:
    spread = ErrorSpread(p50=0.01, p99=0.2 if resolved else None, max=1.0, n=2000)
    levels = [
        CalibrationLevel(
            client="gptoss_bench", kind=kind, condition=condition, streams=streams, tokens_s=40.0, events=2000,
            offered_events_s=streams * 40.0, unmatched=0, events_s=streams * 39.0, cpu_share=0.1, itl_p50_ms=25.0,
            ttft_error=spread, itl_error=spread, arrival_error=spread, lag=spread, server_late=spread,
            trusted=True, client_bound=False,
        )
        for condition in ("idle", "contended")
        for kind, streams in (("plain", 16), ("plain", 64), ("tls", 64))
    ]  # fmt: skip
    table = levels_table(levels)
    assert set(CALIBRATION_COLUMNS) <= set(table)
    by_load = words(error_by_load(table, Manifest()))
    assert {"gptoss_bench, idle, p50", "gptoss_bench, contended, p50"} <= set(by_load)
    assert ("gptoss_bench, contended, p99" in by_load) == resolved
    by_kind = words(error_by_kind(table, Manifest()))
    assert {"plain", "tls", "contended, p50"} <= set(by_kind) and ("idle, p99" in by_kind) == resolved
    assert "CPU cost of the measurement" in words(cpu_by_load(table, Manifest()))
