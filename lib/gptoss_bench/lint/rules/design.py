"""Rules on the design of a measurement: its load, its length, its prompts and answers, its repeats."""

import re

from gptoss_bench.importers import ImportedSummary
from gptoss_bench.lint.results import Result
from gptoss_bench.lint.rules.rule import SingleResultRule, rule
from gptoss_bench.runs import number_at, value_at
from gptoss_bench.stats import measured_rows, non_null

FEWEST_WAVES = 10
SHORTEST_S = 30.0
LENGTHS_FACTOR = 2.0
SEVERAL_TOKENS = 1.1
SWEEP_SHARE = 0.10
ABOVE_CAPACITY = 0.05
BEST_OF = re.compile(r"\bbest\s+(?:result\s+)?(?:out\s+)?of\s+(?!1\b)\d+|\bbest run\b", re.IGNORECASE)
MIXTURES = re.compile(r"gpt[-_]?oss|mixtral|\bmoe\b|deepseek|qwen3.*a\d+b", re.IGNORECASE)


@rule(
    "too-short",
    "warning",
    reason="In a short run the beginning and the end, where slots fill and drain, are a large part of the result.",
    advice="send at least 10 requests a slot, and for half a minute or longer",
)
def _too_short(result: Result) -> str | None:
    summary = result.summary
    if result.stand_in or summary.completed < 2:
        return None
    found = []
    if summary.wall_s is not None and 0 < summary.wall_s < SHORTEST_S:
        found.append(f"the load took {summary.wall_s:.3g} s")
    if (slots := summary.concurrency_planned) and summary.completed < FEWEST_WAVES * slots:
        found.append(f"{summary.completed / slots:.1f} requests a slot ({summary.completed} in all)")
    return "; ".join(found) or None


@rule(
    "single-trial",
    "note",
    reason="One run does not show how much the next one differs.",
    advice="repeat the run at least three times, and state the spread",
)
def _single_trial(result: Result) -> str | None:
    if result.stand_in or result.manifest.repeat_group:
        return None
    summary = result.summary
    if isinstance(summary, ImportedSummary) and (rates := [*summary.prefill, *summary.decode]):
        once = [one for one in rates if one.n == 1]
        return f"{len(once)} of {len(rates)} tests have one repetition" if once else None
    return "this is one run" if summary.completed else None


@rule(
    "best-of-n",
    "warning",
    reason="The best of several runs is better than a typical run: the more runs, the larger the difference.",
    advice="give the median of all runs and their spread",
)
def _best_of_n(result: Result) -> str | None:
    """Also vLLM's `best_of`: the server then generates several answers and counts one."""
    several = number_at(result.manifest.parameters, "best_of")
    if several is not None and several > 1:
        return f"best_of is {several:g}: the server generates {several:g} answers for each that is counted"
    said = next((match[0] for note in result.manifest.notes if (match := BEST_OF.search(note))), None)
    return f"the result is the “{said}”" if said else None


@rule(
    "load-unnamed",
    "note",
    reason="A closed loop slows down with the server, an open loop does not: without the kind of load and its size, a"
    " rate or a time says little.",
    advice="state the number of requests in flight, or the rate at which they were sent",
)
def _load_unnamed(result: Result) -> str | None:
    summary = result.summary
    known = summary.concurrency_planned is not None or summary.rate_planned is not None
    known = known or value_at(result.manifest.parameters, "request_rate") is not None
    if known or summary.completed < 2:
        return None
    return "neither the requests in flight nor the rate at which they were sent is stated"


@rule(
    "rate-above-capacity",
    "warning",
    reason="Requests that come faster than the server completes them wait in a growing queue: TTFT and latency then"
    " depend on the number of requests.",
    advice="send below the capacity, or limit the requests in flight",
)
def _rate_above_capacity(result: Result) -> str | None:
    summary = result.summary
    offered = _offered(result)
    if offered is None or summary.request_s is None or summary.completed < 2:
        return None
    if offered == float("inf"):
        slots = summary.concurrency_planned
        return None if slots and slots < summary.completed else "all requests were sent at once"
    if offered <= summary.request_s * (1 + ABOVE_CAPACITY):
        return None
    return f"{offered:g} requests/s were sent, {summary.request_s:.4g} completed"


