"""Compute every confidence interval of the kit: values or requests in, bootstrap intervals out. Pure.

Values of one request are correlated, so whatever pools them (gaps, rates) resamples whole requests.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from gptoss_bench.runs import Distribution, LoadSummary, RunIntervals, TailIntervals
from gptoss_bench.stats.percentiles import REPORTED_PERCENTILES, Floats, Values, non_null
from gptoss_bench.stats.row_selection import completed_rows

RESAMPLES = 1000
TRIAL_RESAMPLES = 4000  # of a few trials: cheap, and their interval is at an extreme quantile
LARGE_POOL_RESAMPLES = 200  # of pooled values that are more than LARGE_POOL
LARGE_POOL = 100_000
BLOCK_VALUES = 1_000_000  # values that are resampled at once, so that memory stays flat
MIN_REQUESTS = 10  # requests that an interval of a rate needs
RATES = ("request_s", "output_tok_s_total")

Interval = tuple[float, float] | None
SortedPart = tuple[Floats, npt.NDArray[Any], npt.NDArray[Any]]


def bootstrap_interval(
    values: Values,
    statistic: Callable[[Floats], Floats],
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float] | None:
    """Return the percentile bootstrap interval (Efron 1979) of a statistic of independent values.

    Args:
        values: One value per independent unit, such as a request; nulls are left out.
        statistic: Takes an array (resamples, values), which it may reorder; returns one number per resample.
        level: Share of the resamples that lies within the interval.
        resamples: Number of resamples, drawn in blocks of BLOCK_VALUES values.
        seed: The same seed gives the same interval.

    Returns:
        The two ends, or None for fewer than two values.
    """
    samples = non_null(values)
    if len(samples) < 2:
        return None
    draw = np.random.default_rng(seed)
    block = max(1, BLOCK_VALUES // len(samples))
    blocks = (min(block, resamples - done) for done in range(0, resamples, block))
    found = [statistic(draw.choice(samples, (rows, len(samples)))) for rows in blocks]
    return central_interval(np.concatenate(found), level)


def row_medians(rows: Floats) -> Floats:
    """Return the median of each row; the rows are reordered."""
    medians: Floats = np.median(rows, axis=1, overwrite_input=True)
    return medians


def row_means(rows: Floats) -> Floats:
    """Return the mean of each row."""
    return np.asarray(np.mean(rows, axis=1), dtype="float64")


def central_interval(draws: Floats, level: float = 0.95) -> tuple[float, float]:
    """Return the interval that holds this share of the draws, with equal shares beyond each end."""
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def percentile_interval(values: pd.Series, p: float, *, resolved: bool) -> Interval:
    """Return the 95 % interval of the p-th percentile (inclusive) of one value per request; None if not resolved."""
    if not resolved:
        return None

    def row_percentiles(rows: Floats) -> Floats:
        return np.asarray(np.percentile(rows, p, axis=1, overwrite_input=True), dtype="float64")

    return bootstrap_interval(values, row_percentiles)


def run_intervals(summary: LoadSummary, requests: pd.DataFrame, seed: int = 0) -> RunIntervals:
    """Return 95 % intervals of the rates, the wall time and the high percentiles.

    Percentiles are inclusive. The wall time is that of the same number of requests at a rate within its interval. A
    rate is None for fewer than MIN_REQUESTS requests, a percentile is None where it is not resolved.
    """
    draw = np.random.default_rng(seed)
    rates: dict[str, Interval] = {}
    for name in RATES:
        draws = rate_draws(summary, requests, name, draw)
        rates[name] = None if draws is None else central_interval(draws)
    low, high = rates["request_s"] or (0.0, 0.0)
    completed = (summary.wall_s or 0.0) * (summary.request_s or 0.0)
    rows = completed_rows(requests)
    return RunIntervals(
        request_s=rates["request_s"],
        output_tok_s_total=rates["output_tok_s_total"],
        wall_s=(completed / high, completed / low) if low and high else None,
        ttft_s=_tail_intervals(rows["ttft_s"], summary.ttft_s),
        done_s=_tail_intervals(rows["done_s"], summary.done_s),
    )


def _tail_intervals(values: pd.Series, found: Distribution) -> TailIntervals:
    p90, p99 = (
        percentile_interval(values, REPORTED_PERCENTILES[at], resolved=found.resolved.at(at)) for at in ("p90", "p99")
    )
    return TailIntervals(p90=p90, p99=p99)


def rate_draws(summary: LoadSummary, requests: pd.DataFrame, name: str, draw: np.random.Generator) -> Floats | None:
    """Return bootstrap draws of one of RATES; None for fewer than MIN_REQUESTS requests or an unknown rate.

    By Little's law a rate is the number of requests in flight, times the tokens of a request over its seconds. The
    original requests give the measured rate. Resampling keeps tokens and seconds of a request together. For 40 requests
    with a long tail the interval is narrow: it separates two loads of the same server in 8 % of the cases, not in 5 %.
    """
    rows = completed_rows(requests)
    rows = rows[rows["completion_tokens"].notna() & rows["done_s"].notna()]
    rate = summary.rate(name)
    if len(rows) < MIN_REQUESTS or rate is None:
        return None
    seconds = rows["done_s"].to_numpy("float64")
    counted = rows["completion_tokens"].to_numpy("float64") if name != "request_s" else np.ones(len(rows))
    in_flight = rate * seconds.sum() / counted.sum()
    parts = [counted[which].sum(axis=1) / seconds[which].sum(axis=1) for which in resample_indices(len(rows), draw)]
    return np.asarray(in_flight * np.concatenate(parts), dtype="float64")


def median_draws(samples: Floats, draw: np.random.Generator) -> Floats:
    """Return bootstrap draws of the median of independent samples."""
    return np.concatenate([np.median(samples[which], axis=1) for which in resample_indices(len(samples), draw)])


def resample_indices(count: int, draw: np.random.Generator) -> Iterator[npt.NDArray[np.int64]]:
    """Yield RESAMPLES rows of indices drawn with replacement, in blocks."""
    block = max(1, BLOCK_VALUES // count)
    for start in range(0, RESAMPLES, block):
        yield draw.integers(0, count, (min(block, RESAMPLES - start), count))


def grouped_median_interval(
    values: Values, groups: Sequence[int] | npt.NDArray[Any] | pd.Series, *, level: float = 0.95, seed: int = 0
) -> tuple[float, float] | None:
    """Return the interval of the median of pooled values that are correlated within a group (the gaps of a request).

    None for fewer than two groups. See `grouped_medians`: many gaps of few requests do not make it narrow.
    """
    medians = grouped_medians(values, groups, np.random.default_rng(seed), grouped_resamples(len(values)))
    return None if medians is None else central_interval(medians, level)


def grouped_resamples(count: int) -> int:
    """Return the number of resamples for so many pooled values."""
    return RESAMPLES if count <= LARGE_POOL else LARGE_POOL_RESAMPLES


def grouped_medians(
    values: Values, groups: Sequence[int] | npt.NDArray[Any] | pd.Series, draw: np.random.Generator, resamples: int
) -> Floats | None:
    """Return the medians of cluster bootstraps, which resample whole groups; None for fewer than two groups.

    A resample is a weight per group. Its median is where the cumulative weight of the sorted values passes one half.
    That is nearly always among the middle values, so only these are sorted; all of them are sorted where it is not.
    """
    samples = np.asarray(values, dtype="float64")
    owners = np.asarray(groups)
    if not (there := ~np.isnan(samples)).all():
        samples, owners = samples[there], owners[there]
    codes, names = _group_codes(owners)
    if len(names) < 2:
        return None
    sizes = np.bincount(codes)
    middle = _sorted_part(samples, codes, *np.quantile(samples[:: 1 + len(samples) // 100_000], [0.4, 0.6]))
    everything = None
    medians = np.empty(resamples)
    for at in range(resamples):
        weight = np.bincount(draw.integers(0, len(names), len(names)), minlength=len(names))
        found = _weighted_median(middle, weight, int(weight @ sizes))
        if found is None:
            everything = everything or _sorted_part(samples, codes, -np.inf, np.inf)
            found = _weighted_median(everything, weight, int(weight @ sizes))
        medians[at] = found
    return medians


def _group_codes(owners: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int32], Any]:
    """Return a group number per value, and the groups. Factorises runs of equal owners: gaps of a request adjoin."""
    starts = np.flatnonzero(np.r_[True, owners[1:] != owners[:-1]][: len(owners)])
    codes, names = pd.factorize(owners[starts])
    return np.repeat(codes.astype("int32"), np.diff(starts, append=len(owners))), names


def _sorted_part(samples: Floats, codes: npt.NDArray[Any], low: float, high: float) -> SortedPart:
    """Return the sorted samples from `low` to `high`, the group of each, and the number of lower ones per group."""
    inside = (samples >= low) & (samples <= high)
    order = np.argsort(samples[inside], kind="stable")
    lower = np.bincount(codes[samples < low], minlength=codes.max() + 1)
    return samples[inside][order], codes[inside][order], lower


def _weighted_median(part: SortedPart, weight: npt.NDArray[Any], total: int) -> float | None:
    """Return the median of all samples, each repeated by the weight of its group; None if it is outside this part."""
    ordered, owner, lower = part
    if not len(ordered):
        return None
    running = weight @ lower + np.cumsum(weight[owner])
    if weight @ lower >= total / 2 or running[-1] <= total / 2:
        return None
    below, above = np.searchsorted(running, total / 2, "left"), np.searchsorted(running, total / 2, "right")
    return float(ordered[below] + ordered[above]) / 2
