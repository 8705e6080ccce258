"""Each sentence below a figure states the numbers that were drawn, and says so where there are none."""

import pandas as pd
import pytest

from gptoss_bench import figures, readings
from gptoss_bench.calibration.accuracy import levels_table
from gptoss_bench.claims.model import Verdict
from gptoss_bench.memory.architecture import architectures
from gptoss_bench.memory.attempt import LIMIT_BY_DEVICE, Attempt
from gptoss_bench.memory.capacity import estimate_fit, fit_grid
from gptoss_bench.memory.gpus import gpu_catalogue, parse_budget
from gptoss_bench.memory.sink_support import sink_backends
from gptoss_bench.notebook.shown_figures import show_figure
from gptoss_bench.runs.calibration import CalibrationLevel, ErrorSpread
from gptoss_bench.runs.finding import Finding
from gptoss_bench.runs.manifest import Manifest
from gptoss_bench.runs.request_table import derive_tables
from gptoss_bench.runs.summary import (
    AgreementRow,
    ClientLoad,
    Distribution,
    HostPhase,
    HostTelemetry,
    LoadSummary,
    MethodTrialRow,
    Percentiles,
    Resolved,
    SweepRow,
    SweepTimes,
    Telemetry,
)
from gptoss_bench.stats.agreement import decode_rates
from gptoss_bench.stats.summary import summarise
from streams import chat

MODELS = architectures()
SMALL = MODELS["gpt-oss-20b"]
A10 = parse_budget("A10")
NOTHING = LoadSummary()
NO_REQUESTS, NO_EVENTS = derive_tables([])


@pytest.fixture(scope="module")
def load():
    """Ten requests in turn: the first token after 40 ms, of one after 120 ms, and five gaps of 10 ms."""
    traces = [chat(120 if n == 9 else 40, 10, 6, n, sent_ms=200.0 * n) for n in range(10)]
    requests, events = derive_tables(traces)
    return requests, summarise(requests, events, concurrency=1)


def test_the_latencies_are_those_of_the_table(load):
    requests, _ = load
    text = readings.latency_distributions(requests)
    done_s = requests.done_s.median()
    assert "Half of the 10 requests had their first token after 0.040 s" in text
    assert f"their end after {done_s:.3f} s" in text
    assert f"The median TTFT is {0.04 / done_s:.0%} of the median latency" in text
    assert "their first answer token after 0.040 s" in text
    without = requests.assign(ttfa_s=pd.array([None] * 10, dtype="Float64"))
    assert "10 of 10 requests ended without answer text" in readings.latency_distributions(without)


def test_the_gaps_are_resolved_or_said_not_to_be(load):
    _, summary = load
    assert "Half of the 50 gaps are shorter than 10 ms; p99 is not resolved" in readings.gap_distribution(summary)
    resolved = Distribution(n=9000, p50=0.01, p99=0.05, resolved=Resolved(p50=True, p99=True))
    text = readings.gap_distribution(LoadSummary(itl_s=resolved, client=ClientLoad(shared_read_share=0.25)))
    assert "one in a hundred is longer than 50 ms, 5.0 times the median" in text
    assert "25% of the gaps lie within one read" in text
    assert "not resolved" in readings.gap_distribution(LoadSummary(itl_s=Distribution(n=9, p50=0.0)))


def test_a_request_that_waited_long_is_counted(load):
    requests, summary = load
    text = readings.requests_in_flight(requests, summary)
    assert "1 of 10 requests waited more than twice the median" in text
    assert "the longest 0.120 s (3.0 times the median)" in text


