"""Rules on the requests and the summary of a result, such as Little's law."""

from collections.abc import Sequence
from statistics import median

import pandas as pd

from gptoss_bench.importers import ImportedSummary
from gptoss_bench.lint.results import Result
from gptoss_bench.lint.rules.arithmetic import reported_figures
from gptoss_bench.lint.rules.rule import Evidence, SingleResultRule, rule
from gptoss_bench.runs import number_at
from gptoss_bench.stats import REPORTED_PERCENTILES, PrintedFigure, client_bound, measured_rows, non_null

SAME_FRACTION = 0.005  # relative spread of TTFT / latency over requests below which TTFT was computed from latency
SAME_FRACTION_OF_PERCENTILES = 0.01  # wider: percentiles of two lists come from slightly different requests
VARYING = 0.10  # relative spread of the latency from which a constant share of it says something
WHOLE = 0.95  # of the latency: an answer that came at once, or a single token, has its first token at its end
FEWEST_REQUESTS = 10
LITTLE_ERROR = 0.05
FAILURE_SHARE = 0.001
UNKNOWN_TAIL = 0.01  # of the requests: if so many failed, the time of the slowest hundredth is unknown
DELIVERED_SHARE = 0.95
QUEUE_SHARE = 0.2  # of TTFT


@rule(
    "ttft-is-a-fraction-of-latency",
    "error",
    reason="A first token does not arrive at a fixed share of the latency: such a TTFT was computed, not measured.",
    advice="this TTFT was computed from the latency: measure it, with streaming",
)
def _ttft_is_a_fraction_of_latency(result: Result) -> str | None:
    """Compare requests, or percentiles where the result has no single requests.

    A TTFT with bounds comes from the arrivals of events, so it was measured, however constant the server's pace is. A
    constant share of a constant latency proves nothing, nor does a share that is the whole.
    """
    rows = measured_rows(result.requests)
    if "ttft_low_s" in rows and rows["ttft_low_s"].notna().any():
        return None
    if rows.empty:
        figures = reported_figures(result)
        names = [(f"ttft_s.{at}", f"done_s.{at}") for at in ("p50", "p90", "p99")]
        return fraction_of_percentiles(
            [(figures[ttft], figures[latency]) for ttft, latency in names if ttft in figures and latency in figures]
        )
    ratios = pd.Series(non_null(rows["ttft_s"] / rows["done_s"]))
    low, middle, high = ratios.quantile([0.1, 0.5, 0.9])
    shortest, typical, longest = rows["done_s"].astype("float64").quantile([0.1, 0.5, 0.9])
    varies = longest - shortest >= VARYING * typical and middle < WHOLE
    if len(ratios) < FEWEST_REQUESTS or not varies or high - low >= SAME_FRACTION * middle:
        return None
    return f"TTFT / latency is {middle:.4f} ± {(high - low) / 2:.1g} over {len(ratios)} requests"


def fraction_of_percentiles(pairs: Sequence[tuple[PrintedFigure, PrintedFigure]]) -> str | None:
    """Return the evidence that TTFT was computed from latency, given (TTFT, latency) at two percentiles or more.

    A measured TTFT is not the same fraction of the latency from p50 to p99; a computed one is. Figures that are rounded
    so much that any share would look constant are left out.
    """
    known = [
        (ttft.value / latency.value, latency.value)
        for ttft, latency in pairs
        if latency.value > 0
        and ttft.value > 0
        and ttft.step / ttft.value + latency.step / latency.value <= SAME_FRACTION_OF_PERCENTILES
    ]
    if len(known) < 2:
        return None
    ratios, latencies = zip(*known, strict=True)
    middle = median(ratios)
    if max(ratios) - min(ratios) >= SAME_FRACTION_OF_PERCENTILES * middle or middle >= WHOLE:
        return None
    if max(latencies) - min(latencies) < VARYING * min(latencies):
        return None
    return f"TTFT / latency is {' / '.join(f'{ratio:.4f}' for ratio in ratios)} at these percentiles"


