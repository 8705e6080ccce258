"""Intervals of what a load adds up to: rates, wall time and high percentiles, its requests resampled. Pure.

Medians have theirs in the summary already.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from gptoss_bench.metrics import Floats, bootstrap_interval, known, measured, middle

FEWEST = 10  # requests
RESAMPLES = 1000
VALUES_AT_ONCE = 2_000_000
RATES = ("request_s", "output_tok_s_total")
HIGH = {"p90": 90, "p99": 99}
TIMES = ("ttft_s", "done_s")

Interval = list[float] | None


def run_intervals(summary: Mapping[str, Any], requests: pd.DataFrame, seed: int = 0) -> dict[str, Any]:
    """95 % intervals by the names of the summary; None where fewer than 10 requests or a percentile's own tail tell it.

    A percentile is by the inclusive rule. The wall time is that of as many requests at a rate within its interval.
    """
    draw = np.random.default_rng(seed)
    found: dict[str, Any] = {name: _of_draws(rate_draws(summary, requests, name, draw)) for name in RATES}
    low, high = found["request_s"] or (None, None)
    done = summary["wall_s"] * summary["request_s"] if low and high else 0.0
    found["wall_s"] = [done / high, done / low] if low and high else None
    rows = completed(requests)
    for name in TIMES:
        resolved = summary[name]["resolved"]
        found[name] = {at: percentile_interval(rows[name], p, resolved=resolved[at]) for at, p in HIGH.items()}
    return found


def rate_draws(
    summary: Mapping[str, Any], requests: pd.DataFrame, name: str, draw: np.random.Generator
) -> Floats | None:
    """Draws of one of RATES: by Little's law it is the requests in flight over the seconds of one, times its tokens.

    Of the requests as they were this is the rate itself; resampled, tokens and seconds stay together. Of 40 requests
    with a long tail it is narrow: two loads of the same server are then told apart in 8 % of the cases, not in 5.
    """
    rows = completed(requests)
    rows = rows[rows["completion_tokens"].notna() & rows["done_s"].notna()]
    if len(rows) < FEWEST or summary[name] is None:
        return None
    seconds = rows["done_s"].to_numpy("float64")
    counted = rows["completion_tokens"].to_numpy("float64") if name != "request_s" else np.ones(len(rows))
    in_flight = summary[name] * seconds.sum() / counted.sum()
    parts = [counted[which].sum(axis=1) / seconds[which].sum(axis=1) for which in drawn(len(rows), draw)]
    return np.asarray(in_flight * np.concatenate(parts), dtype="float64")


def drawn(count: int, draw: np.random.Generator) -> Iterator[npt.NDArray[np.int64]]:
    """RESAMPLES rows of places drawn with replacement, so many at a time that memory stays flat."""
    rows = max(1, VALUES_AT_ONCE // count)
    for start in range(0, RESAMPLES, rows):
        yield draw.integers(0, count, (min(rows, RESAMPLES - start), count))


def completed(requests: pd.DataFrame) -> pd.DataFrame:
    """The measured requests that were completed."""
    rows = measured(requests)
    return rows[rows["outcome"] == "completed"]


def _of_draws(draws: Floats | None) -> Interval:
    return None if draws is None else list(middle(draws, 0.95))


def percentile_interval(values: pd.Series, p: float, *, resolved: bool) -> Interval:
    """95 % interval of the p-th percentile (inclusive), one value a request; None where it is not resolved."""
    if not resolved:
        return None

    def at(rows: Floats) -> Floats:
        return np.asarray(np.percentile(rows, p, axis=1, overwrite_input=True), dtype="float64")

    found = bootstrap_interval(known(values), at)
    return list(found) if found else None
