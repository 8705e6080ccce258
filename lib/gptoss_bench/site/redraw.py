"""Draw the figures of a run again from its folder, so that a page shows them as today's code draws them."""

from collections.abc import Callable, Mapping
from dataclasses import fields

import pandas as pd
from matplotlib.figure import Figure

from gptoss_bench import figures
from gptoss_bench.calibration import levels_table
from gptoss_bench.claims import WriteUp, load_write_up, verdicts_from_table
from gptoss_bench.figures import HeatTable
from gptoss_bench.memory import (
    Architecture,
    Attempt,
    Budget,
    architectures,
    estimate_fit,
    fit_grid,
    gpu_catalogue,
    parse_budget,
    sink_backends,
)
from gptoss_bench.runs import (
    Bf16Summary,
    CalibrationSummary,
    ClientLimits,
    LoadSummary,
    MethodTrialSummary,
    Run,
    VerdictsSummary,
)
from gptoss_bench.stats import REPORTED_PERCENTILES, client_text, decode_rates

MACHINE_TABLES = ("gpu", "host", "server")
# As in notebooks/transformers_bf16.ipynb.
OTHER_GPU = "H100 NVL"
MORE_LOADS = ((8192, 32), (32_768, 8), (131_072, 1))
CAPABILITIES = {"T4": "7.5", "A10": "8.6", "L40S": "8.9", "H100": "9.0", "B200": "10.0", "RTX 5090": "12.0"}


def redraw(name: str, run: Run) -> Figure | HeatTable | None:
    """Return the figure or table that the function `name` of `figures` makes of a run.

    None if the folder of the run has not all of it.
    """
    kinds: dict[type, Mapping[str, Callable[[Run], Figure | HeatTable | None]]] = {
        LoadSummary: OF_LOADS,
        CalibrationSummary: OF_CALIBRATIONS,
        VerdictsSummary: OF_VERDICTS,
        MethodTrialSummary: OF_METHOD_TRIALS,
        Bf16Summary: OF_MEMORY,
    }
    draw = kinds.get(type(run.summary), {}).get(name)
    return None if draw is None else draw(_with_client_limits(run))


def _with_client_limits(run: Run) -> Run:
    """Return a load with the limits of its client as its summary has them: an old manifest has others."""
    if not isinstance(run.summary, LoadSummary):
        return run
    limits = ClientLimits(error_bar=client_text(run.summary), bound=run.summary.client.bound)
    if limits == run.manifest.client:
        return run
    return Run(run.path, run.manifest.model_copy(update={"client": limits}), run.summary)


def _values(write_up: WriteUp) -> dict[str, float]:
    return {claim.name: claim.published.value for claim in write_up.claims if claim.published.value is not None}


def _published_and_measured(run: Run) -> Figure:
    value = _values(load_write_up())
    published = {
        "done_s": {p: value[f"latency-{p}"] for p in REPORTED_PERCENTILES},
        "ttft_formula_s": {p: value[f"ttft-{p}"] for p in REPORTED_PERCENTILES},
    }
    return figures.published_and_measured(published, run.load_summary, run.manifest)


def _sweep(run: Run) -> Figure:
    value = _values(load_write_up())
    point = figures.PublishedPoint(
        "published, H100", int(value["concurrency"]), value["token-rate"], value["latency-p50"], value["ttft-p50"]
    )
    return figures.throughput_against_latency(
        run.load_summary.sweep, run.manifest, point if run.scenario == "vllm-h100" else None
    )


def _decode_rates(run: Run) -> Figure:
    band = next(claim.published for claim in load_write_up().claims if claim.name == "a10-throughput")
    assert band.low is not None and band.high is not None
    return figures.decode_rates_by_source(decode_rates(run.requests), (band.low, band.high), run.manifest)


def _ttft_over_latency(run: Run) -> Figure:
    write_up = load_write_up()
    value = _values(write_up)
    answer = next(claim.printed.value for claim in write_up.claims if claim.claim_id.startswith("C33-"))
    pairs = {p: (value[f"latency-{p}"], value[f"ttft-{p}"]) for p in REPORTED_PERCENTILES}
    prompt = next(one.value for one in write_up.derived if one.derived_id == "C48-prompt-tokens")
    share, formula = prompt / (prompt + answer), f"{prompt:g} / ({prompt:g} + {answer:g}) × latency"
    return figures.ttft_over_latency(pairs, share, formula, run.manifest)


def _levels(run: Run) -> pd.DataFrame:
    assert isinstance(run.summary, CalibrationSummary)
    others = run.summary.stock.levels if run.summary.stock else []
    return levels_table([*run.summary.levels, *others])


