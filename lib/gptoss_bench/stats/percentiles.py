"""Compute percentiles of samples, with the number of samples and whether they resolve the percentile. Pure.

Nothing returns NaN: an unknown value is None.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from gptoss_client import UsageError

REPORTED_PERCENTILES = {"p50": 50, "p90": 90, "p99": 99}
PERCENTILE_RULES = ("inclusive", "exclusive")
MIN_SAMPLES_BEYOND = 10  # samples that must lie beyond a percentile for it to count as resolved
MOMENT_NS = 1_000_000  # events within this time are one moment

Floats = npt.NDArray[np.float64]
Values = Sequence[float | None] | npt.NDArray[Any] | pd.Series


@dataclass(frozen=True, slots=True)
class Percentile:
    """One percentile of `n` samples, in their unit. `resolved`: at least MIN_SAMPLES_BEYOND samples lie beyond it."""

    value: float | None
    resolved: bool
    n: int


def percentile(values: Values, p: float, rule: str = "inclusive") -> Percentile:
    """Return the `p`-th percentile (0 to 100) of the non-null values; its value is None for no samples.

    "inclusive": linear interpolation at position (n - 1) p/100 from 0, numpy's default (Hyndman and Fan's type 7).
    "exclusive": position (n + 1) p/100 from 1 (type 6), the default of Python's statistics.quantiles(n=100) and the
    write-up's rule. It extrapolates beyond the smallest and the largest of few samples. A single sample is returned as
    it is. Raises UsageError for another rule or a `p` out of range.
    """
    if rule not in PERCENTILE_RULES or not 0 <= p <= 100:
        raise UsageError(
            f"no percentile {p} by the rule {rule!r}: use 0 to 100 and one of {', '.join(PERCENTILE_RULES)}"
        )
    samples = non_null(values)
    n = len(samples)
    resolved = min(p, 100 - p) * n >= 100 * MIN_SAMPLES_BEYOND
    if n <= 1:
        return Percentile(float(samples[0]) if n else None, resolved, n)
    value = np.percentile(samples, p) if rule == "inclusive" else _exclusive(np.sort(samples), p)
    return Percentile(float(value), resolved, n)


def enough_moments(times_ns: npt.NDArray[np.int64]) -> bool:
    """Return whether these times are of MIN_SAMPLES_BEYOND moments; all within MOMENT_NS of the first are one."""
    ordered, at = np.sort(times_ns), 0
    for _ in range(MIN_SAMPLES_BEYOND):
        if at >= len(ordered):
            return False
        at = int(np.searchsorted(ordered, ordered[at] + MOMENT_NS, side="right"))
    return True


def _exclusive(ordered: Floats, p: float) -> float:
    n = len(ordered)
    position = p * (n + 1) / 100
    lower = min(max(int(position), 1), n - 1)
    share = position - lower  # below 0 or above 1 at the ends: that is the extrapolation
    return float(ordered[lower - 1] * (1 - share) + ordered[lower] * share)


def non_null(values: Values) -> Floats:
    """Return the values that are not null, as floats."""
    if not (isinstance(values, np.ndarray) and values.dtype == np.float64):
        values = pd.Series(values, dtype="float64").to_numpy()
    there = ~np.isnan(values)
    return values if there.all() else values[there]
