"""Summarise the request and event tables of a run: one record, which figures, reports and verdicts quote.

Only requests of the phase "measure" count. Times are in seconds. An unknown value is None, never 0 and never NaN.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from gptoss_bench.runs import (
    PHASE_INFERENCE,
    ClientLoad,
    Distribution,
    LoadSummary,
    Median,
    PercentileIntervals,
    Percentiles,
    Resolved,
    RunIntervals,
    SamplingInterval,
    ServerReported,
    Slo,
    TailIntervals,
    TokenCounts,
    TokenRange,
)
from gptoss_bench.stats.bootstrap import (
    SendOrder,
    closed_loop_order,
    longest_queue_wait_s,
    open_loop_order,
    percentile_interval,
    ratio_interval,
)
from gptoss_bench.stats.client_pauses import packed_share, slot_idle_share
from gptoss_bench.stats.client_uncertainty import BOUNDED, resolve_by_moments, set_client_pairs
from gptoss_bench.stats.conversations import conversation_summary, think_s
from gptoss_bench.stats.goodput import slo_goodput
from gptoss_bench.stats.percentiles import MOMENT_NS, REPORTED_PERCENTILES, Floats, Values, non_null, percentile
from gptoss_bench.stats.row_selection import measured_rows, rows_where, server_decode_rate
from gptoss_bench.stats.steady_state import (
    Window,
    concurrency_delivered,
    fleet_window,
    planned_window,
    steady_window,
    was_due,
)
from gptoss_client import NS_PER_S, one_line

# Columns of the event table that are read one set after the other: millions of events are never in memory as a whole.
FLOW_COLUMNS = ("request_id", "phase", "arrival_ns", "output", "tokens")
LAG_COLUMNS = ("request_id", "phase", "output", "lag_ns")
GAP_COLUMNS = ("request_id", "phase", "itl_s")
OFFERED = "the arrivals of an open loop decide it, as long as the server keeps up"
BOUND_COLUMNS = (*GAP_COLUMNS, "itl_low_s", "itl_high_s", "arrival_ns")

PER_TOKEN_COLUMNS = ("tpot_s", "tpot_low_s", "tpot_high_s")
HTTP_OK = 200
FIRST_FAILURE_CHARS = 120  # of the error that a server sent
FIRST_EVENT_TOKENS = "the tokens of the first event are unknown"  # a reason for no TPOT
BURST_EVENTS = 3  # fewer may well be one token's time apart
BURST_SHARE = 0.05  # of TTFT

ReadColumns = Callable[[Sequence[str]], pd.DataFrame]


def summarise(
    requests: pd.DataFrame,
    events: pd.DataFrame | ReadColumns,
    *,
    concurrency: int | None,
    phase: str = "measure",
    slo: Slo | None = None,
    full_length: bool = False,
    unsent: Mapping[str, int] | None = None,
) -> LoadSummary:
    """Return the summary of a run: counts, rates, and distributions over completed requests.

    `itl_s` is over the pooled gaps of completed requests.

    Args:
        requests: Request table.
        events: Event table, or a function that reads columns of it by their names.
        concurrency: Number of slots that was planned; None for an open loop, whose requests are due at their times.
        phase: The phase whose requests count.
        slo: Limits of a good request; without one, goodput is null.
        unsent: Number of requests by phase that were never sent because the load was stopped, if `requests` lacks them.
        full_length: Whether every answer was to run up to the token limit: then one that did is a good one.
    """
    read: ReadColumns = events if callable(events) else lambda names: events.reindex(columns=list(names))
    requests, left_out = measured_rows(requests, phase), (unsent or {}).get(phase, 0)
    completed = requests[requests["outcome"] == "completed"]
    burst = _in_a_burst(completed)
    if burst.any():
        completed = completed.assign(**{name: completed[name].mask(burst) for name in PER_TOKEN_COLUMNS})
    streamed = completed[~burst]
    flow = measured_rows(read(FLOW_COLUMNS), phase)
    window = _window(requests, flow, concurrency, phase)
    wall_s = _wall_s(requests, flow)
    events_s = len(flow) / wall_s if wall_s else None
    output_tok_s = _steady_rate(_of(flow, completed), window)
    del flow
    lag_s = _lags(_of(measured_rows(read(LAG_COLUMNS), phase), completed))
    order_of = _send_order(requests, window, concurrency)
    order = order_of(completed)
    gaps_s, owners = _gaps(_of(measured_rows(read(GAP_COLUMNS), phase), streamed))
    itl_s, shared = _distribution(gaps_s, owners, order), float((gaps_s == 0).mean()) if len(gaps_s) else None
    del gaps_s, owners
    bounded = _of(measured_rows(read(BOUND_COLUMNS), phase), streamed)
    set_client_pairs(itl_s, bounded, "itl_s")
    resolve_by_moments(itl_s, bounded)
    del bounded
    generated = _if_all_known(completed["completion_tokens"])
    failures = requests["failure"].value_counts().sort_index()
    ids = completed["request_id"].to_numpy()
    outcomes = {name: int((requests["outcome"] == name).sum()) for name in ("completed", "failed", "cancelled")}
    prompt, answer = _extremes(completed["prompt_tokens"]), _extremes(completed["completion_tokens"])
    goodput = slo_goodput(requests, completed, slo, window, order_of, full_length=full_length)
    found = LoadSummary(
        requests=len(requests) + left_out,
        completed=outcomes["completed"],
        failed=outcomes["failed"],
        cancelled=outcomes["cancelled"] + left_out,
        failures={str(name): int(count) for name, count in failures.items()},
        truncated=int(completed["truncated"].sum()),
        ttfa_missing=int(completed["ttfa_s"].isna().sum()),
        hidden_reasoning=_hidden_reasoning(completed),
        tpot_missing=_tpot_missing(completed, burst),
        wall_s=wall_s,
        request_s=len(completed) / wall_s if wall_s else None,
        output_tok_s_total=generated / wall_s if wall_s and generated is not None else None,
        output_tok_s=output_tok_s,
        steady_window_s=_length_s(window) if window else None,
        steady_window_ns=window,
        concurrency_planned=concurrency,
        concurrency_delivered=concurrency_delivered(requests, *window) if window else None,
        prompt_tokens=TokenRange(min=prompt[0], max=prompt[1]),
        completion_tokens=TokenCounts(
            sum=generated, mean=_mean(completed["completion_tokens"]), min=answer[0], max=answer[1]
        ),
        tokens_per_event=_tokens_per_event(completed),
        percentile_rule="inclusive",
        ttft_s=_distribution(completed["ttft_s"], ids, order),
        ttfa_s=_distribution(completed["ttfa_s"], ids, order),
        ttfc_s=_distribution(completed["ttfc_s"], ids, order),
        tpot_s=_distribution(completed["tpot_s"], ids, order),
        e2e_s=_distribution(completed["e2e_s"], ids, order),
        done_s=_distribution(completed["done_s"], ids, order),
        ttft_formula_s=_distribution(completed["ttft_formula_s"], ids, order),
        client_queue_s=_distribution(completed["client_queue_s"], ids, order),
        connect_s=_distribution(completed["connect_s"], ids, order),
        itl_s=itl_s,
        server=_server(completed, order),
        client=ClientLoad(
            timestamp_source="+".join(sorted(completed["timestamp_source"].dropna().unique())) or None,
            lag_s=lag_s,
            shared_read_share=shared,
            events_s=events_s,
            cpu_s=None,
            cpu_share=None,
        ),
        goodput_request_s=goodput.request_s,
        goodput_share=goodput.share,
        goodput_share_interval=goodput.share_interval,
    )
    if (first := _first_failure(requests)) is not None:
        found.first_failure = first
    if slo is not None:
        found.slo = slo
    if concurrency is None:
        due_ns = requests.loc[was_due(requests), "scheduled_ns"]
        later = (
            int((due_ns <= window[1]).sum()) - 1 if window else 0
        )  # turns that are due after the window count in none
        found.rate_planned = later / _length_s(window) if window else None
        for name in ("ttft_scheduled_s", "e2e_scheduled_s"):
            setattr(found, name, _distribution(completed[name], ids, order))
    elif (idle := slot_idle_share(requests, window, concurrency)) is not None:
        found.slot_idle_share = idle
    median_ttft = partial(_median_ttft, order=order)
    if (held := conversation_summary(requests, window, median_ttft)) is not None:
        found.conversations = held
    _set_where_seen(found, completed, int(burst.sum()))
    if never_sent := left_out + int(((requests["outcome"] == "cancelled") & requests["sent_ns"].isna()).sum()):
        found.never_sent = never_sent
    found.intervals = _run_intervals(found, completed, order)
    for name in BOUNDED.keys() - {"itl_s"}:
        set_client_pairs(found.distribution(name), completed, name)
    return found


def _set_where_seen(found: LoadSummary, completed: pd.DataFrame, burst: int) -> None:
    """Set the fields that a summary has only where there is something to say."""
    if filtered := int((completed["finish_reason"] == "content_filter").sum()):
        found.content_filter = filtered
    if burst:
        found.burst = burst
    if (packed := packed_share(completed)) is not None:
        found.packed_share = packed
    if len(limits := non_null(completed["max_tokens"].astype("float64"))):
        found.requested_tokens = TokenCounts(
            sum=int(limits.sum()), mean=float(limits.mean()), min=int(limits.min()), max=int(limits.max())
        )


def _window(requests: pd.DataFrame, events: pd.DataFrame, concurrency: int | None, phase: str) -> Window | None:
    """Return the window in which the rates of a load count."""
    if concurrency is None:
        return planned_window(requests)
    if "shard" in requests:
        return fleet_window(requests, events, concurrency=concurrency, phase=phase)
    return steady_window(requests, events, concurrency=concurrency, phase=phase)


def _send_order(
    requests: pd.DataFrame, window: Window | None, concurrency: int | None
) -> Callable[[pd.DataFrame], SendOrder]:
    """Return what gives the order in which rows of a load were sent, for the intervals of its figures."""
    if concurrency is not None:
        return partial(closed_loop_order, window_ns=window, concurrency=concurrency)
    return partial(open_loop_order, longest_queue_wait_s=longest_queue_wait_s(requests))


def energy_summary(summary: LoadSummary) -> tuple[float | None, float | None]:
    """Return the power (W) of all GPUs during inference and the energy per token (J) of a summary with telemetry.

    Both are None where the GPU does not report them (a vGPU) or the engine is on another machine. Energy is never
    estimated from power.
    """
    telemetry, tokens = summary.telemetry, summary.completion_tokens.sum
    if telemetry is None:
        return None, None
    phase = telemetry.gpu.by_phase.get(PHASE_INFERENCE)
    power_w = phase.power_w if phase is not None and telemetry.engine_here else None
    return power_w, telemetry.energy_j / tokens if telemetry.energy_j is not None and tokens else None


def _wall_s(requests: pd.DataFrame, events: pd.DataFrame) -> float | None:
    """Return the time from the first send to the last event or byte of any request, failed ones included."""
    ends = [
        int(timestamps.max()) for timestamps in (requests["done_ns"].dropna(), events["arrival_ns"]) if len(timestamps)
    ]
    return (max(ends) - int(requests["sent_ns"].min())) / NS_PER_S if ends else None


def _length_s(window: Window) -> float:
    return (window[1] - window[0]) / NS_PER_S


def _all_counted(counted: pd.DataFrame) -> bool:
    """Return whether the tokens of every event are known; otherwise the tokens within a window are unknown."""
    return len(counted) > 0 and bool(counted["tokens"].notna().all())


def _of(events: pd.DataFrame, requests: pd.DataFrame) -> pd.DataFrame:
    return rows_where(events, events["request_id"].isin(requests["request_id"]))


def _steady_rate(counted: pd.DataFrame, window: Window | None) -> float | None:
    """Return tokens per second in the window; tokens that arrive exactly at its start belong to the time before it."""
    if not window or not _all_counted(counted):
        return None
    start, end = window
    inside = (counted["arrival_ns"] > start) & (counted["arrival_ns"] <= end)
    return int(counted.loc[inside, "tokens"].sum()) / _length_s(window)


def _if_all_known(counts: pd.Series) -> int | None:
    return int(counts.sum()) if len(counts) and counts.notna().all() else None


def _extremes(counts: pd.Series) -> tuple[int, int] | tuple[None, None]:
    there = counts.dropna()
    return (int(there.min()), int(there.max())) if len(there) else (None, None)


def _mean(values: pd.Series) -> float | None:
    there = non_null(values)
    return float(there.mean()) if len(there) else None


def _tokens_per_event(completed: pd.DataFrame) -> float | None:
    """Return tokens per output-bearing event, over the requests that report both."""
    reported = completed[completed["completion_tokens"].notna() & (completed["output_events"] > 0)]
    events = int(reported["output_events"].sum())
    return int(reported["completion_tokens"].sum()) / events if events else None


def _first_failure(requests: pd.DataFrame) -> str | None:
    """Return HTTP status and error of the failed request that was sent first, as one line; None without one."""
    failed = requests[requests["outcome"] == "failed"].sort_values("sent_ns", na_position="last", kind="stable")
    if failed.empty:
        return None
    first = failed.iloc[0]
    error = one_line(first["error"], FIRST_FAILURE_CHARS) if isinstance(first["error"], str) else ""
    status = f"status {first['status']}" if pd.notna(first["status"]) and first["status"] != HTTP_OK else ""
    return ": ".join(part for part in (status, error) if part) or str(first["failure"])


def _hidden_reasoning(completed: pd.DataFrame) -> int | None:
    """Return how many requests have reasoning tokens that never arrived; None if no count is reported."""
    reported = completed["reasoning_tokens"]
    if not reported.notna().any():
        return None
    return int(((reported > 0) & (completed["reasoning_chars"] == 0)).fillna(False).sum())


def _in_a_burst(completed: pd.DataFrame) -> "pd.Series[bool]":
    """Return which requests got all their output at once, at the end of the wait for the first token.

    All of it came within one moment, and the client is known not to have read it late.
    """
    at_once = completed["e2e_s"] - completed["ttft_s"] <= MOMENT_NS / NS_PER_S
    by_server = completed["e2e_s"] - completed["ttft_low_s"] <= BURST_SHARE * completed["ttft_s"]
    return (completed["output_events"] >= BURST_EVENTS) & at_once & by_server


def _tpot_missing(completed: pd.DataFrame, burst: "pd.Series[bool]") -> dict[str, int]:
    """Return how many requests have no TPOT, by reason."""
    without = completed[completed["tpot_s"].isna()]
    total, shown = (without[name].astype("Float64") for name in ("completion_tokens", "output_events"))
    conditions = {
        "all in one burst": burst[without.index],
        "no count of tokens": total.isna(),
        "fewer than two events with text": (shown < 2).fillna(False),
        "more events with text than tokens": (shown > total).fillna(False),
    }
    reasons = np.select([*conditions.values()], [*conditions], FIRST_EVENT_TOKENS)
    return {
        str(reason): int(count) for reason, count in pd.Series(reasons, dtype="str").value_counts().sort_index().items()
    }


def _distribution(values: Values, request_ids: npt.NDArray[Any], order: SendOrder) -> Distribution:
    samples, owners = _known(values, request_ids)
    inclusive = {name: percentile(samples, p) for name, p in REPORTED_PERCENTILES.items()}
    exclusive = {name: percentile(samples, p, "exclusive").value for name, p in REPORTED_PERCENTILES.items()}
    intervals = {
        name: percentile_interval(found.value, samples, owners, REPORTED_PERCENTILES[name], order)
        for name, found in inclusive.items()
    }
    for name, found in inclusive.items():
        if intervals[name].ends and not found.resolved:
            intervals[name] = SamplingInterval(why="not resolved: fewer than 10 samples lie beyond it")
    return Distribution(
        n=len(samples),
        mean=float(samples.mean()) if len(samples) else None,
        p50=inclusive["p50"].value,
        p90=inclusive["p90"].value,
        p99=inclusive["p99"].value,
        p50_interval=intervals["p50"].ends,
        resolved=Resolved(**{name: found.resolved for name, found in inclusive.items()}),
        exclusive=Percentiles(**exclusive),
        intervals=PercentileIntervals(**intervals),
    )


def _run_intervals(summary: LoadSummary, completed: pd.DataFrame, order: SendOrder) -> RunIntervals:
    """Return the intervals of the rates, of the wall time and of the high percentiles.

    By Little's law a rate is the number of requests in flight, times the tokens of a request over its seconds. The wall
    time is that of the same number of requests at a rate within its interval.
    """
    rows = completed[completed["done_s"].notna()]
    # of a slot that holds conversations also the time in which their users think
    seconds, ids = (rows["done_s"] + think_s(rows)).to_numpy("float64"), rows["request_id"].to_numpy()
    tokens = rows["completion_tokens"].to_numpy("float64", na_value=np.nan)
    found, why = RunIntervals(), dict[str, str]()
    counts = {"request_s": np.ones(len(rows)), "output_tok_s_total": tokens, "output_tok_s": tokens}
    if summary.rate_planned is not None:
        why, counts = dict.fromkeys((*counts, "wall_s"), OFFERED), {}
    for name, counted in counts.items():
        rate, total = summary.rate(name), float(counted.sum())
        known = rate is not None and total > 0
        scale = rate * float(seconds.sum()) / total if rate is not None and total > 0 else 1.0
        interval = ratio_interval(rate if known else None, counted, seconds, ids, order, scale=scale)
        setattr(found, name, interval.ends)
        why |= {name: interval.why} if interval.why else {}
    if found.request_s and found.request_s[0] > 0:
        found.wall_s = (summary.completed / found.request_s[1], summary.completed / found.request_s[0])
    else:
        found.wall_s, why["wall_s"] = None, why.get("request_s", "its interval has no end")
    found.why = why
    for name in ("ttft_s", "done_s"):
        of = summary.distribution(name)
        setattr(found, name, TailIntervals(p90=of.interval("p90").ends, p99=of.interval("p99").ends))
    return found


def _known(values: Values, request_ids: npt.NDArray[Any]) -> tuple[Floats, npt.NDArray[Any]]:
    """Return the values that are not null, and the request of each."""
    numbers = np.asarray(values, dtype="float64")
    there = ~np.isnan(numbers)
    return (numbers, request_ids) if there.all() else (numbers[there], request_ids[there])


def _lags(counted: pd.DataFrame) -> Percentiles | None:
    """Return how late the client read output-bearing events (s); None without kernel timestamps."""
    lag_s = non_null(counted["lag_ns"][counted["output"]].to_numpy("float64", na_value=np.nan)) / NS_PER_S
    if not len(lag_s):
        return None
    return Percentiles(**{name: percentile(lag_s, p).value for name, p in REPORTED_PERCENTILES.items()})


def _gaps(counted: pd.DataFrame) -> tuple[Floats, npt.NDArray[Any]]:
    """Return the known gaps (s) and the request of each. A gap is 0 where one read brought both of its ends."""
    gaps_s = counted["itl_s"].to_numpy()
    there = ~np.isnan(gaps_s)
    return gaps_s[there], counted["request_id"].to_numpy()[there]


def _server(completed: pd.DataFrame, order: SendOrder) -> ServerReported | None:
    """Return what the server reported: decode rate per request (its tokens over its seconds) and its durations.

    The rate is the server's own "eval rate": its time begins with the first of N tokens, so the rate is N / (N - 1)
    times that of its tokens, and for one token there is none. There is no prompt rate, because Ollama counts cached
    tokens in the prompt but does not time them.
    """
    reported = completed[completed["server_source"].notna()]
    if reported.empty:
        return None
    rate = server_decode_rate(reported)
    ids = reported["request_id"].to_numpy()
    durations = ("prompt_s", "load_s", "eval_s", "total_s", "wait_s")
    return ServerReported(
        source="+".join(sorted(reported["server_source"].unique())),
        tok_s=_median(rate, ids, order),
        **{name: _median(reported[f"server_{name}"], ids, order) for name in durations},
    )


def _median_ttft(completed: pd.DataFrame, order: SendOrder) -> Median:
    return _median(completed["ttft_s"], completed["request_id"].to_numpy(), order)


def _median(values: pd.Series, request_ids: npt.NDArray[Any], order: SendOrder) -> Median:
    samples, owners = _known(values, request_ids)
    found = percentile(samples, 50)
    interval = percentile_interval(found.value, samples, owners, 50, order)
    return Median(n=found.n, p50=found.value, interval=interval.ends, why=interval.why)