def _memory_choice(run: Run) -> tuple[Architecture, Budget, int, int]:
    """Return model, budget, context and sequences of a run on memory; older runs name the GPU, or the GiB, apart."""
    given = run.manifest.parameters
    budget = given.get("budget") or given.get("gpu") or f"{given['budget_gib']}GiB"
    model = architectures()[str(given["architecture"])]
    return model, parse_budget(str(budget)), int(str(given["context"])), int(str(given["sequences"]))


def _weights_by_module(run: Run) -> Figure:
    _, budget, _, _ = _memory_choice(run)
    return figures.weights_by_module(list(architectures().values()), [budget, parse_budget(OTHER_GPU)], run.manifest)


def _headroom_map(run: Run) -> HeatTable:
    _, _, context, sequences = _memory_choice(run)
    loads = list(dict.fromkeys([(context, sequences), *MORE_LOADS]))
    cards = [(each.name, each.memory_bytes) for each in gpu_catalogue().values()]
    return figures.headroom_map(fit_grid(list(architectures().values()), ("mxfp4", "bf16"), cards, loads), run.manifest)


def _need_against_budget(run: Run) -> Figure:
    model, budget, context, sequences = _memory_choice(run)
    fits = [
        estimate_fit(model, dtype, budget.name, budget.bytes, context=context, sequences=sequences)
        for dtype in ("mxfp4", "fp8", "bf16")
    ]
    return figures.need_against_budget(fits, run.manifest)


def _attempt_against_budget(run: Run) -> Figure | None:
    assert isinstance(run.summary, Bf16Summary)
    if (record := run.summary.attempt) is None:
        return None
    allocations = architectures()[record.architecture].allocations(record.dtype)
    by_label = {each.label: each for each in allocations}
    known = {each.name: getattr(record, each.name) for each in fields(Attempt)}
    ends = {name: by_label[known[name]] if known[name] else None for name in ("predicted", "reached")}
    return figures.attempt_against_budget(Attempt(**(known | ends)), allocations, run.manifest)


def _sink_shares(run: Run) -> Figure | None:
    assert isinstance(run.summary, Bf16Summary)
    tiny = run.summary.sinks.tiny if run.summary.sinks else None
    return figures.sink_shares(tiny, run.manifest) if tiny and tiny.share_by_token else None


def _printed_and_true_ttft(run: Run) -> Figure:
    assert isinstance(run.summary, MethodTrialSummary)
    return figures.printed_and_true_ttft(run.summary.rows, run.manifest)


OF_LOADS: dict[str, Callable[[Run], Figure]] = {
    "published_and_measured": _published_and_measured,
    "latency_distributions": lambda run: figures.latency_distributions(run.requests, run.manifest),
    "gap_distribution": lambda run: figures.gap_distribution(run.events, run.load_summary, run.manifest),
    "requests_in_flight": lambda run: figures.requests_in_flight(run.requests, run.manifest),
    "throughput_against_latency": _sweep,
    "client_against_server": lambda run: figures.client_against_server(run.load_summary, run.manifest),
    "machine_timeline": lambda run: figures.machine_timeline(
        {name: run.table(name) for name in MACHINE_TABLES}, run.load_summary, run.manifest
    ),
    "cold_and_warm": lambda run: figures.cold_and_warm(run.requests, run.manifest),
    "decode_rates_by_source": _decode_rates,
    "share_within_slo": lambda run: figures.share_within_slo(run.load_summary, run.manifest),
    "waiting_from_due": lambda run: figures.waiting_from_due(run.requests, run.manifest),
}
OF_VERDICTS: dict[str, Callable[[Run], Figure]] = {
    "verdict_overview": lambda run: figures.verdict_overview(verdicts_from_table(run.table("verdicts")), run.manifest),
    "ttft_over_latency": _ttft_over_latency,
}
OF_CALIBRATIONS: dict[str, Callable[[Run], Figure]] = {
    "error_by_load": lambda run: figures.error_by_load(_levels(run), run.manifest),
    "error_by_kind": lambda run: figures.error_by_kind(_levels(run), run.manifest),
    "cpu_by_load": lambda run: figures.cpu_by_load(_levels(run), run.manifest),
}
OF_METHOD_TRIALS: dict[str, Callable[[Run], Figure]] = {"printed_and_true_ttft": _printed_and_true_ttft}
OF_MEMORY: dict[str, Callable[[Run], Figure | HeatTable | None]] = {
    "weights_by_module": _weights_by_module,
    "headroom_map": _headroom_map,
    "need_against_budget": _need_against_budget,
    "attempt_against_budget": _attempt_against_budget,
    "sink_shares": _sink_shares,
    "sink_support_map": lambda run: figures.sink_support_map(sink_backends(), CAPABILITIES, run.manifest),
}
