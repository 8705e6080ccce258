"""Compare a client's request and event tables with the send log of a reference server: the errors of its times.

The tables are those of a run. Used are `request_id`, `sent_ns`, `ttft_s` of the requests and `request_id`, `event`,
`arrival_ns`, `itl_s` and, if the client records it, `lag_ns` of the events.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from gptoss_bench.calibration.loads import CalibrationLoad
from gptoss_bench.calibration.reference.stream import STREAM_ID
from gptoss_bench.runs import CalibrationLevel, Condition, ErrorSpread, Run
from gptoss_bench.stats import (
    CLIENT_BOUND_CPU_SHARE,
    MIN_SAMPLES_BEYOND,
    client_bound,
    enough_moments,
    heartbeat_lateness,
    percentile,
    summarise,
)
from gptoss_client import NS_PER_S, RunFailed, Trace

KIT_CLIENT, STOCK_CLIENT = "gptoss_bench", "stock httpx"  # values of CalibrationLevel.client
TRUSTED_ERROR_SHARE = 0.05  # of the median ITL
OUTSIDE_SLACK_NS = 1_000_000  # by which the kernel may deliver after the send has returned


class ClientTables(NamedTuple):
    """What a client reports of a load: request table, event table, and the server's stream number by request_id."""

    requests: pd.DataFrame
    events: pd.DataFrame
    streams: "pd.Series[int]"


class LevelSample(NamedTuple):
    """One repeat of a load: the request table, the result of `match_events`, TTFT errors in s, share of one core.

    `bound` is whether the client limited it by the rule for runs (`stats.client_bound`), None if that is unknown.
    """

    requests: pd.DataFrame
    matched: pd.DataFrame
    ttft_errors: "pd.Series[float]"
    cpu_share: float
    bound: bool | None = None


def measured_tables(run: Run) -> ClientTables:
    """Return the tables of the measured phase of a run against a reference server."""
    requests, events = (table[table["phase"] == "measure"] for table in (run.requests, run.events))
    streams = stream_numbers(run.traces())
    return ClientTables(requests, events, streams[streams.index.isin(requests["request_id"])])


def run_sample(run: Run, log: pd.DataFrame, concurrency: int, cpu_share: float) -> LevelSample:
    """Return what a run of the kit's client against a reference server shows; arguments as in `compare_with_log`."""
    found = summarise(run.requests, run.event_columns, concurrency=concurrency)
    found.client.cpu_share = cpu_share
    if pauses := run.pauses:
        found.client.heartbeat_late_s = heartbeat_lateness(pauses, run.requests)
    reasons, unknown = client_bound(found)
    sample = compare_with_log(measured_tables(run), log, cpu_share)
    return sample._replace(bound=None if unknown and not reasons else bool(reasons))


def compare_with_log(tables: ClientTables, log: pd.DataFrame, cpu_share: float) -> LevelSample:
    """Return what one repeat of a load shows: tables of the client joined with the send log of the reference server.

    `cpu_share` is the share of one core that the client used.
    """
    requests, events, streams = tables
    matched, ttft_errors = match_events(events, streams, log), ttft_errors_s(requests, streams, log)
    return LevelSample(requests, matched, ttft_errors, cpu_share)


def stream_numbers(traces: Iterable[Trace]) -> pd.Series:
    """Return the server's stream number by request_id, read from the bytes of each reply."""
    found = {}
    for trace in traces:
        if match := STREAM_ID.search(b"".join(piece for _, piece in trace.pieces)):
            found[trace.request_id] = int(match[1])
    return pd.Series(found, dtype="int64", name="stream")


def match_events(events: pd.DataFrame, streams: pd.Series, log: pd.DataFrame) -> pd.DataFrame:
    """Join the events of a client with those of the send log on stream and event, keeping events of one side only.

    `_merge` is "both" if both sides have the event. Added columns: `arrival_error_s` (arrival minus send),
    `itl_error_s` (the client's gap minus the gap between sends; NaN if there is no gap) and `late_s` (send minus due).
    """
    optional = [name for name in ("lag_ns", "not_before_ns") if name in events]
    received = events[["request_id", "event", "arrival_ns", "itl_s", *optional]]
    received = received.assign(stream=received["request_id"].map(streams).astype("Int64"))
    sent = log[log["stream"].isin(streams) & (log["kind"] != "refused")]
    found = sent.merge(received, on=["stream", "event"], how="outer", indicator=True).sort_values(["stream", "event"])
    outputs = found[found["output"].eq(True)]
    sent_gap_s = outputs.groupby("stream")["sent_ns"].diff().astype("float64") / NS_PER_S
    found["itl_error_s"] = found["itl_s"] - sent_gap_s.reindex(found.index)
    found["arrival_error_s"] = (found["arrival_ns"] - found["sent_ns"]).astype("float64") / NS_PER_S
    found["late_s"] = (found["sent_ns"] - found["due_ns"]).astype("float64") / NS_PER_S
    return found.reset_index(drop=True)


