"""Format a summary as the text block that a run prints, with the write-up's own quantities where they are asked for."""

import textwrap
from collections.abc import Sequence

from gptoss_bench.runs import Distribution, LoadSummary
from gptoss_bench.stats.client_uncertainty import UNCERTAIN_SHARE, client_pairs, client_text
from gptoss_bench.stats.percentiles import REPORTED_PERCENTILES
from gptoss_bench.stats.summary import FIRST_EVENT_TOKENS
from gptoss_bench.stats.sweep import has_steady_rates

UNKNOWN = "–"
NOT_RESOLVED = "not res."  # a gap of 0: one read brought both events
LABEL_WIDTH = 24
NUMBER_WIDTH = 10
WIDTH = 120

# label, key of the summary, factor from seconds to the unit of the label
ROWS = (
    ("Latency (s)", "done_s", 1.0),
    ("TTFT (s)", "ttft_s", 1.0),
    ("TTFA (s)", "ttfa_s", 1.0),
    ("ITL (ms)", "itl_s", 1e3),
    ("TPOT (ms)", "tpot_s", 1e3),
)
# Those of the write-up, by the percentile rule of its script.
PUBLISHED_ROWS = (ROWS[0], ("TTFT, measured (s)", "ttft_s", 1.0), ("TTFT, by formula (s)", "ttft_formula_s", 1.0))
# Of an open loop: from the time at which a request was due, as a user waits.
SCHEDULED_ROWS = (
    ("Latency from due (s)", "e2e_scheduled_s", 1.0),
    ("TTFT from due (s)", "ttft_scheduled_s", 1.0),
    ("Due to sent (ms)", "client_queue_s", 1e3),
)

NOTE = (
    "Latency: send to the terminating chunk. TTFT: to the first token, reasoning included. TTFA: to the first answer."
)
BY_FORMULA = "By formula: prompt / (prompt + completion tokens) × latency: the write-up's estimate, not a measurement."
UNRESOLVED = "~ not resolved: fewer than 10 samples (of gaps: distinct moments) lie beyond this percentile."
ZERO = "not res.: not resolved, because one read brought both events of most gaps."
HIDDEN = (
    "Latency: send to the terminating chunk. TTFT: to the first visible token: reasoning tokens of {} requests were"
    " counted\nand never arrived. TTFA: to the first answer."
)
BURST = "The server sends its answer in one burst ({} requests): no ITL and no TPOT of them."
SEVERAL = 1.5  # tokens of an event
PER_EVENT = "ITL: between events (chunks), which hold {:.2f} tokens on average: it is not a time per token, TPOT is."
COUNTS = "see the finding no-token-counts"
HINTS = {FIRST_EVENT_TOKENS: f": {COUNTS}"}


def result_block(summary: LoadSummary, *, title_line: str, write_up: bool = False) -> str:
    """Return the text block of one run, without a final newline.

    `summary` is as `summarise` returns it, `title_line` its heading (engine, model, run id, labels). Unknown numbers
    print as a dash, so the block is complete even if every request failed. With `write_up` it also has the quantities
    that the write-up printed, by its percentile rule: its TTFT is a formula.
    """
    main = _percentile_rows(summary, ROWS, "inclusive")
    tpot = summary.tpot_s
    if tpot.n == 0 and tpot.low and tpot.high:
        for label, side in (("  TPOT at least (ms)", tpot.low), ("  TPOT at most (ms)", tpot.high)):
            main.append(_line(label, [_cell(side.at(at), 1e3, resolved=True) for at in REPORTED_PERCENTILES]))
    if summary.rate_planned is not None:
        main = [*_percentile_rows(summary, SCHEDULED_ROWS, "inclusive"), *main]
    published = _percentile_rows(summary, PUBLISHED_ROWS, "exclusive") if write_up else []
    notes = [NOTE]
    if published:
        published.append(_line("  formula / measured", [_ratio(summary, name) for name in REPORTED_PERCENTILES]))
        notes.append(BY_FORMULA)
    if summary.hidden_reasoning:
        notes[0] = HIDDEN.format(summary.hidden_reasoning)
    if summary.burst:
        notes.append(BURST.format(summary.burst))
    if (held := summary.tokens_per_event) is not None and held >= SEVERAL and not summary.hidden_reasoning:
        notes.append(PER_EVENT.format(held))
    if any("~" in row for row in [*main, *published, *(row for block in _sweep(summary) for row in block)]):
        notes.append(UNRESOLVED)
    if any(NOT_RESOLVED in row for row in [*main, *published, *(row for block in _sweep(summary) for row in block)]):
        notes.append(ZERO)
    notes += _why_no_tpot(summary)
    blocks = (
        [title_line, "=" * len(title_line)],
        _totals(summary),
        [_line("percentiles", list(REPORTED_PERCENTILES)), *main],
        *([[_line("as in the write-up", list(REPORTED_PERCENTILES)), *published]] if published else []),
        *_turns(summary),
        *_sweep(summary),
        notes,
    )
    return "\n\n".join("\n".join(block) for block in blocks)


