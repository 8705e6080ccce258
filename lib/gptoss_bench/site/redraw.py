"""Draw the figures of a run again from its folder, so that a page shows them as today's code draws them."""

from collections.abc import Callable

import pandas as pd
from matplotlib.figure import Figure

from gptoss_bench import figures
from gptoss_bench.calibration import levels_table
from gptoss_bench.claims import WriteUp, load_write_up, verdicts_from_table
from gptoss_bench.runs import CalibrationSummary, LoadSummary, Run, VerdictsSummary
from gptoss_bench.stats import REPORTED_PERCENTILES, decode_rates

MACHINE_TABLES = ("gpu", "host", "server")


def redraw(name: str, run: Run) -> Figure | None:
    """Return the figure that the function `name` of `figures` draws of a run; None if its folder has not all of it."""
    kinds: dict[type, dict[str, Callable[[Run], Figure]]] = {
        LoadSummary: OF_LOADS,
        CalibrationSummary: OF_CALIBRATIONS,
        VerdictsSummary: OF_VERDICTS,
    }
    draw = kinds.get(type(run.summary), {}).get(name)
    return None if draw is None else draw(run)


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