def test_the_formula_is_compared_with_the_measurement_of_the_same_requests():
    def both(p50: float, p90: float, p99: float) -> Distribution:
        return Distribution(exclusive=Percentiles(p50=p50, p90=p90, p99=p99))

    text = readings.published_and_measured(LoadSummary(ttft_formula_s=both(2, 3, 6), ttft_s=both(1, 1, 1)))
    assert "2.00 at p50, 3.00 at p90, 6.00 at p99" in text and "3.00 times the smallest" in text
    same = readings.published_and_measured(LoadSummary(ttft_formula_s=both(2, 2, 2), ttft_s=both(1, 1, 1)))
    assert "differ" not in same


def test_the_sweep_says_what_more_streams_brought():
    def level(streams: int, rate: float, done_s: float, bound: list[str] | None = None) -> SweepRow:
        return SweepRow(concurrency=streams, output_tok_s=rate, done_s=SweepTimes(p50=done_s), client_bound=bound or [])

    rows = [level(1, 100, 1), level(4, 300, 1.5), level(8, 303, 3, ["it was busy"])]
    text = readings.throughput_against_latency(rows)
    assert "From 1 stream to 8 the rate went from 100.0 to 303.0 tokens/s (3.03 times)" in text
    assert "the median latency from 1.000 to 3.000 s (3.00 times)" in text
    assert (
        "The highest rate was 303.0 tokens/s, with 8 streams; at 8 it was less than 5% above the level before" in text
    )
    assert text.endswith("The client was the limit at 8.")


def test_cold_and_warm_are_told_apart():
    cold = derive_tables([chat(900, 10, 6, 0, phase="cold")])[0].assign(server_load_s=0.8)
    warm = derive_tables([chat(90, 10, 6, n, sent_ms=2000.0 * n) for n in range(1, 4)])[0]
    text = readings.cold_and_warm(pd.concat([cold, warm], ignore_index=True))
    assert "Cold, the first token came after 0.900 s; the server reports 0.800 s of it as loading" in text
    assert "10.0 times sooner" in text


def test_rates_are_medians_by_source(load):
    rates = decode_rates(load[0])
    text = readings.decode_rates_by_source(rates)
    for source, median in rates.groupby("source").tok_s.median().items():
        assert f"{median:,.1f} ({source})" in text


def test_agreement_is_counted_and_what_disagrees_is_named():
    def row(quantity: str, agrees: bool | None, word: str) -> AgreementRow:
        numbers = {"client": 1.0, "server_low": 1.0, "server_high": 1.0, "apart": 0.0, "error": 0.1}
        counts = {"client_n": 9, "server_n": 9}
        return AgreementRow(
            quantity=quantity, statistic="p50", unit="s", agrees=agrees, basis="", word=word, **numbers, **counts
        )

    rows = [row("TTFT", True, "agrees"), row("TPOT", False, "disagrees"), row("end", None, "no power")]
    text = readings.client_against_server(LoadSummary(agreement=rows))
    assert text == (
        "Of 3 rows 1 agree and 1 disagree. 1 cannot tell: not even a large difference would have been seen in them. "
        "Do not quote what they disagree on: TPOT."
    )


def test_the_machine_has_its_peaks():
    gpu = pd.DataFrame({"phase": ["before load", "during inference"], "memory_used_bytes": [2**30, 3 * 2**30]})
    host = HostTelemetry(by_phase={"during inference": HostPhase(engine_cpu=1.5, client_cpu=0.25)})
    text = readings.machine_timeline({"gpu": gpu}, LoadSummary(telemetry=Telemetry(host=host)))
    assert "before load 1.00 GiB, during inference 3.00 GiB" in text
    assert "the engine used 1.50 cores and the client used 0.25 cores" in text
    assert readings.machine_timeline({"gpu": gpu[:0]}, NOTHING) == "No GPU was sampled."


def test_findings_are_counted_by_severity():
    found = [Finding("a-rule", "error", "", ""), Finding("b-rule", "warning", "", ""), Finding("c", "note", "", "")]
    assert readings.findings_text(found).startswith("1 error (a-rule)")
    assert "2 warnings or notes" in readings.findings_text(found)
    assert readings.findings_text([]) == "The linter found nothing."


