"""Pooled values of requests resampled by request: draws of their median, and its interval. Pure."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from gptoss_bench.metrics import Floats, Values, middle

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
    return None if medians is None else middle(medians, level)


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
