"""What makes a result untrustworthy, one function a rule: a summary and its request table in, findings out."""

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

import pandas as pd

from gptoss_bench.runs import Finding
from gptoss_bench.stats import client_bound, known, measured_rows

SAME_FRACTION = 0.005  # spread of TTFT / latency over requests below which one was computed from the other
SAME_FRACTION_OF_PERCENTILES = 0.01  # percentiles of two lists come from slightly different requests
FEWEST_REQUESTS = 10
LITTLE_ERROR = 0.05
FAILURE_SHARE = 0.001
DELIVERED_SHARE = 0.95

Summary = Mapping[str, Any]


def check_requests(summary: Summary, requests: pd.DataFrame, rules: Sequence["Rule"] = ()) -> list[Finding]:
    """All findings about one run, the gravest first. `requests` is the whole request table, warm-up included.

    `rules` are those of this room where none are given.
    """
    found = [finding for rule in rules or RESULT_RULES if (finding := rule(summary, requests)) is not None]
    return sorted(found, key=lambda finding: ("error", "warning", "note").index(finding.severity))


def fraction_of_latency(pairs: Sequence[tuple[float, float]]) -> Finding | None:
    """The first rule for published percentiles: (TTFT, latency) in the same unit, two pairs or more.

    Measured times to the first token do not stay one fraction of the latency from p50 to p99; computed ones do.
    """
    ratios = [ttft / latency for ttft, latency in pairs if latency > 0]
    if len(ratios) < 2 or max(ratios) - min(ratios) >= SAME_FRACTION_OF_PERCENTILES * median(ratios):
        return None
    return _same_fraction(f"TTFT / latency is {' / '.join(f'{ratio:.4f}' for ratio in ratios)} at these percentiles")


def _same_fraction(evidence: str) -> Finding:
    advice = "this TTFT was computed from the latency: measure it, with streaming"
    return Finding("ttft-is-a-fraction-of-latency", "error", evidence, advice)


def _fraction(summary: Summary, requests: pd.DataFrame) -> Finding | None:
    """Over the requests, or over the percentiles of a result that keeps no single request."""
    rows = measured_rows(requests)
    if rows.empty:
        pairs = [(summary["ttft_s"][at], summary["done_s"][at]) for at in ("p50", "p90", "p99")]
        return fraction_of_latency([(ttft, latency) for ttft, latency in pairs if ttft is not None and latency])
    ratios = pd.Series(known(rows["ttft_s"] / rows["done_s"]))
    low, middle, high = ratios.quantile([0.1, 0.5, 0.9])
    if len(ratios) < FEWEST_REQUESTS or high - low >= SAME_FRACTION * middle:
        return None
    return _same_fraction(f"TTFT / latency is {middle:.4f} ± {(high - low) / 2:.1g} over {len(ratios)} requests")


def _timestamps(summary: Summary, requests: pd.DataFrame) -> Finding | None:
    rows = measured_rows(requests)
    wrong = int(((rows["ttft_s"] <= 0) | (rows["done_s"] < rows["e2e_s"])).sum())
    evidence = f"{wrong} requests have a token before they were sent or after they ended"
    return Finding("timestamps-out-of-order", "error", evidence, "look at the clock of the stamps") if wrong else None


def _little(summary: Summary, requests: pd.DataFrame) -> Finding | None:
    """Little's law over the whole run: in flight on average = completions per second × mean latency."""
    rows = measured_rows(requests)
    if not summary["wall_s"] or not summary["completed"]:
        return None
    if rows.empty:
        return _little_reported(summary)
    in_flight = float((rows["done_ns"] - rows["sent_ns"]).sum()) / 1e9 / summary["wall_s"]
    by_law = summary["request_s"] * summary["done_s"]["mean"]
    if abs(in_flight - by_law) <= LITTLE_ERROR * in_flight:
        return None
    evidence = f"{in_flight:.2f} requests in flight by their stamps, {by_law:.2f} by rate × latency"
    advice = "requests are missing, or much of the time went into requests that did not complete: look at both"
    return Finding("littles-law", "error", evidence, advice)


def _little_reported(summary: Summary) -> Finding | None:
    """Where no single request is kept: rate × mean latency cannot exceed what was to be in flight."""
    mean_s, planned = summary["done_s"]["mean"], summary["concurrency_planned"]
    if mean_s is None or planned is None or summary["request_s"] * mean_s <= (1 + LITTLE_ERROR) * planned:
        return None
    evidence = f"rate × mean latency is {summary['request_s'] * mean_s:.2f}, with at most {planned} requests in flight"
    return Finding("littles-law", "error", evidence, "rate and latency are not of the same requests: look at both")


def _one_prompt(summary: Summary, requests: pd.DataFrame) -> Finding | None:
    """One prompt for all, and a prefix cache that may serve it; one that is off and served nothing cannot."""
    rows = measured_rows(requests)
    if len(rows) < 2 or rows["prompt_id"].nunique() != 1:
        return None
    cached = float(known(rows["cached_tokens"]).max(initial=0.0))
    counts = (summary.get("server_metrics") or {}).get("counts", {})
    served = cached or counts.get("prefix_cache_hits") or counts.get("prompt_tokens_cached")
    caching = (made(summary, "endpoint").get("facts") or {}).get("prefix_caching")
    if caching is False and not served:
        return None
    has = "the server has a prefix cache" if caching or served else "whether the server has a prefix cache is not known"
    seen = f", from which up to {cached:.0f} tokens came" if cached else ""
    advice = "use distinct prompts for TTFT and prefill, or switch the cache off"
    return Finding("one-prompt", "warning", f"all {len(rows)} requests sent the same prompt, and {has}{seen}", advice)