def test_nothing_measured_is_said_and_no_number_is_made_up():
    for text in (
        readings.latency_distributions(NO_REQUESTS),
        readings.requests_in_flight(NO_REQUESTS, NOTHING),
        readings.gap_distribution(NOTHING),
        readings.published_and_measured(NOTHING),
        readings.throughput_against_latency([]),
        readings.client_against_server(NOTHING),
        readings.cold_and_warm(NO_REQUESTS),
        readings.decode_rates_by_source(pd.DataFrame({"source": [], "tok_s": []})),
    ):
        assert text.endswith(".") and not any(letter.isdigit() for letter in text) and "nan" not in text


def test_every_line_of_a_finding_of_a_toy_says_so(load):
    text = readings.load_finding(load[1], Manifest(labels=["TINY MODEL"]), "More.")
    first, second = text.splitlines()
    assert first.startswith("TINY MODEL: ") and "first token after 0.040 s" in first
    assert second == "TINY MODEL: More."


def test_the_finding_of_a_run_with_random_weights_says_what_depends_on_routing(load):
    _, routing, more = readings.load_finding(load[1], Manifest(labels=["RANDOM WEIGHTS"]), "More.").splitlines()
    assert routing.startswith("RANDOM WEIGHTS: Times and rates depend on how tokens are routed to experts")
    assert more == "RANDOM WEIGHTS: More."


def attempt(dtype: str, reached: bool) -> Attempt:
    steps = SMALL.allocations(dtype)
    where = steps[200] if reached else None
    outcome = "out of memory" if reached else "fits"
    return Attempt(
        outcome, SMALL.name, dtype, A10.bytes, where, where, 12 * 2**30, None, 1, 2.0, LIMIT_BY_DEVICE["cpu"]
    )


def test_the_finding_on_bf16_has_the_sizes_and_the_real_end():
    tried = attempt("bf16", reached=True)
    packed = attempt("mxfp4", reached=False)
    text = readings.bf16_finding(SMALL, A10, {"bf16": tried, "mxfp4": packed})
    assert "BF16 take 38.96 GiB, 1.73 times the 22.49 GiB of NVIDIA A10;" in text
    assert f"ended at {tried.reached.label}." in text
    assert "MXFP4 take 12.82 GiB, 0.57 times the 22.49 GiB of NVIDIA A10; the attempt allocated all of them." in text
    assert "44.70 GiB;" in readings.bf16_finding(SMALL, parse_budget("44.7GiB"), {"bf16": packed})
    assert "as predicted. The control in MXFP4: fits, after 12.00 GiB" in readings.attempt_against_budget(tried, packed)


def test_what_fits_is_that_of_the_arithmetic():
    cards = [(gpu.name, gpu.memory_bytes) for gpu in gpu_catalogue().values()]
    grid = fit_grid([SMALL], ("mxfp4", "bf16"), cards, [(8192, 1)])
    fitting = [one.fit for one in grid if one.fit.dtype == "bf16" and one.fit.fits]
    text = readings.headroom_map(grid, 8192, 1)
    smallest = min(fitting, key=lambda fit: fit.have_bytes)
    assert f"gpt-oss-20b in BF16 fits {len(fitting)} of {len(cards)} GPUs, the smallest is {smallest.device}" in text
    fits = [estimate_fit(SMALL, dtype, A10.name, A10.bytes, context=8192) for dtype in ("mxfp4", "bf16")]
    text = readings.need_against_budget(fits)
    assert "MXFP4 leaves 8.50 GiB of 22.49, BF16 lacks 20.75 GiB of 22.49" in text
    assert "smaller in MXFP4, larger in BF16" in readings.weights_by_module([SMALL], A10)
    assert "91% in BF16" in readings.weights_by_module([SMALL], A10)
    literal = [estimate_fit(SMALL, "mxfp4", "16 GB", 16 * 10**9, context=tokens) for tokens in (4096, 131_072)]
    assert "4,096 tokens fit" in readings.sixteen_gb(SMALL, literal)
    assert "131,072 tokens do not fit" in readings.sixteen_gb(SMALL, literal)


