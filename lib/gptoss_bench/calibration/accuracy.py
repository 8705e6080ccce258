"""A client's tables beside the log of a reference server: how wrong each of its stamps was. Pure.

A client's tables are those of a run; of the requests `request_id`, `sent_ns`, `ttft_s`, of the chunks `request_id`,
`event`, `arrival_ns`, `itl_s` and, where stamps carry it, `lag_ns` are used.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from gptoss_bench.calibration.reference.stream import IDENTITY
from gptoss_bench.stats import CPU_SHARE, client_bound, known, percentile
from gptoss_client import Trace

NS_PER_S = 1e9
KIT_CLIENT, STOCK_CLIENT = "gptoss_bench", "stock httpx"  # values of CalibrationLevel.client
TRUSTED_ERROR_SHARE = 0.05  # of the median ITL


@dataclass(frozen=True, slots=True)
class ErrorSpread:
    """Percentiles of a quantity in ms, None where nothing was measured. Errors are taken without their sign."""

    p50: float | None
    p99: float | None
    max: float | None


@dataclass(frozen=True, slots=True)
class CalibrationLevel:
    """One client under one load. `cpu_share` is of one core.

    `offered_events_s` is what the streams' pace asks for, `events_s` what came over the whole load, first send to
    last event: the wait for first tokens is in it, and so is a client that does not keep up.

    `trusted`: the p99 of none of its errors (of TTFT, of ITL, of an arrival) exceeds 5 % of the median ITL, and it
    needs at most 80 % of a core. `client_bound` is the rule that every other run is marked by
    (error_bar.client_bound); None where stamps carry no lag. The two differ where reads are late
    and the kernel's stamps are right all the same, so both are told.
    """

    client: str
    streams: int
    tokens_s: float
    events: int
    offered_events_s: float
    unmatched: int  # events of the log that the client's tables lack, or the reverse
    events_s: float
    cpu_share: float
    itl_p50_ms: float | None
    ttft_error: ErrorSpread
    itl_error: ErrorSpread
    arrival_error: ErrorSpread
    lag: ErrorSpread
    server_late: ErrorSpread
    trusted: bool
    client_bound: bool | None


def stream_numbers(traces: Iterable[Trace]) -> pd.Series:
    """By request_id, the number of the server's stream: it stands in the bytes of each reply."""
    found = {}
    for trace in traces:
        if match := IDENTITY.search(b"".join(piece for _, piece in trace.pieces)):
            found[trace.request_id] = int(match[1])
    return pd.Series(found, dtype="int64", name="stream")


def match_events(events: pd.DataFrame, streams: pd.Series, log: pd.DataFrame) -> pd.DataFrame:
    """One row an event that either side knows of these requests; `_merge` is "both" where both do.

    Columns beside those of the log: `request_id`, `arrival_ns`, `lag_ns`, `arrival_error_s` (arrival after the true
    send), `itl_error_s` (the client's gap less the true one; NaN where there is no gap) and `late_s` (of the server).
    """
    ours = events[["request_id", "event", "arrival_ns", "itl_s", *(["lag_ns"] if "lag_ns" in events else [])]]
    ours = ours.assign(stream=ours["request_id"].map(streams).astype("Int64"))
    theirs = log[log["stream"].isin(streams) & (log["kind"] != "refused")]
    found = theirs.merge(ours, on=["stream", "event"], how="outer", indicator=True).sort_values(["stream", "event"])
    outputs = found[found["output"].eq(True)]
    true_gap_s = outputs.groupby("stream")["sent_ns"].diff().astype("float64") / NS_PER_S
    found["itl_error_s"] = found["itl_s"] - true_gap_s.reindex(found.index)
    found["arrival_error_s"] = (found["arrival_ns"] - found["sent_ns"]).astype("float64") / NS_PER_S
    found["late_s"] = (found["sent_ns"] - found["due_ns"]).astype("float64") / NS_PER_S
    return found.reset_index(drop=True)


