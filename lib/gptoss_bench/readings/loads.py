"""Read the figures of a measured load: latencies, gaps, rates, the sweep, the server's times and the machine."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise

import pandas as pd

from gptoss_bench.memory import GIB
from gptoss_bench.runs import PHASE_INFERENCE, RANDOM_LABEL, Finding, LoadSummary, Manifest, SweepRow, Telemetry
from gptoss_bench.stats import REPORTED_PERCENTILES, has_steady_rates, headline, measured_rows

SAME_RATIO = 1.1  # ratios that differ by less may have one cause
ROUTING = (
    "Times and rates depend on how tokens are routed to experts: random weights choose them about evenly, a"
    " trained router does not."
)
SAME_RATE = 0.05  # a level that adds less than this share of the rate adds nothing worth the longer wait


def published_and_measured(summary: LoadSummary) -> str:
    """Return how far the formula of the write-up is from the measured TTFT of the same requests, by percentile."""
    ratios = [
        (at, formula / measured)
        for at in REPORTED_PERCENTILES
        if (formula := summary.ttft_formula_s.exclusive.at(at)) and (measured := summary.ttft_s.exclusive.at(at))
    ]
    if not ratios:
        return "The formula cannot be compared: TTFT or the number of tokens is unknown."
    listed = ", ".join(f"{ratio:.2f} at {at}" for at, ratio in ratios)
    spread = max(ratio for _, ratio in ratios) / min(ratio for _, ratio in ratios)
    text = f"Formula divided by measured TTFT, of the same requests: {listed}."
    if spread > SAME_RATIO:
        text += f" The largest ratio is {spread:.2f} times the smallest, so no single factor corrects the formula."
    return text


def latency_distributions(requests: pd.DataFrame) -> str:
    """Return when half of the completed requests had their first token, first answer token and end."""
    rows = measured_rows(requests)
    rows = rows[rows.outcome == "completed"]
    ttft_s, ttfa_s, done_s = (rows[name].astype("float64").median() for name in ("ttft_s", "ttfa_s", "done_s"))
    if pd.isna(ttft_s) or pd.isna(done_s):
        return "No completed request has a time to first token."
    answers = int(rows.ttfa_s.notna().sum())
    answered = f"; their first answer token after {ttfa_s:.3f} s" if answers == len(rows) else ""
    missing = f" {len(rows) - answers} of {len(rows)} requests ended without answer text." if not answered else ""
    return (
        f"Half of the {len(rows)} requests had their first token after {ttft_s:.3f} s{answered}; their end after "
        f"{done_s:.3f} s. The median TTFT is {ttft_s / done_s:.0%} of the median latency.{missing}"
    )


def gap_distribution(summary: LoadSummary) -> str:
    """Return median and p99 of the gaps between tokens, and what part of them is not resolved."""
    itl = summary.itl_s
    shared = summary.client.shared_read_share
    packed = f" {shared:.0%} of the gaps lie within one read of the client." if shared else ""
    if itl.p50 is None:
        return "There is no gap: no request had two events with output."
    if itl.p50 == 0:
        return f"The median gap is not resolved: both events of most gaps arrived in one read.{packed}"
    text = f"Half of the {itl.n:,} gaps are shorter than {itl.p50 * 1e3:.3g} ms"
    if itl.p99 is not None and itl.resolved.p99:
        text += f"; one in a hundred is longer than {itl.p99 * 1e3:.3g} ms, {itl.p99 / itl.p50:.1f} times the median"
    else:
        text += "; p99 is not resolved, because too few gaps at different times are longer"
    return f"{text}.{packed}"


def requests_in_flight(requests: pd.DataFrame, summary: LoadSummary) -> str:
    """Return how many requests were in flight, and how many waited unusually long for their first token."""
    rows = measured_rows(requests)
    ttft_s = rows[rows.outcome == "completed"].ttft_s.astype("float64").dropna()
    delivered, planned = summary.concurrency_delivered, summary.concurrency_planned
    text = ""
    if delivered is not None and planned is not None:
        text = f"On average {delivered:.1f} of {planned} slots had a request in flight in the steady window"
        thinking = "" if summary.conversations is None else "; in the others a user was thinking"
        text = f"{text}{thinking}. "
    if len(ttft_s) == 0:
        return f"{text}No completed request has a time to first token."
    slow = int((ttft_s > 2 * ttft_s.median()).sum())
    return (
        f"{text}{slow} of {len(ttft_s)} requests waited more than twice the median for their first token, the longest "
        f"{ttft_s.max():.3f} s ({ttft_s.max() / ttft_s.median():.1f} times the median)."
    )


def decode_rates_by_source(rates: pd.DataFrame) -> str:
    """Return the median decode rate by source; `rates` is the table of stats.decode_rates."""
    if rates.empty:
        return "No request has a decode rate."
    medians = rates.groupby("source", sort=False).tok_s.agg(["median", "size"])
    listed = "; ".join(f"{one['median']:,.1f} ({source})" for source, one in medians.iterrows())
    return f"Median tokens per second of {int(medians['size'].max())} requests, by source: {listed}."


def cold_and_warm(requests: pd.DataFrame) -> str:
    """Return the time to the first token on a cold and on a warm server, and what part of the first is loading."""
    completed = requests[requests.outcome == "completed"]
    cold = completed[completed.phase == "cold"]
    warm_s = completed[completed.phase == "measure"].ttft_s.astype("float64").median()
    if cold.empty or pd.isna(cold.ttft_s.iloc[0]) or pd.isna(warm_s):
        return "There is no cold request to compare with."
    cold_s, load_s = float(cold.ttft_s.iloc[0]), cold.server_load_s.iloc[0]
    loading = "" if pd.isna(load_s) else f"; the server reports {load_s:.3f} s of it as loading"
    return (
        f"Cold, the first token came after {cold_s:.3f} s{loading}. Warm, it came after {warm_s:.3f} s (median), "
        f"{cold_s / warm_s:.1f} times sooner."
    )


def throughput_against_latency(rows: Sequence[SweepRow]) -> str:
    """Return what the sweep gained in tokens per second, what it cost in waiting, and where it stopped to pay."""
    steady = has_steady_rates(rows)
    rated = [(row, rate) for row in rows if (rate := row.output_tok_s if steady else row.output_tok_s_total)]
    if len(rated) < 2:
        return "Fewer than two levels have a rate: nothing can be said about more streams."
    rated.sort(key=lambda each: each[0].concurrency)
    (first, low), (last, high) = rated[0], rated[-1]
    text = (
        f"From {_streams(first.concurrency)} to {last.concurrency} the rate went from {low:,.1f} to {high:,.1f} "
        f"tokens/s ({high / low:.2f} times)"
    )
    if first.done_s.p50 and last.done_s.p50:
        text += f", the median latency from {first.done_s.p50:.3f} to {last.done_s.p50:.3f} s"
        text += f" ({last.done_s.p50 / first.done_s.p50:.2f} times)"
    best, most = max(rated, key=lambda each: each[1])
    idle = [row.concurrency for (_, before), (row, after) in pairwise(rated) if after < before * (1 + SAME_RATE)]
    text += f". The highest rate was {most:,.1f} tokens/s, with {_streams(best.concurrency)}"
    if idle:
        text += f"; at {', '.join(map(str, idle))} it was less than {SAME_RATE:.0%} above the level before"
    if bound := ", ".join(str(row.concurrency) for row in rows if row.client_bound):
        text += f". The client was the limit at {bound}"
    return f"{text}."


def client_against_server(summary: LoadSummary) -> str:
    """Return how many quantities agree between client and server, and which do not."""
    rows = summary.agreement
    if not rows:
        return "The server reports nothing that can be compared with the client's times."
    words = Counter(row.word or {True: "agrees", False: "disagrees", None: "no power"}[row.agrees] for row in rows)
    text = f"Of {len(rows)} rows {words['agrees']} agree and {words['disagrees']} disagree."
    if words["no power"]:
        text += f" {words['no power']} cannot tell: not even a large difference would have been seen in them."
    if words["other requests"]:
        text += f" {words['other requests']} cannot be compared, because the server counted other requests."
    apart = list(dict.fromkeys(row.quantity for row in rows if row.agrees is False))
    return text + (f" Do not quote what they disagree on: {'; '.join(apart)}." if apart else "")


def machine_timeline(tables: Mapping[str, pd.DataFrame], summary: LoadSummary) -> str:
    """Return the peaks of GPU and host memory, and what CPU the engine and the client needed during inference."""
    telemetry = summary.telemetry or Telemetry()
    text = []
    gpu = tables["gpu"]
    if len(gpu):
        peak = gpu.groupby("phase", sort=False).memory_used_bytes.max().astype("float64") / GIB
        text.append("Most GPU memory, by phase: " + ", ".join(f"{name} {gib:.2f} GiB" for name, gib in peak.items()))
    else:
        text.append("No GPU was sampled")
    host = telemetry.host.by_phase.get(PHASE_INFERENCE)
    used = [
        f"the {name} used {cores:.2f} cores"
        for name, cores in (("engine", host.engine_cpu), ("client", host.client_cpu))
        if cores is not None
    ] if host else []  # fmt: skip
    if used:
        text.append(f"During inference {' and '.join(used)}")
    if host and host.memory_used_bytes_max is not None:
        text.append(f"At most {host.memory_used_bytes_max / GIB:.1f} GiB of the machine's memory were in use then")
    return ". ".join(text) + "."


def findings_text(findings: Sequence[Finding]) -> str:
    """Return how many errors and warnings the linter found, and the rules of the errors."""
    if not findings:
        return "The linter found nothing."
    errors = [finding.rule for finding in findings if finding.severity == "error"]
    named = f" ({', '.join(errors)}): do not quote the figures that they concern" if errors else ""
    many, others = len(errors), len(findings) - len(errors)
    return (
        f"{many} error{'s' * (many != 1)}{named}; {others} warning{'s' * (others != 1)} or note{'s' * (others != 1)}."
    )


def load_finding(summary: LoadSummary, manifest: Manifest, *more: str) -> str:
    """Return the finding of a measured load and `more` sentences, each a line after the labels, such as TINY MODEL.

    With random weights a line says what that means for the figures.
    """
    label = f"{', '.join(manifest.labels)}: " if manifest.labels else ""
    routed = [ROUTING] if RANDOM_LABEL in manifest.labels else []
    return "\n".join(f"{label}{line}" for line in (f"{headline(summary)}.", *routed, *more))


def _streams(number: int) -> str:
    return f"{number} stream{'s' * (number != 1)}"
