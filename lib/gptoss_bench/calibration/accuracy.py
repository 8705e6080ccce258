"""Compare a client's request and event tables with the send log of a reference server: the errors of its times.

The tables are those of a run. Used are `request_id`, `sent_ns`, `ttft_s` of the requests and `request_id`, `event`,
`arrival_ns`, `itl_s` and, if the client records it, `lag_ns` of the events.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from gptoss_bench.calibration.reference.stream import STREAM_ID
from gptoss_bench.runs import CalibrationLevel, ClientLoad, ErrorSpread, Percentiles, Run
from gptoss_bench.stats import CLIENT_BOUND_CPU_SHARE, client_bound_reasons, non_null, percentile
from gptoss_client import NS_PER_S, Trace

KIT_CLIENT, STOCK_CLIENT = "gptoss_bench", "stock httpx"  # values of CalibrationLevel.client
TRUSTED_ERROR_SHARE = 0.05  # of the median ITL


class ClientTables(NamedTuple):
    """What a client reports of a load: request table, event table, and the server's stream number by request_id."""

    requests: pd.DataFrame
    events: pd.DataFrame
    streams: "pd.Series[int]"


def measured_tables(run: Run) -> ClientTables:
    """Return the tables of the measured phase of a run against a reference server."""
    requests, events = (table[table["phase"] == "measure"] for table in (run.requests, run.events))
    streams = stream_numbers(run.traces())
    return ClientTables(requests, events, streams[streams.index.isin(requests["request_id"])])


def compare_with_log(
    client: str, planned: tuple[int, float], tables: ClientTables, log: pd.DataFrame, cpu_share: float
) -> CalibrationLevel:
    """Return the errors of one client under one load.

    Args:
        client: Name of the client.
        planned: Number of streams and tokens/s of each.
        tables: The client's tables.
        log: Send log of the reference server (SEND_LOG_COLUMNS).
        cpu_share: Share of one core that the client used.
    """
    requests, events, streams = tables
    return summarise_level(
        client,
        planned,
        requests,
        matched=match_events(events, streams, log),
        ttft_errors=ttft_errors_s(requests, streams, log),
        cpu_share=cpu_share,
    )


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
    received = events[["request_id", "event", "arrival_ns", "itl_s", *(["lag_ns"] if "lag_ns" in events else [])]]
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
    planned: tuple[int, float],
    requests: pd.DataFrame,
    *,
    matched: pd.DataFrame,
    ttft_errors: pd.Series,
    cpu_share: float,
) -> CalibrationLevel:
    """Summarise one load of one client.

    Args:
        client: Name of the client.
        planned: Number of streams and tokens/s of each.
        requests: Request table of the client.
        matched: Result of `match_events`.
        ttft_errors: Result of `ttft_errors_s`, in s.
        cpu_share: Share of one core that the client used.
    """
    both = matched[matched["_merge"] == "both"]
    span_s = (both["arrival_ns"].max() - requests["sent_ns"].min()) / NS_PER_S if len(both) else 0.0
    outputs = both[both["output"].eq(True)]
    itl_p50 = percentile(both["itl_s"], 50).value
    lag = both["lag_ns"] / NS_PER_S if "lag_ns" in both else pd.Series(dtype="float64")
    errors = _spread(ttft_errors), _spread(both["itl_error_s"]), _spread(outputs["arrival_error_s"])
    worst = [spread.p99 for spread in errors if spread.p99 is not None]
    accurate = itl_p50 is not None and bool(worst) and max(worst) <= TRUSTED_ERROR_SHARE * itl_p50 * 1e3
    lag_p99_s = percentile(lag, 99).value
    gaps = non_null(both["itl_s"])
    client_load = ClientLoad(
        lag_s=None if lag_p99_s is None else Percentiles(p99=lag_p99_s),
        cpu_share=cpu_share,
        shared_read_share=float((gaps == 0).mean()) if len(gaps) else None,
    )
    return CalibrationLevel(
        client=client,
        streams=planned[0],
        tokens_s=planned[1],
        events=len(both),
        offered_events_s=planned[0] * planned[1],
        unmatched=len(matched) - len(both),
        events_s=float(len(both) / span_s) if span_s else 0.0,
        cpu_share=cpu_share,
        itl_p50_ms=None if itl_p50 is None else itl_p50 * 1e3,
        ttft_error=errors[0],
        itl_error=errors[1],
        arrival_error=errors[2],
        lag=_spread(lag),
        server_late=_spread(both["late_s"]),
        trusted=accurate and cpu_share <= CLIENT_BOUND_CPU_SHARE,
        client_bound=None if lag_p99_s is None else bool(client_bound_reasons(client_load, itl_p50)),
    )


def _spread(values_s: pd.Series) -> ErrorSpread:
    magnitudes: npt.NDArray[np.float64] = np.abs(non_null(values_s)) * 1e3
    if not len(magnitudes):
        return ErrorSpread(p50=None, p99=None, max=None)
    p50, p99 = (percentile(magnitudes, p).value for p in (50, 99))
    return ErrorSpread(p50=p50, p99=p99, max=float(magnitudes.max()))


def levels_table(levels: Sequence[CalibrationLevel]) -> pd.DataFrame:
    """Return one row per level, sorted by client and load, with spreads as columns such as `ttft_error_p99_ms`."""
    rows = []
    for level in levels:
        row: dict[str, Any] = {}
        for name, value in level.model_dump().items():
            row |= {f"{name}_{at}_ms": ms for at, ms in value.items()} if isinstance(value, dict) else {name: value}
        rows.append(row)
    return pd.DataFrame(rows).sort_values(["client", "offered_events_s"], ignore_index=True)


def trusted_up_to_events_s(levels: Sequence[CalibrationLevel]) -> float | None:
    """Return the events/s of one client's highest load below which no level failed; None if the lowest one failed."""
    best = None
    for one in sorted(levels, key=lambda one: one.offered_events_s):
        if not one.trusted:
            break
        best = one.events_s
    return best


def trust_limit_text(client: str, limit: float | None) -> str:
    """Return the limit of `trusted_up_to_events_s` as a sentence."""
    if limit is None:
        return f"{client}: not trusted even at the lowest load that was tried."
    return f"{client}: trusted up to {limit:,.0f} events/s, of the loads that were tried."
