"""The two tables of a run to its summary: one JSON-able dict, the numbers that figures, reports and verdicts quote.

Only requests of the phase "measure" count. Times are seconds. What cannot be known is None, never 0 and never NaN.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from gptoss_bench.metrics import (
    NS_PER_S,
    bootstrap_interval,
    concurrency_delivered,
    grouped_median_interval,
    known,
    measured,
    percentile,
    rows_where,
    steady_window,
    wilson_interval,
)

REQUEST_TIMES = (
    "ttft_s",
    "ttfa_s",
    "ttfc_s",
    "tpot_s",
    "e2e_s",
    "done_s",
    "ttft_formula_s",
    "client_queue_s",
    "connect_s",
)
CHUNK_COLUMNS = ("request_id", "phase", "arrival_ns", "lag_ns", "output", "tokens", "itl_s")  # all that is asked for
PERCENTILES = {"p50": 50, "p90": 90, "p99": 99}

Window = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Slo:
    """The longest times (s) with which a request still counts as good; None asks nothing."""

    ttft_s: float | None = None
    tpot_s: float | None = None
    e2e_s: float | None = None


def summarise(
    requests: pd.DataFrame,
    chunks: pd.DataFrame,
    *,
    concurrency: int,
    slo: Slo | None = None,
    window_ns: Window | None = None,
) -> dict[str, Any]:
    """Summarise a request table and its event table.

    `concurrency` is the number of slots that was planned. `window_ns` is the planned window of an open loop; without
    it the steady window of the closed loop is found. Distributions are over completed requests, `itl_s` over their
    pooled gaps; a percentile is named by its rule, an interval is 95 %.
    """
    requests, chunks = measured(requests), measured(chunks)
    completed = requests[requests["outcome"] == "completed"]
    counted = rows_where(chunks, chunks["request_id"].isin(completed["request_id"]))
    window = window_ns or steady_window(requests, chunks, concurrency=concurrency)
    wall_s = _wall_s(requests, chunks)
    generated = _if_all_known(completed["completion_tokens"])
    failures = requests["failure"].value_counts().sort_index()
    return {
        "requests": len(requests),
        **{name: int((requests["outcome"] == name).sum()) for name in ("completed", "failed", "cancelled")},
        "failures": {str(name): int(count) for name, count in failures.items()},
        "truncated": int(completed["truncated"].sum()),
        "ttfa_missing": int(completed["ttfa_s"].isna().sum()),
        "wall_s": wall_s,
        "request_s": len(completed) / wall_s if wall_s else None,
        "output_tok_s_total": generated / wall_s if wall_s and generated is not None else None,
        "output_tok_s": _tokens_in(counted, window) / _length_s(window) if window and _all_counted(counted) else None,
        "steady_window_s": _length_s(window) if window else None,
        "steady_window_ns": list(window) if window else None,
        "concurrency_planned": concurrency,
        "concurrency_delivered": concurrency_delivered(requests, *window) if window else None,
        "prompt_tokens": _extremes(completed["prompt_tokens"]),
        "completion_tokens": {
            "sum": generated,
            "mean": _mean(completed["completion_tokens"]),
            **_extremes(completed["completion_tokens"]),
        },
        "tokens_per_event": _tokens_per_event(completed),
        "percentile_rule": "inclusive",
        **{name: _distribution(completed[name]) for name in REQUEST_TIMES},
        "itl_s": _distribution(counted["itl_s"], counted["request_id"]),
        "server": _server(completed),
        "client": _client(completed, counted),
        **_goodput(requests, completed, slo, window),
    }


def energy(summary: Mapping[str, Any]) -> dict[str, float | None]:
    """Of a summary with "telemetry": `power_w` of all GPUs during inference, and joules an output token.

    Both None where the GPU does not tell (a vGPU), and `energy_j_per_tok` where the engine is on another machine: it is
    never estimated from power.
    """
    seen = summary.get("telemetry") or {}
    phase = seen.get("gpu", {}).get("by_phase", {}).get("during inference", {})
    joules, tokens = seen.get("energy_j"), summary["completion_tokens"]["sum"]
    return {
        "power_w": phase.get("power_w") if seen.get("engine_here") else None,
        "energy_j_per_tok": joules / tokens if joules is not None and tokens else None,
    }


def _wall_s(requests: pd.DataFrame, chunks: pd.DataFrame) -> float | None:
    """First send to the last event or the last byte of any request, failed ones too."""
    ends = [int(stamps.max()) for stamps in (requests["done_ns"].dropna(), chunks["arrival_ns"]) if len(stamps)]
    return (max(ends) - int(requests["sent_ns"].min())) / NS_PER_S if ends else None


def _length_s(window: Window) -> float:
    return (window[1] - window[0]) / NS_PER_S


def _all_counted(counted: pd.DataFrame) -> bool:
    """Whether the tokens of every event are known. If not, no share of a reply can be said to lie in a window."""
    return len(counted) > 0 and bool(counted["tokens"].notna().all())


def _tokens_in(counted: pd.DataFrame, window: Window) -> int:
    """Tokens that arrived in the window: those at its start took their time before it."""
    start, end = window
    inside = (counted["arrival_ns"] > start) & (counted["arrival_ns"] <= end)
    return int(counted.loc[inside, "tokens"].sum())


def _if_all_known(counts: pd.Series) -> int | None:
    return int(counts.sum()) if len(counts) and counts.notna().all() else None


def _extremes(counts: pd.Series) -> dict[str, int | None]:
    there = counts.dropna()
    return {"min": int(there.min()), "max": int(there.max())} if len(there) else {"min": None, "max": None}


def _mean(values: pd.Series) -> float | None:
    there = known(values)
    return float(there.mean()) if len(there) else None


def _tokens_per_event(completed: pd.DataFrame) -> float | None:
    """Tokens over output-bearing events, of the requests that tell both."""
    told = completed[completed["completion_tokens"].notna() & (completed["output_events"] > 0)]
    events = int(told["output_events"].sum())
    return int(told["completion_tokens"].sum()) / events if events else None


def _distribution(values: pd.Series, groups: pd.Series | None = None) -> dict[str, Any]:
    p50_interval = _median_interval(values, groups)
    samples = known(values)
    inclusive = {name: percentile(samples, p) for name, p in PERCENTILES.items()}
    return {
        "n": len(samples),
        "mean": float(samples.mean()) if len(samples) else None,
        **{name: found.value for name, found in inclusive.items()},
        "p50_interval": p50_interval,
        "resolved": {name: found.resolved for name, found in inclusive.items()},
        "exclusive": {name: percentile(samples, p, "exclusive").value for name, p in PERCENTILES.items()},
    }


def _median_interval(values: pd.Series, groups: pd.Series | None = None) -> list[float] | None:
    """Bootstrap over requests; `groups` names the request of each value where a request has several."""
    if groups is None:
        interval = bootstrap_interval(values, lambda drawn: float(np.median(drawn)))
    else:
        interval = grouped_median_interval(values, groups)
    return list(interval) if interval else None


def _client(completed: pd.DataFrame, counted: pd.DataFrame) -> dict[str, Any]:
    """What the client itself added: how late it read (s), and how many gaps it could not see.

    Events that one read of the socket brought share its stamp, so the gap between them is 0: `shared_read_share` is
    their share of all gaps. `lag_s` is null where the kernel stamped nothing. `cpu_share` is known to the caller only.
    """
    lag_s = known(counted["lag_ns"][counted["output"]].to_numpy("float64", na_value=np.nan)) / NS_PER_S
    lags = {name: percentile(lag_s, p).value for name, p in PERCENTILES.items()} if len(lag_s) else None
    del lag_s  # as large as the table's column
    gaps = known(counted["itl_s"])
    return {
        "stamp_source": "+".join(sorted(completed["stamp_source"].dropna().unique())) or None,
        "lag_s": lags,
        "shared_read_share": float((gaps == 0).mean()) if len(gaps) else None,
        "cpu_share": None,
    }


def _server(completed: pd.DataFrame) -> dict[str, Any] | None:
    """What the server said of itself: decode rate per request (its tokens over its seconds), and its durations.

    There is no prompt rate: an Ollama that counts cached tokens in its prompt does not time them.
    """
    told = completed[completed["server_source"].notna()]
    if told.empty:
        return None
    rate = told["server_eval_tokens"].astype("Float64") / told["server_eval_s"].where(told["server_eval_s"] > 0)
    durations = ("prompt_s", "load_s", "eval_s", "total_s")
    return {
        "source": "+".join(sorted(told["server_source"].unique())),
        "tok_s": _median(rate),
        **{name: _median(told[f"server_{name}"]) for name in durations},
    }


def _median(values: pd.Series) -> dict[str, Any]:
    found = percentile(values, 50)
    return {"n": found.n, "p50": found.value, "interval": _median_interval(values)}


def _goodput(
    requests: pd.DataFrame, completed: pd.DataFrame, slo: Slo | None, window: Window | None
) -> dict[str, float | list[float] | None]:
    """Requests that met every limit: per second of the window those that ended in it, and as a share of all.

    The share is of the requests that were not cancelled, with a Wilson interval. Failed and truncated requests have
    missed, and so has one without a value that a limit asks for. Where no request has that value, all is None.
    """
    limits = {name: limit for name, limit in asdict(slo).items() if limit is not None} if slo else {}
    due = int((requests["outcome"] != "cancelled").sum())
    if not limits or due == 0 or (len(completed) and completed[list(limits)].isna().all().any()):
        return {"goodput_request_s": None, "goodput_share": None, "goodput_share_interval": None}
    good = completed[~completed["truncated"]]
    for name, limit in limits.items():
        good = good[good[name] <= limit]
    rate = None
    if window:
        ended_inside = (good["done_ns"] > window[0]) & (good["done_ns"] <= window[1])
        rate = int(ended_inside.sum()) / _length_s(window)
    return {
        "goodput_request_s": rate,
        "goodput_share": len(good) / due,
        "goodput_share_interval": list(wilson_interval(len(good), due)),
    }
