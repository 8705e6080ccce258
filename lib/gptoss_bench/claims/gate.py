"""Refuse a figure of a run that may not enter a verdict: the quality gate of docs/metrics.md.

The gate is per figure. It says what is wrong; an empty list lets the figure pass.
"""

import math
from functools import lru_cache

from gptoss_bench.claims.model import Claim, RunRecord, format_number
from gptoss_bench.lint import check_run
from gptoss_bench.runs import Finding, LoadSummary, PlannedLoad, Run, derive_tables, model_label, split_labels, value_at
from gptoss_bench.stats import FIRST_EVENT, summarise
from gptoss_client import UsageError

Interval = tuple[float, float]

CLIENT_PAIR_SHARE = 0.05  # how far apart the lowest and the highest possible value may be, as a share of the figure
MIN_WAVES = 40  # closed loop: requests come in waves, and fewer say too little about the spread between waves
SAME = 1e-9  # relative difference of two computations of the same number
PERCENTILES = ("p50", "p90", "p99")
# The rows of the agreement with the server that test a quantity of the summary.
AGREEMENT_ROWS = {
    "ttft_s": (FIRST_EVENT,),
    "ttfa_s": (FIRST_EVENT,),
    "ttfc_s": (FIRST_EVENT,),
    "ttft_formula_s": ("whole request", "prompt tokens", "output tokens"),
    "done_s": ("whole request",),
    "e2e_s": ("whole request",),
    "tpot_s": ("decode / (tokens - 1)",),
    "itl_s": ("gap between tokens",),
    "output_tok_s": ("output tokens", "requests"),
    "output_tok_s_total": ("output tokens", "requests"),
    "request_s": ("requests",),
    "wall_s": ("requests",),
    "completed": ("requests",),
    "failed": ("requests",),
}
# Quantities that depend on what a model answers and how long: with random weights they are no property of it.
OF_ANSWERS = (
    "completion_tokens",
    "content_filter",
    "hidden_reasoning",
    "tokens_per_event",
    "truncated",
    "ttfa_missing",
    "ttfa_s",
    "ttfc_s",
)


def refusals(run: RunRecord, path: str) -> list[str]:
    """Return why the figure at a dotted path of the summary may not enter a verdict."""
    summary = run.summary
    if not isinstance(summary, LoadSummary):
        return ["it has no measured load"]
    return [
        *_answers(run, path),
        *_findings(run, summary),
        *_disagreement(summary, path),
        *_resolution(summary, path),
        *_manipulation(run, summary, path),
    ]


def known_interval(run: RunRecord, path: str) -> tuple[Interval | None, str]:
    """Return the 95 % interval of a figure from one run and "", or None and the reason why there is none.

    It is widened to the values that the client's timestamps allow.
    """
    summary = run.summary
    if not isinstance(summary, LoadSummary):
        return None, "the run has no measured load"
    planned = summary.concurrency_planned
    waves = summary.completed / planned if planned else None
    if waves is not None and waves < MIN_WAVES:
        return None, f"requests came in {waves:.1f} waves; an interval needs {MIN_WAVES} waves, or 3 runs"
    number = summary.measured(path)
    reported = run.interval(f"{path.rpartition('.')[0]}.interval")  # of what the server reports
    low, high = reported or (number.sampling.low, number.sampling.high)
    if number.value is None or low is None or high is None:
        return None, number.sampling.why or "the run reports none"
    least, most = number.client or (number.value, number.value)
    return (low - (number.value - least), high + (most - number.value)), ""


def too_uncertain(claim: Claim, interval: Interval | None, why: str = "") -> str:
    """Return why an interval is too wide for the tolerance of a claim or unknown, "" where it is neither."""
    if interval is None:
        return f"its interval is unknown{': ' if why else ''}{why}"
    least, most = claim.accepted
    if interval[1] - interval[0] > most - least:
        return f"its interval {interval_text(interval)} is wider than the tolerance, {interval_text((least, most))}"
    return ""


def interval_text(interval: Interval) -> str:
    """Format an interval."""
    return f"[{format_number(interval[0])}, {format_number(interval[1])}]"


def _answers(run: RunRecord, path: str) -> list[str]:
    quantity = path.partition(".")[0]
    of_answers = run.random_weights and quantity in OF_ANSWERS
    return (
        [f"random weights: {quantity} depends on the answers, which mean nothing and end at the limit"]
        if of_answers
        else []
    )


def _findings(run: RunRecord, summary: LoadSummary) -> list[str]:
    if run.findings is None:
        return ["it was not linted: run `python -m gptoss_bench rebuild`"]
    found = {finding.rule: finding for finding in (*_findings_of_today(run, summary), *run.findings)}
    return [f"error {one.rule}: {one.evidence}" for one in found.values() if one.severity == "error"]


def _findings_of_today(run: RunRecord, summary: LoadSummary) -> list[Finding]:
    """Return the findings by the rules of today, without those that were stored."""
    return check_run(summary, run.run.requests, run.manifest) if run.run else []


def _disagreement(summary: LoadSummary, path: str) -> list[str]:
    quantity, percentile = path.partition(".")[0], path.rpartition(".")[2]
    rows = [
        row for row in summary.agreement if row.quantity in AGREEMENT_ROWS.get(quantity, ()) and row.agrees is False
    ]
    tested = [row for row in rows if row.statistic in (percentile, "mean", "sum") or percentile not in PERCENTILES]
    return [
        f"client and server disagree on {row.quantity}, {row.statistic}: the client measured"
        f" {format_number(row.client)}, the server reports {format_number(row.server_low)}"
        + ("" if row.server_high in (row.server_low, None) else f" to {format_number(row.server_high)}")
        for row in tested[:2]
    ]


def _resolution(summary: LoadSummary, path: str) -> list[str]:
    number = summary.measured(path)
    found = [] if number.resolved else [f"{path} is not resolved: fewer than 10 samples lie beyond it"]
    if number.client and number.value and number.client[1] - number.client[0] > CLIENT_PAIR_SHARE * number.value:
        found.append(f"{path} is known only to be in {interval_text(number.client)}, because the client read late")
    return found


def _manipulation(run: RunRecord, summary: LoadSummary, path: str) -> list[str]:
    """Return where manifest and summary contradict each other, or the raw bytes of the run."""
    found = []
    planned = run.manifest.parameters.get("requests")
    if isinstance(planned, int) and planned != summary.requests:
        found.append(f"its manifest plans {planned} requests, its summary has {summary.requests}")
    label = model_label(run.manifest.server.model or "", run.manifest.server.facts.get("parameters"))
    found += [
        f"its label {each} is missing from its manifest"
        for each in split_labels(label)
        if each not in run.manifest.labels
    ]
    if run.run is None or found:
        return found
    try:
        derived = _derived_again(run.run)
    except UsageError as error:
        return [f"its raw bytes are not readable: {error}"]
    if derived is None:
        return ["it has no raw bytes, from which its figures could be derived again"]
    stored, again = run.number(path), value_at(derived, path)
    if isinstance(again, int | float) and (stored is None or not math.isclose(stored, again, rel_tol=SAME)):
        found.append(f"its summary has {path} {stored}, its raw bytes give {format_number(again)}")
    return found


@lru_cache(maxsize=8)
def _derived_again(run: Run) -> LoadSummary | None:
    """Return the summary that the raw bytes of a run give, None for a run without raw bytes."""
    traces = list(run.traces())
    load = PlannedLoad.of(run.manifest.parameters)
    if not traces or load is None:
        return None
    return summarise(*derive_tables(traces), concurrency=load.concurrency, slo=load.slo, full_length=load.full_length)