def _failures(summary: Summary, requests: pd.DataFrame) -> Finding | None:
    classes = ", ".join(f"{name} {count}" for name, count in summary["failures"].items())
    evidence = f"{summary['failed']} of {summary['requests']} requests failed: {classes}"
    finding = Finding("failures", "error", evidence, "mend the cause and run again: the rates are of the survivors")
    return finding if summary["failed"] > FAILURE_SHARE * summary["requests"] else None


def _truncated(summary: Summary, requests: pd.DataFrame) -> Finding | None:
    if summary["truncated"] is None:
        return _truncated_by_mean(summary)
    evidence = f"{summary['truncated']} of {summary['completed']} answers stopped at the token limit"
    finding = Finding("most-answers-truncated", "warning", evidence, "raise max_tokens, or say that it is meant so")
    return finding if summary["truncated"] > summary["completed"] / 2 else None


def _truncated_by_mean(summary: Summary) -> Finding | None:
    """Where no answer's end is told: one that ended by itself is a token short of the limit, or more."""
    mean, limit = summary["completion_tokens"]["mean"], made(summary, "parameters").get("max_tokens")
    if mean is None or limit is None or mean <= limit - 0.5:
        return None
    evidence = f"the answers have {mean:.1f} tokens on average, at most {limit}: over half stopped at the token limit"
    return Finding("most-answers-truncated", "warning", evidence, "raise max_tokens, or say that it is meant so")


def made(summary: Summary, name: str) -> Mapping[str, Any]:
    """A part of the manifest, where the caller put that into the summary; empty where it is not told."""
    found: Mapping[str, Any] = (summary.get("manifest") or {}).get(name) or {}
    return found


def _no_answer(summary: Summary, requests: pd.DataFrame) -> Finding | None:
    evidence = f"{summary['ttfa_missing']} of {summary['completed']} completed requests brought no answer text"
    advice = "reasoning may have used up the budget: raise max_tokens or lower the effort"
    return Finding("no-answer", "warning", evidence, advice) if summary["ttfa_missing"] else None


def _token_counts(summary: Summary, requests: pd.DataFrame) -> Finding | None:
    rows = measured_rows(requests)
    by_timings = int((rows["server_eval_tokens"] != rows["completion_tokens"]).fillna(False).sum())
    by_events = int((rows["output_events"] > rows["completion_tokens"]).fillna(False).sum())
    parts = [
        (by_timings, "the server's timings count other tokens than its usage"),
        (by_events, "more events bore output than its usage counts tokens"),
    ]
    words = [f"in {count} requests {what}" for count, what in parts if count]
    counts = (summary.get("server_metrics") or {}).get("counts", {})
    total, reported = summary["completion_tokens"]["sum"], counts.get("generation_tokens")
    alone = counts.get("requests") == len(rows) == summary["completed"]
    if alone and total is not None and reported is not None and reported != total:
        words.append(f"the server's counter rose by {reported:.0f} tokens, the usage of all answers has {total}")
    advice = "quote no token rate before it is explained"
    return Finding("token-counts-disagree", "warning", "; ".join(words), advice) if words else None


def _concurrency(summary: Summary, requests: pd.DataFrame) -> Finding | None:
    planned, delivered = summary["concurrency_planned"], summary["concurrency_delivered"]
    if delivered is None or planned is None or delivered >= DELIVERED_SHARE * planned:
        return None
    evidence = f"{delivered:.1f} of {planned} requests in flight in the steady window"
    return Finding("concurrency-not-delivered", "warning", evidence, "the client is late: fewer slots, or more clients")


def _client_bound(summary: Summary, requests: pd.DataFrame) -> Finding | None:
    """METRICS' own rule: the client reads later than 5 % of the median gap at p99, or is busy 80 % of the time."""
    found = client_bound(summary["client"], summary["itl_s"]["p50"])
    advice = "gaps between tokens are partly the client's own: give it a core, or send less"
    return Finding("client-bound", "warning", "the client: " + "; ".join(found), advice) if found else None


def _warmup(summary: Summary, requests: pd.DataFrame) -> Finding | None:
    evidence = "no request was sent before the measured ones"
    advice = "the first wave may hold loading and compiling: add a warm-up"
    cold = len(requests) > 0 and not requests["phase"].isin(("warmup", "cold")).any()
    if "warmup_requests" in summary:  # another tool's, whose file may not tell
        cold = summary["warmup_requests"] == 0
    return Finding("no-warmup", "note", evidence, advice) if cold else None


def _resolution(summary: Summary, requests: pd.DataFrame) -> Finding | None:
    asked = [(name, summary[name]) for name in ("ttft_s", "itl_s", "done_s") if summary[name]["n"]]
    names = [f"{name} {at}" for name, found in asked for at, resolved in found["resolved"].items() if not resolved]
    evidence = f"fewer than 10 samples lie beyond {', '.join(names)}"
    return Finding("percentile-not-resolved", "note", evidence, "send more requests") if names else None


Rule = Callable[[Summary, pd.DataFrame], Finding | None]
RESULT_RULES: tuple[Rule, ...] = (
    *(_fraction, _timestamps, _little, _failures),
    *(_client_bound, _one_prompt, _truncated, _no_answer, _token_counts, _concurrency),
    *(_warmup, _resolution),
)