def headline(summary: LoadSummary) -> str:
    """Return rate, TTFT and TPOT of a load in one sentence; what is not known is left out.

    The rate is that of the steady window, else that of the whole run; a TPOT without running counts is its two bounds.
    A median that the client knows too badly to be quoted is left out, and a part of the sentence says what to do.
    """
    parts = []
    quoted = ("ttft_s", "tpot_s")
    late = [pair for pair in client_pairs(summary, UNCERTAIN_SHARE) if pair.at == "p50" and pair.quantity in quoted]
    unknown = {pair.quantity for pair in late}
    rate = summary.output_tok_s or summary.output_tok_s_total
    if rate is not None:
        count = summary.concurrency_planned
        streams = f" with {count} stream{'s' if count > 1 else ''}" if count else ""
        parts.append(f"{rate:,.1f} output tokens/s{streams}")
    then = ""
    if summary.ttft_s.p50 and "ttft_s" not in unknown:
        then = "then "
        parts.append(f"first token after {summary.ttft_s.p50:.3f} s (median)")
    tpot, pair = summary.tpot_s, summary.tpot_s.client_pair("p50")
    if tpot.n and tpot.p50 and "tpot_s" not in unknown:
        parts.append(f"{then}a token every {tpot.p50 * 1e3:.2f} ms (TPOT, median)")
    elif not tpot.n and pair is not None:
        parts.append(f"{then}a token every {pair[0] * 1e3:.2f} to {pair[1] * 1e3:.2f} ms (TPOT, median)")
    if late:
        texts = " and ".join(pair.text for pair in late)
        parts.append(f"do not quote {texts}: the client read late; give it a core of its own and measure again")
    parts.append(f"{summary.completed} of {summary.requests} requests completed")
    return "; ".join(parts)


def _why_no_tpot(summary: LoadSummary) -> list[str]:
    """Return why requests have no TPOT."""
    reasons = [f"{reason} ({count}){HINTS.get(reason, '')}" for reason, count in summary.tpot_missing.items()]
    return [f"No TPOT for {sum(summary.tpot_missing.values())} requests: {', '.join(reasons)}."] if reasons else []


def _totals(summary: LoadSummary) -> list[str]:
    """Return the lines without percentiles: outcomes, rates, client and GPU."""
    window = "no steady window"
    if summary.steady_window_s:
        unknown = "" if summary.output_tok_s is not None else f": the server sends no running token counts ({COUNTS})"
        window = f"steady window of {_number(summary.steady_window_s, 2)} s{unknown}"
    in_flight = _number(summary.concurrency_delivered, 1)
    if summary.rate_planned is None:
        part = f"planned, {in_flight} delivered in the steady window"
        if (held := summary.conversations) is not None:
            part = f"conversations planned; in the steady window {_number(held.in_progress, 1)}, {in_flight} in flight"
        load = _total("Concurrency", summary.concurrency_planned, 0, part)
    else:
        window = window.replace("steady window", "planned window")
        load = _total("Offered load", summary.rate_planned, 2, f"req/s due; {in_flight} in flight on average")
    return [
        _total("Requests", summary.requests, 0, _outcomes(summary)),
        *_first_failure_line(summary),
        *_prompt_lines(summary),
        load,
        _total("Total wall-clock time", summary.wall_s, 2, "s"),
        _total("Requests / second", summary.request_s, 1, "req/s, completed"),
        *_goodput_line(summary),
        _total("Tokens / second", summary.output_tok_s_total, 1, "tok/s, whole run including ramp-up and drain"),
        _total("", summary.output_tok_s, 1, f"tok/s, {window}"),
        _total("Tokens / event", summary.tokens_per_event, 2, "output-bearing events"),
        *_client_lines(summary),
        *_gpu_lines(summary),
    ]


def _first_failure_line(summary: LoadSummary) -> list[str]:
    first = summary.first_failure
    return [] if first is None else [f"{'First failure':<{LABEL_WIDTH}}{'':>{NUMBER_WIDTH}}  {first}"]


