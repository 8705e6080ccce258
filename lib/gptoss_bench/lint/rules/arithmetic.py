"""Rules on the figures of a result against each other: which of them cannot all be true."""

from gptoss_bench.importers import ImportedSummary
from gptoss_bench.lint.results import Result
from gptoss_bench.lint.rules.rule import SingleResultRule, rule
from gptoss_bench.runs import LoadSummary, number_at
from gptoss_bench.stats import LITTLE, MISSING_REQUESTS, Contradiction, PrintedFigure, as_printed, find_contradictions

TIMES = ("ttft_s", "tpot_s", "itl_s", "done_s")
STATISTICS = ("mean", "p50", "p90", "p99")
COUNTS = ("requests", "completed", "failed")
RATES = ("wall_s", "request_s", "output_tok_s_total")
SHOWN = 4
UNEXPLAINED_SHARE = 0.10  # of the latency
FASTEST_PREFILL_TOK_S = (
    100_000  # of one request: a datacentre card at its peak rate computes about this for gpt-oss-20b
)


@rule(
    "impossible-figures",
    "error",
    reason="Figures that contradict each other cannot all be true, and nobody can know which one is wrong.",
    advice="quote none of these figures: look for the one that was mistyped, mixed up or computed over other requests",
)
def _impossible_figures(result: Result) -> str | None:
    """Relations that other rules report, with a reason of their own, are left out."""
    found = [one for one in contradictions(result) if one.relation not in (LITTLE, MISSING_REQUESTS)]
    more = f"; {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return "; ".join(one.text for one in found[:SHOWN]) + more or None


@rule(
    "missing-requests",
    "error",
    reason="Requests of which nothing is known may be the slow ones, so rates and times cover only the rest.",
    advice="find out how the missing requests ended, and count them: completed + failed has to be what was sent",
)
def _missing_requests(result: Result) -> str | None:
    found = [one.text for one in contradictions(result) if one.relation == MISSING_REQUESTS]
    return "; ".join(found) or None


@rule(
    "time-unaccounted",
    "warning",
    reason="A part of the time belongs to nothing that was reported, such as waiting in a queue.",
    advice="find out what the server did in that time before you compare one of the parts",
)
def _time_unaccounted(result: Result) -> str | None:
    """Check the parts that a server reports of its time, else TTFT and TPOT where all answers are equally long."""
    server = result.summary.server
    if server is not None and server.total_s.p50 and server.total_s.n == 1:
        parts = (server.load_s.p50, server.prompt_s.p50, server.eval_s.p50)
        if None not in parts:
            return _unexplained("the server's total", server.total_s.p50, sum(part or 0.0 for part in parts))
    figures = reported_figures(result)
    names = ("ttft_s.mean", "tpot_s.mean", "done_s.mean", "completion_tokens.mean")
    if len(result.requests) or not equal_lengths(result) or any(name not in figures for name in names):
        return None
    ttft, tpot, latency, tokens = (figures[name].value for name in names)
    return _unexplained("the mean latency", latency, ttft + tpot * tokens)


def _unexplained(whole: str, total_s: float, parts_s: float) -> str | None:
    left_s = total_s - parts_s
    if left_s <= UNEXPLAINED_SHARE * total_s:
        return None
    return f"{left_s:.4g} s of {whole} of {total_s:.4g} s ({left_s / total_s:.0%}) are in none of its parts"


@rule(
    "prefill-too-fast",
    "warning",
    reason="No GPU computes prompts this fast: the server took them from its cache, or counts only a part of the time.",
    advice="do not quote this rate as prefill: send a prompt that the server has not seen",
)
def _prefill_too_fast(result: Result) -> str | None:
    if not isinstance(result.summary, ImportedSummary):
        return None
    fastest = max((one.tok_s or 0.0 for one in result.summary.prefill), default=0.0)
    return f"one request's prompt is computed at {fastest:,.0f} tokens/s" if fastest > FASTEST_PREFILL_TOK_S else None


def contradictions(result: Result) -> list[Contradiction]:
    """Return the relations that the figures of a result break."""
    count = result.summary.completed or None
    return find_contradictions(reported_figures(result), equal_lengths=equal_lengths(result), n=count)


def equal_lengths(result: Result) -> bool:
    """Return whether all answers are known to have the same number of tokens."""
    tokens, cap = result.summary.completion_tokens, _cap(result)
    if tokens.min is not None:
        return tokens.min == tokens.max
    return bool(cap is not None and tokens.mean is not None and abs(tokens.mean - cap) < 1e-6 * cap) or (
        result.summary.completed == 1
    )


def reported_figures(result: Result) -> dict[str, PrintedFigure]:
    """Return the figures of a result by name, with their rounding, as `find_contradictions` takes them.

    Rows of this kit are counted one by one, so that only the figures of a result without rows are checked as counts.
    """
    summary, own = result.summary, len(result.requests) > 0
    found = {
        f"{name}.{at}": as_printed(value)
        for name in TIMES
        for at in STATISTICS
        if (value := getattr(summary.distribution(name), at)) is not None
    }
    found |= {name: as_printed(value) for name in RATES if (value := summary.rate(name)) is not None}
    tokens = {
        "completion_tokens.sum": summary.completion_tokens.sum,
        "concurrency_planned": summary.concurrency_planned,
    }
    counts: dict[str, float | None] = {**_counts(summary), **tokens}
    found |= {name: PrintedFigure(float(value)) for name, value in counts.items() if value is not None}
    if (mean := summary.completion_tokens.mean) is not None and not _computed(mean, summary):
        found["completion_tokens.mean"] = as_printed(mean)
    if not own and (cap := _cap(result)) is not None:
        found["max_tokens"] = PrintedFigure(cap)  # an engine that ignores the limit is no contradiction in own rows
    if isinstance(summary, ImportedSummary):
        # Figures of 0 that the importer left out because they cannot be measured.
        found |= {f"{name}.mean": PrintedFigure(0.0) for name in summary.placeholders}
        if summary.total_tok_s is not None:
            found["total_tok_s"] = as_printed(summary.total_tok_s)
        if summary.input_tokens is not None:
            found["prompt_tokens"] = PrintedFigure(summary.input_tokens)
    return found | dict(result.printed)


def _counts(summary: LoadSummary) -> dict[str, float | None]:
    """Return the numbers of requests, as far as the result reports them; `failed` has every other end."""
    ended = summary.completed + summary.failed + summary.cancelled + (summary.lost or 0)
    asked: float | None = summary.requests or None
    if isinstance(summary, ImportedSummary) and (number := summary.requests_asked) is not None:
        asked = number
    completed = summary.completed if ended else None
    return {"requests": asked, "completed": completed, "failed": None if completed is None else ended - completed}


def _computed(mean: float, summary: LoadSummary) -> bool:
    """Return whether an importer computed the mean length from printed rates: it has more digits than they have."""
    rate, wall_s = summary.output_tok_s_total, summary.wall_s
    if summary.completion_tokens.sum is not None or rate is None or wall_s is None:
        return False
    return abs(rate * wall_s - mean * summary.completed) <= 1e-9 * rate * wall_s


def _cap(result: Result) -> float | None:
    return number_at(result.manifest.parameters, "max_tokens")


ARITHMETIC_RULES: tuple[SingleResultRule, ...] = (
    _impossible_figures,
    _missing_requests,
    _time_unaccounted,
    _prefill_too_fast,
)
