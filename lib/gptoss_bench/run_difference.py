"""Two or more runs beside each other: the difference of their medians from the first one, with its interval. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from gptoss_bench.metrics import Floats, known, measured

QUANTITIES = ("ttft_s", "ttfa_s", "tpot_s", "itl_s", "done_s")
RESAMPLES = 1000
AT_ONCE = 1_000_000  # values that are in memory at a time


def differences(requests: Mapping[str, pd.DataFrame], itl_s: Mapping[str, pd.Series]) -> pd.DataFrame:
    """One row a quantity and a later run: both medians (s), their difference, its 95 % interval, and in words.

    `requests` is a request table by run, the first of them what the others are compared with; `itl_s` is by run the
    median gap of each completed request, so that the requests are what is resampled. The interval is a percentile
    bootstrap (Efron 1979) of both runs independently; requests of one load are not quite independent, which makes it
    too narrow rather than too wide.
    """
    first, *others = requests
    rows = []
    for name in QUANTITIES:
        values = {run: _values(requests[run], itl_s[run], name) for run in requests}
        for other in others:
            rows.append({"quantity": name, "run": other, **difference(values[first], values[other])})
    return pd.DataFrame(rows, columns=["quantity", "run", "first", "other", "difference", "low", "high", "means"])


def request_gaps(chunks: pd.DataFrame) -> pd.Series:
    """The median gap of each measured request (s), by request_id."""
    rows = measured(chunks)
    gaps: pd.Series = rows[rows["itl_s"].notna()].groupby("request_id")["itl_s"].median()
    return gaps


def _values(requests: pd.DataFrame, gaps: pd.Series, name: str) -> Floats:
    rows = measured(requests)
    rows = rows[rows["outcome"] == "completed"]
    return known(rows["request_id"].map(gaps) if name == "itl_s" else rows[name])


def difference(first: Floats, other: Floats) -> dict[str, Any]:
    """Of two samples: their medians, the difference, its interval, and in words what it means; None where unknown."""
    if not len(first) or not len(other):
        return dict.fromkeys(("first", "other", "difference", "low", "high")) | {"means": "not known"}
    medians = float(np.median(first)), float(np.median(other))
    found: dict[str, Any] = {"first": medians[0], "other": medians[1], "difference": medians[1] - medians[0]}
    if len(first) < 2 or len(other) < 2:
        return found | {"low": None, "high": None, "means": "too few requests for an interval"}
    draw = np.random.default_rng(0)
    drawn = [_medians(values, draw) for values in (first, other)]
    low, high = (float(at) for at in np.quantile(drawn[1] - drawn[0], [0.025, 0.975]))
    means = "longer" if low > 0 else "shorter" if high < 0 else "no difference is seen"
    return found | {"low": low, "high": high, "means": means}


def _medians(values: Floats, draw: np.random.Generator) -> Floats:
    """The medians of the resamples, as many at a time as AT_ONCE values allow."""
    many = max(1, AT_ONCE // len(values))
    parts = [
        np.median(values[draw.integers(0, len(values), (min(many, RESAMPLES - at), len(values)))], axis=1)
        for at in range(0, RESAMPLES, many)
    ]
    return np.concatenate(parts)


def labels(run_ids: Sequence[str]) -> list[str]:
    """A letter for each run, for the legend of a figure."""
    return [f"{chr(ord('A') + at % 26)}: {run_id}" for at, run_id in enumerate(run_ids)]