@rule(
    "timestamps-out-of-order",
    "error",
    reason="An event before its request, or before the previous event, has a wrong timestamp.",
    advice="check the clock that gives the timestamps",
)
def _timestamps_out_of_order(result: Result) -> str | None:
    rows = measured_rows(result.requests)
    wrong = int(((rows["ttft_s"] <= 0) | (rows["done_s"] < rows["e2e_s"])).sum())
    return f"{wrong} requests have a token before they were sent or after they ended" if wrong else None


@rule(
    "littles-law",
    "error",
    reason="Rate × mean latency is the mean number of requests in flight: where it is not, one of them covers other"
    " requests.",
    advice="rate and latency cover different requests: check both",
)
def _littles_law(result: Result) -> str | None:
    """Compare the mean number in flight by timestamps with rate × mean latency, of completed requests on both sides."""
    rows, summary = measured_rows(result.requests), result.summary
    mean_s = summary.done_s.mean
    if not summary.wall_s or not summary.completed or summary.request_s is None or mean_s is None:
        return None
    if rows.empty:
        return _littles_law_of_reported(result)
    completed = rows[rows["outcome"] == "completed"]
    in_flight = float((completed["done_ns"] - completed["sent_ns"]).sum()) / 1e9 / summary.wall_s
    by_law = summary.request_s * mean_s
    if abs(in_flight - by_law) <= LITTLE_ERROR * in_flight:
        return None
    return f"on average {in_flight:.2f} completed requests were in flight, but rate × mean latency is {by_law:.2f}"


def _littles_law_of_reported(result: Result) -> str | None:
    """Without single requests, rate × mean latency can only be checked against the concurrency as an upper bound."""
    summary = result.summary
    mean_s, planned = summary.done_s.mean, summary.concurrency_planned
    if mean_s is None or planned is None or summary.request_s is None:
        return None
    in_flight = summary.request_s * mean_s
    if in_flight <= (1 + LITTLE_ERROR) * planned:
        return None
    return f"rate × mean latency is {in_flight:.2f}, but at most {planned} requests were in flight"


@rule(
    "failures",
    "error",
    reason="Rates and latencies then cover completed requests only, and failed requests left the server less work. From"
    " 1 % on the p99 of all requests cannot be known; below, it is a warning.",
    advice="fix the cause and rerun: rates cover completed requests only",
)
def _failures(result: Result) -> Evidence | None:
    summary = result.summary
    if summary.failed <= FAILURE_SHARE * summary.requests:
        return None
    classes = ", ".join(f"{name} {count}" for name, count in summary.failures.items())
    severity = "warning" if summary.failed < UNKNOWN_TAIL * summary.requests else "error"
    first = f"; the first: {summary.first_failure}" if summary.first_failure else ""
    return Evidence(f"{summary.failed} of {summary.requests} requests failed: {classes}{first}", severity=severity)


@rule(
    "client-bound",
    "warning",
    reason="A busy client sends late and reads late: part of the measured times is its own delay.",
    advice="give the client a core of its own, or send less",
)
def _client_bound(result: Result) -> str | None:
    fleet = result.summary.fleet  # of several processes each is judged for itself
    found = client_bound(result.summary).reasons if fleet is None else result.summary.client.bound
    return f"the client: {'; '.join(found)}" if found else None


@rule(
    "one-prompt",
    "warning",
    reason="With a prefix cache, the server computes the prefill of the first request only.",
    advice="use distinct prompts for TTFT and prefill, or disable the prefix cache",
)
def _one_prompt(result: Result) -> str | None:
    """A prefix cache that served no tokens makes one prompt harmless: the server's counters say so, if it has them."""
    rows = measured_rows(result.requests)
    if len(rows) < 2 or rows["prompt_id"].nunique() != 1:
        return None
    cached = float(non_null(rows["cached_tokens"]).max(initial=0.0))
    counts = result.server_counts
    served = cached or counts.get("prefix_cache_hits") or counts.get("prompt_tokens_cached")
    caching = result.fact("prefix_caching")
    if not served and (caching is False or counts.get("prefix_cache_queries")):
        return None
    has = "the server has a prefix cache" if caching or served else "whether the server has a prefix cache is unknown"
    seen = f", which served up to {cached:.0f} tokens of a prompt" if cached else ""
    return f"all {len(rows)} requests sent the same prompt, and {has}{seen}"