def _offered(result: Result) -> float | None:
    try:
        return float(str(value_at(result.manifest.parameters, "request_rate")))
    except ValueError:
        return None


@rule(
    "lengths-unequal",
    "note",
    reason="Where answers have very different lengths, the latency mostly shows how long they are.",
    advice="compare TTFT and TPOT, or make the answers equally long (ignore_eos)",
)
def _lengths_unequal(result: Result) -> str | None:
    tokens = result.summary.completion_tokens
    planned = result.summary.requested_tokens  # a mix of lengths is then what was to be measured
    if (
        result.stand_in
        or planned is not None
        or not tokens.min
        or tokens.max is None
        or tokens.max <= LENGTHS_FACTOR * tokens.min
    ):
        return None
    return f"answers have {tokens.min} to {tokens.max} tokens"


@rule(
    "one-prompt-experts",
    "warning",
    reason="In a mixture of experts, equal texts use equal experts: the server reads fewer weights for a token than it"
    " does for the prompts of several users.",
    advice="send distinct prompts: with one prompt decode is faster than it would be in use",
)
def _one_prompt_experts(result: Result) -> str | None:
    rows, slots = measured_rows(result.requests), result.summary.concurrency_planned or 1
    model = result.manifest.server.model or ""
    if result.stand_in or slots < 2 or len(rows) < 2 or rows["prompt_id"].nunique() != 1:
        return None
    return f"{slots} streams of {model} generate from the same prompt" if MIXTURES.search(model) else None


@rule(
    "several-tokens-a-chunk",
    "note",
    reason="A gap between chunks is then not the time of one token.",
    advice="use TPOT for the time of a token",
)
def _several_tokens_a_chunk(result: Result) -> str | None:
    summary = result.summary
    each = summary.tokens_per_event
    if isinstance(summary, ImportedSummary) and summary.tokens_per_chunk is not None:
        each = summary.tokens_per_chunk
    if result.stand_in or each is None or each <= SEVERAL_TOKENS or not (summary.itl_s.n or summary.itl_s.mean):
        return None
    return f"a chunk has {each:.2f} tokens on average, and ITL is the gap between chunks"


@rule(
    "steady-differs-from-sweep",
    "warning",
    reason="The same load of the same run gave two rates: the machine or the server changed in between.",
    advice="quote neither of the two: find the cause, or measure again",
)
def _steady_differs_from_sweep(result: Result) -> str | None:
    steady, slots = result.summary.output_tok_s, result.summary.concurrency_planned
    level = next((row for row in result.summary.sweep if row.concurrency == slots), None)
    if level is None or (level.prompts and result.summary.prompts and level.prompts != result.summary.prompts):
        return None  # other prompts are another load
    same = level.output_tok_s
    if not steady or not same or abs(same / steady - 1) <= SWEEP_SHARE:
        return None
    return (
        f"{steady:.1f} tokens/s with {slots} requests in flight, {same:.1f} ({same / steady - 1:+.0%}) in the sweep of"
        " the same run"
    )


@rule(
    "version-unknown",
    "note",
    reason="One version of an engine can be twice as fast as the next.",
    advice="state the engine and its version with each figure",
)
def _version_unknown(result: Result) -> str | None:
    server = result.manifest.server
    if server.version or not (result.summary.completed or len(non_null(result.requests["done_s"]))):
        return None
    return f"the version of {server.engine} is unknown" if server.engine else "engine and version are unknown"


DESIGN_RULES: tuple[SingleResultRule, ...] = (
    _too_short,
    _single_trial,
    _best_of_n,
    _load_unnamed,
    _rate_above_capacity,
    _lengths_unequal,
    _one_prompt_experts,
    _several_tokens_a_chunk,
    _steady_differs_from_sweep,
    _version_unknown,
)