def true_ttft_s(log: pd.DataFrame, streams: pd.Series) -> pd.Series:
    """Return the server's TTFT of `streams`, with their index: from request arrival to the send of the first token."""
    first = log[log["output"]].sort_values("event").groupby("stream").first()
    return streams.map((first["sent_ns"] - first["asked_ns"]) / NS_PER_S)


def ttft_errors_s(requests: pd.DataFrame, streams: pd.Series, log: pd.DataFrame) -> pd.Series:
    """Return by request_id the client's TTFT minus the server's, from request arrival to the send of the first token.

    The error includes both ends: a send time that is too early, and a first token that is read too late.
    """
    rows = requests.set_index("request_id")
    return rows["ttft_s"] - true_ttft_s(log, streams).reindex(rows.index)


def summarise_level(
    client: str,
    load: CalibrationLoad,
    samples: Sequence[LevelSample],
    *,
    condition: Condition = "idle",
    quick: bool = False,
) -> CalibrationLevel:
    """Summarise one load of one client over its repeats; the errors of all repeats are pooled.

    Args:
        client: Name of the client.
        load: The load.
        samples: One per repeat.
        condition: Of the CPUs.
        quick: Whether the percentiles beyond the median are left out: one short repeat says too little about them.
    """
    found = pd.concat([sample.matched for sample in samples], keys=range(len(samples)), names=["repeat", None])
    both = found[found["_merge"] == "both"]
    outputs = both[both["output"].eq(True)]
    itl_p50 = percentile(both["itl_s"], 50).value
    lag = both["lag_ns"] / NS_PER_S if "lag_ns" in both else pd.Series(dtype="float64", index=both.index[:0])
    arrivals, known = both["arrival_ns"], both
    spread = partial(_spread, quick=quick)
    errors = (
        _ttft_spread(samples, quick),
        spread(both["itl_error_s"], arrivals),
        spread(outputs["arrival_error_s"], outputs["arrival_ns"]),
    )
    cpu_share = float(np.mean([sample.cpu_share for sample in samples]))
    bounds = {sample.bound for sample in samples}
    if "not_before_ns" in both:
        known = both[both["not_before_ns"].notna()]
    rates = [rate for sample in samples if (rate := _events_s(sample))]
    return CalibrationLevel(
        client=client,
        kind=load.kind,
        condition=condition,
        streams=load.streams,
        tokens_s=load.tokens_s,
        repeats=len(samples),
        events=len(both),
        offered_events_s=load.streams * load.tokens_s,
        unmatched=len(found) - len(both),
        events_s=float(np.mean(rates)) if rates else 0.0,
        cpu_share=cpu_share,
        itl_p50_ms=None if itl_p50 is None else itl_p50 * 1e3,
        ttft_error=errors[0],
        itl_error=errors[1],
        arrival_error=errors[2],
        lag=spread(lag, arrivals.reindex(lag.index)),
        server_late=spread(both["late_s"], both["sent_ns"]),
        exact_share=_share(known, lambda rows: rows["not_before_ns"] == rows["arrival_ns"]),
        outside_share=_share(known, lambda rows: rows["sent_after_ns"] + OUTSIDE_SLACK_NS < rows["not_before_ns"]),
        trusted=_trusted(errors, itl_p50, cpu_share),
        client_bound=True if True in bounds else None if None in bounds else False,
    )


def _trusted(errors: Sequence[ErrorSpread], itl_p50_s: float | None, cpu_share: float) -> bool | None:
    """Return whether each p99 is small enough and the client was not busy; None if a p99 is not resolved."""
    if cpu_share > CLIENT_BOUND_CPU_SHARE or itl_p50_s is None:
        return False
    worst = [spread.p99 for spread in errors]
    allowed_ms = TRUSTED_ERROR_SHARE * itl_p50_s * 1e3
    if any(ms is not None and ms > allowed_ms for ms in worst):
        return False
    return None if None in worst else True