@rule(
    "most-answers-truncated",
    "warning",
    reason="The length of truncated answers is the token limit, not the model's choice: latency and rate depend on the"
    " limit.",
    advice="raise max_tokens, or state that the limit is intended",
)
def _most_answers_truncated(result: Result) -> str | None:
    summary = result.summary
    if summary.truncated is None:
        return _truncated_by_mean(result)
    if summary.truncated <= summary.completed / 2 or summary.requested_tokens is not None:
        return None  # limits of their own are how long answers were to be
    return f"{summary.truncated} of {summary.completed} answers stopped at the token limit"


def _truncated_by_mean(result: Result) -> str | None:
    """Where the ends of answers are unknown: an answer that ended by itself is at least one token below the limit."""
    mean, limit = result.summary.completion_tokens.mean, number_at(result.manifest.parameters, "max_tokens")
    if mean is None or limit is None or mean <= limit - 0.5:
        return None
    return f"answers have {mean:.1f} tokens on average, at most {limit:g}: over half stopped at the token limit"


@rule(
    "no-answer",
    "warning",
    reason="A request that spent its token budget on reasoning has no time to its answer and is missing in TTFA.",
    advice="reasoning may have used up the budget: raise max_tokens or lower the reasoning effort",
)
def _no_answer(result: Result) -> str | Evidence | None:
    missing, rows = result.summary.ttfa_missing, _completed(result)
    if not missing:
        return None
    evidence = f"{missing} of {result.summary.completed} completed requests have no answer text"
    without = rows[rows["ttfa_s"].isna()]
    thought = (without["reasoning_chars"] > 0) | (without["reasoning_tokens"].fillna(0) > 0)
    if without.empty or thought.any():
        return evidence
    if (without["output_events"] > 0).all():
        return Evidence(f"{evidence}: they have tool calls", "ask without tools for a time to the answer")
    advice = "look at such a reply and at the server's log: it generated nothing visible"
    return Evidence(f"{evidence}, and no reasoning", advice)


@rule(
    "content-filter",
    "warning",
    reason="A content filter, not the model, decided the length of these answers.",
    advice="use another prompt, or switch the filter off: latency and tokens are those of answers that were stopped",
)
def _content_filter(result: Result) -> str | None:
    count = result.summary.content_filter
    return f"a content filter stopped {count} of {result.summary.completed} completed answers" if count else None


@rule(
    "burst",
    "warning",
    reason="An answer that arrives at once has no time between tokens, and its TTFT is nearly its latency.",
    advice="switch off the buffering of the server, or of a proxy before it; its TTFT is a latency",
)
def _burst(result: Result) -> str | None:
    count = result.summary.burst
    return f"the server sent {count} of {result.summary.completed} answers in one burst" if count else None


@rule(
    "hidden-reasoning",
    "warning",
    reason="Where reasoning is generated and not sent, TTFT is to the first visible token, and includes the reasoning.",
    advice="have the server send its reasoning, or compare TTFT only with one to the first visible token",
)
def _hidden_reasoning(result: Result) -> str | None:
    rows = _completed(result)
    hidden = rows[(rows["reasoning_tokens"].fillna(0) > 0) & (rows["reasoning_chars"] == 0)]
    if hidden.empty:
        return None
    middle = float(hidden["reasoning_tokens"].astype("float64").median())
    return (
        f"{len(hidden)} of {len(rows)} completed requests have reasoning tokens that were not sent"
        f" ({middle:.0f} of a request, median): TTFT is to the first visible token"
    )


def _completed(result: Result) -> pd.DataFrame:
    rows = measured_rows(result.requests)
    return rows[rows["outcome"] == "completed"]


