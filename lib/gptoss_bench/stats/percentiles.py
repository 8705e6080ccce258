"""Numbers from tables: percentiles and their intervals, the steady window, and how many requests were in flight.

Seconds and nanoseconds as the names say. Nothing returns NaN: what cannot be known is None.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from gptoss_client import UsageError

NS_PER_S = 1e9
PERCENTILE_RULES = ("inclusive", "exclusive")
SAMPLES_BEYOND = 10  # samples that must lie beyond a percentile for it to count as resolved
AT_ONCE = 1_000_000  # values that a block of resamples holds at most
Z_95 = 1.959963984540054

Floats = npt.NDArray[np.float64]
Values = Sequence[float | None] | npt.NDArray[Any] | pd.Series


@dataclass(frozen=True, slots=True)
class Percentile:
    """One percentile of `n` samples, in their unit. Not `resolved`: fewer than 10 samples lie beyond it."""

    value: float | None
    resolved: bool
    n: int


def percentile(values: Values, p: float, rule: str = "inclusive") -> Percentile:
    """The `p`-th percentile (0 to 100), nulls left out; value None for no samples, the sample itself for one.

    "inclusive": linear interpolation at position (n - 1) p/100 from 0, numpy's default (Hyndman and Fan's type 7).
    "exclusive": position (n + 1) p/100 from 1 (type 6), exactly as Python's statistics.quantiles(n=100) has it by
    default, which extrapolates beyond the smallest and the largest sample where there are few: the write-up's rule.
    Raises UsageError for another rule or a `p` out of range.
    """
    if rule not in PERCENTILE_RULES or not 0 <= p <= 100:
        raise UsageError(
            f"no percentile {p} by the rule {rule!r}: use 0 to 100 and one of {', '.join(PERCENTILE_RULES)}"
        )
    samples = known(values)
    n = len(samples)
    resolved = min(p, 100 - p) * n >= 100 * SAMPLES_BEYOND
    if n <= 1:
        return Percentile(float(samples[0]) if n else None, resolved, n)
    value = np.percentile(samples, p) if rule == "inclusive" else _exclusive(np.sort(samples), p)
    return Percentile(float(value), resolved, n)


def _exclusive(ordered: Floats, p: float) -> float:
    n = len(ordered)
    position = p * (n + 1) / 100
    lower = min(max(int(position), 1), n - 1)
    share = position - lower  # below 0 or above 1 at the ends: that is the extrapolation
    return float(ordered[lower - 1] * (1 - share) + ordered[lower] * share)


def known(values: Values) -> Floats:
    """The values that are there, as floats."""
    if not (isinstance(values, np.ndarray) and values.dtype == np.float64):
        values = pd.Series(values, dtype="float64").to_numpy()
    there = ~np.isnan(values)
    return values if there.all() else values[there]


def bootstrap_interval(
    values: Values,
    statistic: Callable[[Floats], Floats],
    *,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[float, float] | None:
    """Percentile bootstrap (Efron 1979) of a statistic of independent values, such as one a request.

    Resamples the values with replacement, a block of resamples at a time: `statistic` takes an array (resamples,
    values), which it may reorder, and gives one number a resample. The same seed gives the same interval. None for
    fewer than two values.
    """
    samples = known(values)
    if len(samples) < 2:
        return None
    draw = np.random.default_rng(seed)
    at_once = max(1, AT_ONCE // len(samples))
    blocks = (min(at_once, resamples - done) for done in range(0, resamples, at_once))
    found = [statistic(draw.choice(samples, (rows, len(samples)))) for rows in blocks]
    return middle_interval(np.concatenate(found), level)


def row_medians(rows: Floats) -> Floats:
    """The median of each row; reorders them."""
    medians: Floats = np.median(rows, axis=1, overwrite_input=True)
    return medians


def middle_interval(found: Floats, level: float) -> tuple[float, float]:
    """The interval that holds this share of what was found, as much beyond each end."""
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def wilson_interval(k: int, n: int) -> tuple[float, float]:
    """95 % interval of a share, `k` of `n` (Wilson 1927, without continuity correction); (0, 1) where n is 0."""
    if n == 0:
        return 0.0, 1.0
    share, z2 = k / n, Z_95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z_95 / (1 + z2 / n) * float(np.sqrt(share * (1 - share) / n + z2 / (4 * n * n)))
    return centre - half if k > 0 else 0.0, centre + half if k < n else 1.0


def measured_rows(table: pd.DataFrame, phase: str = "measure") -> pd.DataFrame:
    """The rows that count: those of this phase, else of "measure"."""
    return rows_where(table, table["phase"] == phase)


def rows_where(table: pd.DataFrame, which: pd.Series) -> pd.DataFrame:
    """These rows of a table; where they are all of them, no copy of a table that may be large."""
    return table if which.all() else table[which]


def steady_window(
    requests: pd.DataFrame, events: pd.DataFrame, *, concurrency: int | None = None, phase: str = "measure"
) -> tuple[int, int] | None:
    """(start_ns, end_ns) of a closed loop's steady part, or None where it has none. Requests of `phase` only.

    Start, the last slot's first token: of the first C requests in order of sending that got a token, the latest first
    token. End, the first slot running dry: of N requests sent, the (N - C + 1)-th end, after which fewer than C are
    left to be served. None for fewer than 2 C requests sent, fewer than C with a token, or an end before the start.
    C is `concurrency`, or else the most requests that were in flight at once.
    """
    sent = _sent(measured_rows(requests, phase))
    slots = concurrency or _peak(sent)
    first_output = _first_outputs(measured_rows(events, phase))
    first = sent.loc[sent.index.isin(first_output.index)].index[:slots]
    if len(sent) < max(2 * slots, 1) or len(first) < slots:
        return None
    start = int(first_output.loc[first].max())
    end = int(np.sort(sent["end"].to_numpy())[len(sent) - slots])
    return (start, end) if start < end else None


def _first_outputs(events: pd.DataFrame) -> pd.Series:
    """The first stamp of an output-bearing event, by request id: first of each run of rows, then of each request."""
    output = events["output"].to_numpy()
    ids, timestamps = events["request_id"].to_numpy()[output], events["arrival_ns"].to_numpy()[output]
    starts = np.flatnonzero(np.diff(ids, prepend=ids[:1] - 1))
    firsts = np.minimum.reduceat(timestamps, starts) if len(starts) else timestamps
    return pd.Series(firsts, index=pd.Index(ids[starts])).groupby(level=0).min()


def concurrency_delivered(requests: pd.DataFrame, start_ns: int, end_ns: int) -> float:
    """Requests in flight (sent_ns to done_ns) on average between two stamps: the time integral over its length.

    A request that was sent and of which nothing is known afterwards counts for no time. Raises UsageError where the
    end is not after the start.
    """
    if end_ns <= start_ns:
        raise UsageError("no concurrency in an empty interval: give an end after the start")
    sent = _sent(requests)
    inside = sent["end"].clip(upper=end_ns) - sent["start"].clip(lower=start_ns)
    return float(inside.clip(lower=0).sum() / (end_ns - start_ns))


def _sent(requests: pd.DataFrame) -> pd.DataFrame:
    """Start and end stamps (int64 ns) of the requests that were sent, by request id, by time of sending and id."""
    rows = requests[requests["sent_ns"].notna()]
    end = rows["done_ns"].fillna(rows["sent_ns"])
    timestamps = {"start": rows["sent_ns"].astype("int64").to_numpy(), "end": end.astype("int64").to_numpy()}
    by_id = pd.DataFrame(timestamps, index=pd.Index(rows["request_id"])).sort_index()
    return by_id.sort_values("start", kind="stable")


def _peak(sent: pd.DataFrame) -> int:
    """The most requests in flight at once; one that ends as another starts is counted before it."""
    timestamps = np.concatenate([sent["end"].to_numpy(), sent["start"].to_numpy()])
    steps = np.repeat([-1, 1], len(sent))
    return int(np.cumsum(steps[np.argsort(timestamps, kind="stable")]).max(initial=0))