def _share(rows: pd.DataFrame, holds: Callable[[pd.DataFrame], "pd.Series[bool]"]) -> float | None:
    return float(holds(rows).mean()) if len(rows) and "not_before_ns" in rows else None


def _events_s(sample: LevelSample) -> float:
    both = sample.matched[sample.matched["_merge"] == "both"]
    span_s = (both["arrival_ns"].max() - sample.requests["sent_ns"].min()) / NS_PER_S if len(both) else 0.0
    return float(len(both) / span_s) if span_s else 0.0


def _ttft_spread(samples: Sequence[LevelSample], quick: bool) -> ErrorSpread:
    errors, at = [], []
    for sample in samples:
        rows = sample.requests.set_index("request_id")
        errors.append(sample.ttft_errors)
        at.append((rows["sent_ns"] + rows["ttft_s"] * NS_PER_S).reindex(sample.ttft_errors.index))
    keyed = partial(pd.concat, keys=range(len(samples)))
    return _spread(keyed(errors), keyed(at), quick=quick)


def _spread(values_s: "pd.Series[float]", at_ns: "pd.Series[float]", *, quick: bool = False) -> ErrorSpread:
    """Return the percentiles of the absolute values; `at_ns` is when each was measured, the first level the repeat.

    A percentile is resolved if 10 values lie beyond it, those beyond p99 from 10 moments (`enough_moments`), because
    one delay makes all values of a moment wrong.
    """
    there = values_s.notna()
    errors_ms, moments_ns = values_s[there].abs().astype("float64") * 1e3, at_ns[there]
    n = len(errors_ms)
    if not n:
        return ErrorSpread(p50=None, p99=None, max=None, n=0, reason="nothing was measured")
    spread = ErrorSpread(p50=None, p99=None, max=float(errors_ms.max()), n=n)
    missing = []
    for name, p in (("p50", 50), ("p99", 99)):
        found = percentile(errors_ms, p)
        assert found.value is not None
        beyond_ns = moments_ns[errors_ms >= found.value].dropna().to_numpy().astype(np.int64)
        if p > 50 and quick:
            missing.append(f"{name}: a quick calibration has the median only")
        elif not found.resolved:
            missing.append(f"{name}: {n} values, {MIN_SAMPLES_BEYOND * 100 // (100 - p)} are needed")
        elif p > 50 and not enough_moments(beyond_ns):
            missing.append(f"{name}: the values beyond it are from fewer than {MIN_SAMPLES_BEYOND} moments")
        else:
            setattr(spread, name, found.value)
    spread.reason = "; ".join(missing) or None
    spread.repeat_p50 = [float(value) for value in errors_ms.groupby(level=0).median()]
    return spread


def levels_table(levels: Sequence[CalibrationLevel]) -> pd.DataFrame:
    """Return one row per level, sorted by client and load, with spreads as columns such as `ttft_error_p99_ms`."""
    rows = []
    for level in levels:
        row: dict[str, Any] = {}
        for name, value in level.model_dump().items():
            if isinstance(value, dict):
                row |= {f"{name}_{at}_ms": value[at] for at in ("p50", "p99", "max")} | {f"{name}_n": value["n"]}
            else:
                row[name] = value
        rows.append(row)
    return pd.DataFrame(rows).sort_values(["client", "condition", "kind", "offered_events_s"], ignore_index=True)


def trusted_up_to_events_s(levels: Sequence[CalibrationLevel]) -> float | None:
    """Return the events/s of one client's highest trusted level below which none failed; None if there is none."""
    best = None
    for one in sorted(levels, key=lambda one: one.offered_events_s):
        if one.trusted is False:
            break
        best = one.events_s if one.trusted else best
    return best


def require_matched_events(levels: Sequence[CalibrationLevel]) -> None:
    """Raise RunFailed if an event is only in the server's log or only in a client's table."""
    lost = sum(one.unmatched for one in levels)
    if lost:
        raise RunFailed(f"{lost} events were lost between the server's log and a client: the errors are not complete")


def trust_limit_text(client: str, limit: float | None) -> str:
    """Return the limit of `trusted_up_to_events_s` as a sentence."""
    if limit is None:
        return f"{client}: not trusted at the lowest loads that were tried."
    return f"{client}: trusted up to {limit:,.0f} events/s, of the loads that were tried."