def test_the_sink_map_counts_the_backends_that_run_there():
    text = readings.sink_support_map(sink_backends(), {"A10": "8.6"})
    rows = [one for one in sink_backends() if one.runs_on((8, 6))]
    assert f"of {len(rows)}" in text and "transformers 4.56.2 with FlashAttention 2" in text


def test_the_errors_of_the_client_are_those_of_its_highest_load():
    def level(events_s: float, error_ms: float, cpu: float, kind: str = "plain") -> CalibrationLevel:
        error = ErrorSpread(p50=error_ms / 2, p99=error_ms, max=error_ms, n=2000)
        names = ("ttft_error", "itl_error", "arrival_error", "lag", "server_late")
        return CalibrationLevel(
            client="gptoss_bench", kind=kind, streams=1, tokens_s=events_s, events=9, offered_events_s=events_s,
            unmatched=0, events_s=events_s, cpu_share=cpu, itl_p50_ms=25.0, trusted=True, client_bound=False,
            **dict.fromkeys(names, error),
        )  # fmt: skip

    table = levels_table([level(100, 0.01, 0.2), level(9000, 0.03, 0.9)])
    assert "this kit: 0.03 ms (TTFT, p99) and 0.03 ms (ITL, p99) at 9,000 events/s" in readings.error_by_load(table)
    cpu = readings.cpu_by_load(table)
    assert cpu == "This kit needs 90% of a core at 9,000 events/s, over 80% from 9,000 events/s on."
    assert readings.error_by_kind(table) == "No special kind of load was measured."
    kinds = levels_table([level(100, 0.01, 0.2), level(100, 0.5, 0.2, "tls")])
    assert "that of the kind tls: 0.25 ms, of 2 kinds" in readings.error_by_kind(kinds)


def test_the_method_on_trial_is_compared_with_the_truth():
    def row(case: str, first_s: float, printed_s: float) -> MethodTrialRow:
        return MethodTrialRow(
            case=case, requests=8, prompt_tokens=88, tokens=256, itl_s=0.03, first_token_s=first_s, kit_ttft_s=first_s,
            printed_ttft_s=Percentiles(p50=printed_s), printed_latency_s=Percentiles(), printed_output_tok_s=None,
            http="", printed="",
        )  # fmt: skip

    text = readings.printed_and_true_ttft([row("as published", 0.2, 2.58), row("slow", 1.0, 2.42)])
    assert "as published: 12.90 times; slow: 2.42 times" in text


def test_the_published_pairs_are_compared_with_the_line():
    text = readings.ttft_over_latency({"p50": (8.835, 2.271), "p90": (11.235, 2.874)}, 88 / 344)
    assert "0.2570 at p50, 0.2558 at p90; the line has 0.2558" in text and "that of p50, 0.5% of the line" in text


def test_verdicts_are_counted():
    verdict = Verdict(
        *("C01-a", "statement", "1", "It is so.", "", "computed", "", "fits", ""),
        needs=None, evidence="", measured=None, interval=None, run_id=None, label=None,
    )  # fmt: skip
    assert readings.verdict_overview([verdict]) == "1 claims: 1 computed."


def test_the_reading_stands_below_its_figure_after_the_label(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda *each: shown.extend(each))
    show_figure("figure", "Half of it.", Manifest(labels=["TINY MODEL"]))
    assert shown[0] == "figure" and shown[1].data == "**TINY MODEL:** Half of it."


def test_every_reading_of_a_figure_has_its_name():
    texts = {"bf16_finding", "capacity_finding", "findings_text", "load_finding", "sixteen_gb"}
    assert set(readings.__all__) - texts <= set(figures.__all__)