def _prompt_lines(summary: LoadSummary) -> list[str]:
    """Return what was sent, and how much of the planned output came, where requests have limits of their own."""
    lines = [] if summary.prompts is None else [f"{'Prompts':<{LABEL_WIDTH}}{'':>{NUMBER_WIDTH}}  {summary.prompts}"]
    limits, got = summary.requested_tokens, summary.completion_tokens
    if limits is not None and limits.sum:
        share = "unknown" if got.sum is None else f"{got.sum / limits.sum:.1%} came"
        each = f"{limits.min}" if limits.min == limits.max else f"{limits.min} to {limits.max}"
        planned = round(limits.sum / limits.mean) if limits.mean else 0
        if planned < summary.completed:  # the others have the limit of the load
            share = f"for {planned} of the {summary.completed} requests"
        part = f"{limits.sum:,} planned, {each} a request: {share}"
        lines.append(_total("Output tokens", got.sum, 0, part))
    return lines


def _goodput_line(summary: LoadSummary) -> list[str]:
    """Return the requests per second that met every limit, if there are limits."""
    if summary.slo is None:
        return []
    limits = ", ".join(f"{name.removesuffix('_s').upper()} ≤ {limit:g} s" for name, limit in summary.slo if limit)
    share, ends = summary.goodput_share, summary.goodput_share_interval
    part = "share unknown" if share is None else f"{share:.1%}"
    part += f" [{ends[0]:.1%}, {ends[1]:.1%}]" if ends else ""
    return [_total("Goodput", summary.goodput_request_s, 2, f"req/s with {limits}: {part} of the requests")]


def _gpu_lines(summary: LoadSummary) -> list[str]:
    """Return power and energy per token, where the GPU reports them."""
    reported = (
        ("GPU power", summary.power_w, 1, "W on average, all GPUs"),
        ("Energy / token", summary.energy_j_per_tok, 3, "J"),
    )
    return [_total(label, value, digits, note) for label, value, digits, note in reported if value is not None]


def _client_lines(summary: LoadSummary) -> list[str]:
    """Return the client's CPU use, lag, event rate, and what is known of its error."""
    client = summary.client
    share = client.cpu_share
    lag, late = client.lag_s, ""
    if lag is not None and lag.p50 is not None and lag.p99 is not None:
        late = f"; read late by {lag.p50 * 1e3:.2g} ms at p50, {lag.p99 * 1e3:.2g} ms at p99"
    lines = [_total("Client", None if share is None else share * 100, 1, f"% of a core{late}")]
    if client.error_bar is not None:
        lines.append(_total("", client.events_s, 0, "events/s"))
        indent = " " * (LABEL_WIDTH + NUMBER_WIDTH + 2)
        lines += textwrap.wrap(client_text(summary), WIDTH, initial_indent=indent, subsequent_indent=indent)
    if client.bound:
        lines.append(f"CLIENT-BOUND: {'; '.join(client.bound)}")
    elif client.bound_unknown:
        lines.append(f"Whether the client was the limit is {client.bound_unknown}")
    return lines


TURN_HEAD = ("turn", "requests", "completed", "TTFT p50 (s)", "95 % interval (s)", "prompt tokens", "from cache")
TURN_WIDTHS = [max(len(name) + 2, 12) for name in TURN_HEAD]
SHOWN_TURNS = 8


def _turns(summary: LoadSummary) -> list[list[str]]:
    """Return a block with one line per turn of the conversations, and one of all turns but the first."""
    held = summary.conversations
    if held is None:
        return []
    named = [(str(number), turn) for number, turn in enumerate(held.turns[:SHOWN_TURNS], 1)]
    named += [("2 and later", held.later)] if len(held.turns) > 1 else []
    cells: list[tuple[str, ...]] = [TURN_HEAD]
    for name, turn in named:
        ends, share = turn.ttft_s.interval, turn.cached_share
        cells.append(
            (
                *(name, str(turn.requests), str(turn.completed), _number(turn.ttft_s.p50, 3)),
                UNKNOWN if ends is None else f"[{ends[0]:.3f}, {ends[1]:.3f}]",
                *(_number(turn.prompt_tokens, 1), UNKNOWN if share is None else f"{share:.1%}"),
            )
        )
    lines = ["".join(f"{cell:>{width}}" for cell, width in zip(line, TURN_WIDTHS, strict=True)) for line in cells]
    return [[f"Conversations: {held.conversations}, of which {held.completed} completed with all their turns", *lines]]