def ttft_errors_s(requests: pd.DataFrame, streams: pd.Series, log: pd.DataFrame) -> pd.Series:
    """By request_id, the client's TTFT less the true one (s): from the request's arrival to the first token's send.

    So it holds both ends: a send that was stamped too early, and a first token that was seen too late.
    """
    first = log[log["output"]].sort_values("event").groupby("stream").first()
    true_s = (first["sent_ns"] - first["asked_ns"]) / NS_PER_S
    rows = requests.set_index("request_id")
    return rows["ttft_s"] - rows.index.to_series().map(streams).map(true_s)


def summarise_level(
    client: str,
    planned: tuple[int, float],
    requests: pd.DataFrame,
    *,
    found: pd.DataFrame,
    errors_s: pd.Series,
    cpu_share: float,
) -> CalibrationLevel:
    """Sum up one load, `planned` as (streams, tokens/s of each); `found` is of `match_events`, `errors_s` of TTFTs."""
    both = found[found["_merge"] == "both"]
    span_s = (both["arrival_ns"].max() - requests["sent_ns"].min()) / NS_PER_S if len(both) else 0.0
    outputs = both[both["output"].eq(True)]
    itl_p50 = percentile(both["itl_s"], 50).value
    lag = both["lag_ns"] / NS_PER_S if "lag_ns" in both else pd.Series(dtype="float64")
    errors = _spread(errors_s), _spread(both["itl_error_s"]), _spread(outputs["arrival_error_s"])
    worst = [spread.p99 for spread in errors if spread.p99 is not None]
    right = itl_p50 is not None and bool(worst) and max(worst) <= TRUSTED_ERROR_SHARE * itl_p50 * 1e3
    lag_s = {"p99": percentile(lag, 99).value}
    gaps = known(both["itl_s"])
    seen = {
        "lag_s": None if lag_s["p99"] is None else lag_s,
        "cpu_share": cpu_share,
        "shared_read_share": float((gaps == 0).mean()) if len(gaps) else None,
    }
    return CalibrationLevel(
        client=client,
        streams=planned[0],
        tokens_s=planned[1],
        events=len(both),
        offered_events_s=planned[0] * planned[1],
        unmatched=len(found) - len(both),
        events_s=float(len(both) / span_s) if span_s else 0.0,
        cpu_share=cpu_share,
        itl_p50_ms=None if itl_p50 is None else itl_p50 * 1e3,
        ttft_error=errors[0],
        itl_error=errors[1],
        arrival_error=errors[2],
        lag=_spread(lag),
        server_late=_spread(both["late_s"]),
        trusted=right and cpu_share <= CPU_SHARE,
        client_bound=None if seen["lag_s"] is None else bool(client_bound(seen, itl_p50)),
    )


def _spread(values_s: pd.Series) -> ErrorSpread:
    there: npt.NDArray[np.float64] = np.abs(known(values_s)) * 1e3
    if not len(there):
        return ErrorSpread(None, None, None)
    return ErrorSpread(percentile(there, 50).value, percentile(there, 99).value, float(there.max()))


def levels_table(levels: Sequence[CalibrationLevel]) -> pd.DataFrame:
    """One row a level, spreads as columns such as `ttft_error_p99_ms`, by client and load."""
    rows = []
    for one in levels:
        row: dict[str, Any] = {}
        for name, value in asdict(one).items():
            row |= {f"{name}_{at}_ms": ms for at, ms in value.items()} if isinstance(value, dict) else {name: value}
        rows.append(row)
    return pd.DataFrame(rows).sort_values(["client", "offered_events_s"], ignore_index=True)


def trusted_up_to_events_s(levels: Sequence[CalibrationLevel]) -> float | None:
    """The events/s of the highest load up to which every level of one client was trusted; None: not even the lowest."""
    best = None
    for one in sorted(levels, key=lambda one: one.offered_events_s):
        if not one.trusted:
            break
        best = one.events_s
    return best


def trust_limit_text(client: str, limit: float | None) -> str:
    """The limit of `trusted_up_to_events_s` as a sentence."""
    if limit is None:
        return f"{client}: its errors are too large already at the lowest load that was tried."
    return f"{client}: its errors are small enough up to {limit:,.0f} events/s, of the loads that were tried."
