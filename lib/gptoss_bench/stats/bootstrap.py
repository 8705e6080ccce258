"""Pooled values of requests resampled by request: draws of their median, and its interval. Pure."""
# MERGED: Intervals of what a load adds up to: rates, wall time and high percentiles, its requests resampled. Pure.

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from gptoss_bench.stats.percentiles import Floats, Values, bootstrap_interval, known, measured_rows, middle_interval

WORK = 100_000_000  # values times resamples above which it takes FEW_RESAMPLES
FEW_RESAMPLES = 200


def grouped_median_interval(
    values: Values, groups: Sequence[int] | npt.NDArray[Any] | pd.Series, *, level: float = 0.95, seed: int = 0
) -> tuple[float, float] | None:
    """Bootstrap interval of the median of pooled values that are correlated within a group, such as a request's gaps.

    See `grouped_medians`: as wide as the requests differ, not as narrow as the gaps are many. None for fewer than two
    groups.
    """
    medians = grouped_medians(values, groups, np.random.default_rng(seed), grouped_resamples(len(values)))
    return None if medians is None else middle_interval(medians, level)


def grouped_resamples(count: int) -> int:
    """1000 resamples, or 200 for more than 100,000 values."""
    return 1000 if 1000 * count <= WORK else FEW_RESAMPLES


def grouped_medians(
    values: Values, groups: Sequence[int] | npt.NDArray[Any] | pd.Series, draw: np.random.Generator, resamples: int
) -> Floats | None:
    """The medians of so many cluster bootstraps: whole groups are resampled. None for fewer than two groups.

    A resample is a weight for each group, and its median where the running weight of the sorted values passes one half.
    That is nearly always among the middle values, so only these are sorted, and all of them where it is not.
    """
    samples = np.asarray(values, dtype="float64")
    owners = np.asarray(groups)
    if not (there := ~np.isnan(samples)).all():
        samples, owners = samples[there], owners[there]
    codes, names = _groups(owners)
    if len(names) < 2:
        return None
    sizes = np.bincount(codes)
    middle = _between(samples, codes, *np.quantile(samples[:: 1 + len(samples) // 100_000], [0.4, 0.6]))
    everything = None
    medians = np.empty(resamples)
    for at in range(resamples):
        weight = np.bincount(draw.integers(0, len(names), len(names)), minlength=len(names))
        found = _weighted_median(middle, weight, int(weight @ sizes))
        if found is None:
            everything = everything or _between(samples, codes, -np.inf, np.inf)
            found = _weighted_median(everything, weight, int(weight @ sizes))
        medians[at] = found
    return medians


def _groups(owners: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int32], Any]:
    """A number for each group, by value, and the groups; run by run, for a request's gaps stand together."""
    starts = np.flatnonzero(np.r_[True, owners[1:] != owners[:-1]][: len(owners)])
    codes, names = pd.factorize(owners[starts])
    return np.repeat(codes.astype("int32"), np.diff(starts, append=len(owners))), names


def _between(samples: Floats, codes: npt.NDArray[Any], low: float, high: float) -> tuple[Floats, Any, Any]:
    """The samples from `low` to `high` in order, the group of each, and how many lower ones each group has."""
    inside = (samples >= low) & (samples <= high)
    order = np.argsort(samples[inside], kind="stable")
    lower = np.bincount(codes[samples < low], minlength=codes.max() + 1)
    return samples[inside][order], codes[inside][order], lower


def _weighted_median(sorted_part: tuple[Floats, Any, Any], weight: npt.NDArray[Any], total: int) -> float | None:
    """The median of all samples, each as often as its group's weight says; None where it is not in this part."""
    ordered, owner, lower = sorted_part
    if not len(ordered):
        return None
    running = weight @ lower + np.cumsum(weight[owner])
    if weight @ lower >= total / 2 or running[-1] <= total / 2:
        return None
    below, above = np.searchsorted(running, total / 2, "left"), np.searchsorted(running, total / 2, "right")
    return float(ordered[below] + ordered[above]) / 2


FEWEST_REQUESTS = 10  # requests
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
    rows = completed_rows(requests)
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
    rows = completed_rows(requests)
    rows = rows[rows["completion_tokens"].notna() & rows["done_s"].notna()]
    if len(rows) < FEWEST_REQUESTS or summary[name] is None:
        return None
    seconds = rows["done_s"].to_numpy("float64")
    counted = rows["completion_tokens"].to_numpy("float64") if name != "request_s" else np.ones(len(rows))
    in_flight = summary[name] * seconds.sum() / counted.sum()
    parts = [counted[which].sum(axis=1) / seconds[which].sum(axis=1) for which in resample_indices(len(rows), draw)]
    return np.asarray(in_flight * np.concatenate(parts), dtype="float64")


def resample_indices(count: int, draw: np.random.Generator) -> Iterator[npt.NDArray[np.int64]]:
    """RESAMPLES rows of places drawn with replacement, so many at a time that memory stays flat."""
    rows = max(1, VALUES_AT_ONCE // count)
    for start in range(0, RESAMPLES, rows):
        yield draw.integers(0, count, (min(rows, RESAMPLES - start), count))


def completed_rows(requests: pd.DataFrame) -> pd.DataFrame:
    """The measured requests that were completed."""
    rows = measured_rows(requests)
    return rows[rows["outcome"] == "completed"]


def _of_draws(draws: Floats | None) -> Interval:
    return None if draws is None else list(middle_interval(draws, 0.95))


def percentile_interval(values: pd.Series, p: float, *, resolved: bool) -> Interval:
    """95 % interval of the p-th percentile (inclusive), one value a request; None where it is not resolved."""
    if not resolved:
        return None

    def at(rows: Floats) -> Floats:
        return np.asarray(np.percentile(rows, p, axis=1, overwrite_input=True), dtype="float64")

    found = bootstrap_interval(known(values), at)
    return list(found) if found else None