SWEEP_HEAD = (
    "streams",
    "requests",
    "failed",
    "tok/s",
    "TTFT p50 (s)",
    "p99",
    "ITL p50 (ms)",
    "p99",
    "TPOT p50 (ms)",
)
SWEEP_WIDTHS = [max(len(name) + 2, 10) for name in SWEEP_HEAD]


def _sweep(summary: LoadSummary) -> list[list[str]]:
    """Return a block with one line per level of the sweep; no block without a sweep."""
    rows = summary.sweep
    if not rows:
        return []
    cells: list[tuple[str, ...]] = [SWEEP_HEAD]
    steady = has_steady_rates(rows)
    for row in rows:
        ttft, itl, tpot = row.ttft_s, row.itl_s, row.tpot_s
        times = [(ttft.p50, 1.0, ttft.p50_resolved), (ttft.p99, 1.0, ttft.p99_resolved)]
        times += [(itl.p50, 1e3, itl.p50_resolved), (itl.p99, 1e3, itl.p99_resolved)]
        times += [(tpot.p50, 1e3, tpot.p50_resolved)]
        counts = map(str, (row.concurrency, row.requests, row.failed))
        rate = row.output_tok_s if steady else row.output_tok_s_total
        shown = [_cell(*each) for each in times]
        if tpot.n == 0 and tpot.low and tpot.high and tpot.low.p50 is not None and tpot.high.p50 is not None:
            shown[-1] = f"{tpot.low.p50 * 1e3:.3g} to {tpot.high.p50 * 1e3:.3g}"
        cells.append((*counts, _number(rate, 1), *shown))
    lines = ["".join(f"{cell:>{width}}" for cell, width in zip(line, SWEEP_WIDTHS, strict=True)) for line in cells]
    bound = [f"CLIENT-BOUND at {row.concurrency}: {'; '.join(row.client_bound)}" for row in rows if row.client_bound]
    window = "in the steady window" if steady else "over the whole level, ramp-up and drain included"
    head = f"Sweep: one closed loop per level, after the measured load; tok/s {window}"
    prompts = [f"Prompts of the sweep: {rows[0].prompts}"] if rows[0].prompts else []
    return [[head, *prompts, *lines, *bound]]


def _outcomes(summary: LoadSummary) -> str:
    failures = ", ".join(f"{name} {count}" for name, count in summary.failures.items())
    parts = [
        f"{summary.completed} completed",
        f"{summary.failed} failed" + (f" ({failures})" if failures else ""),
        f"{summary.cancelled} cancelled",
    ]
    if summary.never_sent:
        parts[-1] = f"{summary.cancelled - summary.never_sent} cancelled on their way"
        parts.append(f"{summary.never_sent} never sent")
    if summary.lost:
        parts.append(f"{summary.lost} lost with their worker")
    if summary.content_filter:
        parts.append(f"{summary.content_filter} stopped by a content filter")
    if summary.truncated:
        parts.append(f"{summary.truncated} stopped at the token limit")
    if summary.ttfa_missing:
        parts.append(f"{summary.ttfa_missing} without answer text")
    return "; ".join(parts)


def _percentile_rows(summary: LoadSummary, rows: Sequence[tuple[str, str, float]], rule: str) -> list[str]:
    lines = []
    for label, name, scale in rows:
        found = summary.distribution(name) or Distribution()
        values = found if rule == "inclusive" else found.exclusive
        cells = [_cell(values.at(at), scale, found.resolved.at(at)) for at in REPORTED_PERCENTILES]
        lines.append(_line(label, cells))
    return lines


def _ratio(summary: LoadSummary, name: str) -> str:
    formula, measured = (found.exclusive.at(name) for found in (summary.ttft_formula_s, summary.ttft_s))
    return f"{formula / measured:.1f}×" if formula is not None and measured else UNKNOWN


def _cell(value: float | None, scale: float, resolved: bool) -> str:
    if value is None:
        return UNKNOWN
    if value == 0:
        return NOT_RESOLVED
    return f"{value * scale:.3f}" if resolved else f"~{value * scale:.3f}"


def _number(value: float | None, digits: int) -> str:
    return UNKNOWN if value is None else f"{value:.{digits}f}"


def _total(label: str, value: float | None, digits: int, note: str) -> str:
    return f"{label:<{LABEL_WIDTH}}{_number(value, digits):>{NUMBER_WIDTH}}  {note}"


def _line(label: str, cells: Sequence[str]) -> str:
    return f"{label:<{LABEL_WIDTH}}" + "".join(f"{cell:>{NUMBER_WIDTH}}" for cell in cells)
