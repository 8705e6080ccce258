"""How wrong a client's numbers are, request by request and gap by gap, beside the log of the truth server. Pure."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from gptoss_bench import calibrate
from gptoss_bench.metrics import known, percentile
from gptoss_bench.peer_told import Told

NS_PER_S = 1e9
GAPS, MEANS = "each gap", "a request's mean"


@dataclass(frozen=True, slots=True)
class Errors:
    """In ms, without their sign, over the requests after the first wave; None where nothing was measured.

    `itl_of` says what the error of ITL is of: each gap, or a request's mean where a client keeps no more.
    `requests` is how many were compared.
    """

    requests: int
    ttft_p50_ms: float | None
    ttft_p99_ms: float | None
    itl_p99_ms: float | None
    itl_of: str


def errors(told: Told, streams: int, log: pd.DataFrame) -> Errors:
    """Compare; `streams` is how many ran at a time, and so many of the client's first requests are its warm-up.

    First is who reached the server first. `log` has truth_log.COLUMNS.
    """
    numbers = told.streams.sort_values()
    numbers = numbers if told.warm else numbers.iloc[streams:]
    requests = told.requests[told.requests["request_id"].isin(numbers.index)]
    ttft = calibrate.ttft_errors(requests, numbers, log)
    if told.chunks is not None:
        chunks = told.chunks[told.chunks["request_id"].isin(numbers.index)]
        itl = calibrate.matched(chunks, numbers, log)["itl_error_s"]
    else:
        itl = _mean_errors(told, numbers, log)
    itl_of = MEANS if told.chunks is None else GAPS
    return Errors(len(requests), _ms(ttft, 50), _ms(ttft, 99), _ms(itl, 99), itl_of)


def true_itl_ms(log: pd.DataFrame) -> float | None:
    """The median gap between the sends of a stream's outputs (ms), None where there is none."""
    gaps_s = log[log["output"]].sort_values(["stream", "event"]).groupby("stream")["sent_ns"].diff() / NS_PER_S
    return _ms(gaps_s, 50)


def _mean_errors(told: Told, numbers: "pd.Series[int]", log: pd.DataFrame) -> "pd.Series[float]":
    """By request_id: the client's mean ITL less the true one, (last send - first send) / (outputs - 1)."""
    outputs = log[log["output"] & log["stream"].isin(numbers)].groupby("stream")["sent_ns"]
    true_s = (outputs.max() - outputs.min()) / (outputs.count() - 1).where(lambda gaps: gaps > 0) / NS_PER_S
    assert told.means is not None
    return told.means.reindex(numbers.index) - numbers.map(true_s)


def _ms(errors_s: pd.Series, p: float) -> float | None:
    value = percentile(np.abs(known(errors_s)), p).value
    return None if value is None else value * 1e3