@rule(
    "token-counts-disagree",
    "warning",
    reason="Every token rate depends on the number of tokens.",
    advice="quote no token rate before the difference is explained",
)
def _token_counts_disagree(result: Result) -> str | None:
    rows, counts = measured_rows(result.requests), result.server_counts
    by_timings = int((rows["server_eval_tokens"] != rows["completion_tokens"]).fillna(False).sum())
    by_events = int((rows["output_events"] > rows["completion_tokens"]).fillna(False).sum())
    parts = [
        (by_timings, "the server's timings and its usage count different tokens"),
        (by_events, "more events have output than the usage counts tokens"),
    ]
    evidence = [f"in {count} requests {what}" for count, what in parts if count]
    total, reported = result.summary.completion_tokens.sum, counts.get("generation_tokens")
    no_other_client = counts.get("requests") == len(rows) == result.summary.completed
    if no_other_client and total is not None and reported is not None and reported != total:
        evidence.append(f"the server's counter rose by {reported:.0f} tokens, the usage of all answers has {total}")
    return "; ".join(evidence) or None


@rule(
    "concurrency-not-delivered",
    "warning",
    reason="The server had less load than the planned concurrency says.",
    advice="the client is late: use fewer slots, or more clients",
)
def _concurrency_not_delivered(result: Result) -> str | None:
    planned, delivered = result.summary.concurrency_planned, result.summary.concurrency_delivered
    if (held := result.summary.conversations) is not None:  # the slots of users who think are in use
        delivered = held.in_progress
    if delivered is None or planned is None or delivered >= DELIVERED_SHARE * planned:
        return None
    what = "requests in flight" if held is None else "conversations in progress"
    return f"{delivered:.1f} of {planned} {what} in the steady window"


@rule(
    "server-queue",
    "warning",
    reason="A request that waits for a free slot measures the queue of the server, not the time to a first token.",
    advice="set OLLAMA_NUM_PARALLEL (1 by default) to the concurrency, or state that TTFT includes this queue",
)
def _server_queue(result: Result) -> str | None:
    """With one request at a time, or a slot for each, no request of this load waits for another one's end."""
    rows, concurrency = measured_rows(result.requests), result.summary.concurrency_planned or 1
    slots = result.number("num_parallel") or 1
    known = rows[rows["server_wait_s"].notna() & rows["ttft_s"].notna()]
    ttft_s, wait_s = float(known["ttft_s"].sum()), float(known["server_wait_s"].sum())
    if concurrency <= slots or wait_s <= QUEUE_SHARE * ttft_s:
        return None
    at_median = f"{known['server_wait_s'].median():.3g} s of {known['ttft_s'].median():.3g} s at the median"
    return f"requests waited for a slot of the server during {wait_s / ttft_s:.0%} of TTFT ({at_median})"


@rule(
    "no-warmup",
    "note",
    reason="The first requests may include loading, compiling and opening connections.",
    advice="the first wave may include loading and compiling: add a warm-up",
)
def _no_warmup(result: Result) -> str | None:
    """For a result of another tool the summary has the number of warm-up requests, None where it is unknown."""
    cold = len(result.requests) > 0 and not result.requests["phase"].isin(("warmup", "cold")).any()
    if isinstance(result.summary, ImportedSummary):
        cold = result.summary.warmup_requests == 0
    return "no request was sent before the measured ones" if cold else None


@rule(
    "percentile-not-resolved",
    "note",
    reason="Fewer than 10 samples lie beyond the percentile: it will differ in the next run.",
    advice="send more requests",
)
def _percentile_not_resolved(result: Result) -> str | None:
    measured = {name: result.summary.distribution(name) for name in ("ttft_s", "itl_s", "done_s")}
    names = [
        f"{name} {at}"
        for name, found in measured.items()
        for at in REPORTED_PERCENTILES
        if found.n and found.at(at) is not None and not found.resolved.at(at)
    ]
    return f"fewer than 10 samples lie beyond {', '.join(names)}" if names else None


RESULT_RULES: tuple[SingleResultRule, ...] = (
    _ttft_is_a_fraction_of_latency,
    _timestamps_out_of_order,
    _littles_law,
    _failures,
    _client_bound,
    _one_prompt,
    _most_answers_truncated,
    _no_answer,
    _content_filter,
    _burst,
    _hidden_reasoning,
    _token_counts_disagree,
    _concurrency_not_delivered,
    _server_queue,
    _no_warmup,
    _percentile_not_resolved,
)
