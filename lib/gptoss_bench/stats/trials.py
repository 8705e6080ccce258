"""Summarise one load that ran several times: the interval over the trials, and whether they drift. Pure.

Requests of one trial are correlated, so only several trials show how much the next run may differ.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import factorial, sqrt
from statistics import NormalDist, fmean

from gptoss_bench.runs import LoadSummary
from gptoss_bench.stats.bootstrap import TRIAL_RESAMPLES, bootstrap_interval, row_means

MIN_TRIALS = 5  # for an interval, and to separate a trend from chance
DRIFT_P = 0.05
SPREAD_RATES, SPREAD_TIMES = ("output_tok_s_total",), ("ttft_s", "tpot_s")  # of the times: their medians
# 97.5 % points of Student's t for 4, 5, … degrees of freedom; the last one is used for all above
_T = (
    2.776,
    2.571,
    2.447,
    2.365,
    2.306,
    2.262,
    2.228,
    2.201,
    2.179,
    2.160,
    2.145,
    2.131,
    2.120,
    2.110,
    2.101,
    2.093,
)


@dataclass(frozen=True, slots=True)
class TrialSpread:
    """One quantity over `n` trials.

    `interval` (95 %, of the mean) and `drift_p` (p-value of a trend) are None for fewer than MIN_TRIALS; `change` is
    the last value over the first, less 1.
    """

    n: int
    mean: float
    interval: tuple[float, float] | None
    drift_p: float | None
    change: float

    @property
    def half_width(self) -> float | None:
        """Half of the interval's width, as a share of the mean."""
        if self.interval is None or self.mean == 0:
            return None
        return (self.interval[1] - self.interval[0]) / 2 / abs(self.mean)

    @property
    def drifts(self) -> bool:
        """Whether the trials rise or fall more consistently than chance explains."""
        return self.drift_p is not None and self.drift_p < DRIFT_P


def trial_spread(values: Sequence[float], seed: int = 0) -> TrialSpread:
    """Return mean, interval and trend of one value per trial, in the order of the trials."""
    change = values[-1] / values[0] - 1 if values[0] else 0.0
    return TrialSpread(len(values), fmean(values), _mean_interval(values, seed), drift_p(values), change)


def _mean_interval(values: Sequence[float], seed: int) -> tuple[float, float] | None:
    """Return the expanded percentile bootstrap interval of the mean (Hesterberg 2015).

    The plain one is too narrow for so few values. The level is chosen so that the mean of normal values is covered as
    Student's t covers it.
    """
    n = len(values)
    if n < MIN_TRIALS:
        return None
    reach = sqrt(n / (n - 1)) * _T[min(n - MIN_TRIALS, len(_T) - 1)]
    level = 1 - 2 * NormalDist().cdf(-reach)
    return bootstrap_interval(values, row_means, level=level, resamples=TRIAL_RESAMPLES, seed=seed)


def drift_p(values: Sequence[float]) -> float | None:
    """Return the p-value of a trend (Kendall 1938, exact, two-sided); None for fewer than MIN_TRIALS values."""
    n, values = len(values), [float(value) for value in values]
    if n < MIN_TRIALS:
        return None
    pairs = [
        (values[later] > values[at]) - (values[later] < values[at]) for at in range(n) for later in range(at + 1, n)
    ]
    discordant = (len(pairs) - abs(sum(pairs))) // 2
    orders = [1]  # number of orders of the values, by number of inversions
    for size in range(2, n + 1):
        orders = [sum(orders[max(0, k - size + 1) : k + 1]) for k in range(len(orders) + size - 1)]
    return min(1.0, 2 * sum(orders[: discordant + 1]) / factorial(n))


def trial_spreads(summaries: Sequence[LoadSummary]) -> dict[str, TrialSpread]:
    """Return the spread of each of SPREAD_RATES and SPREAD_TIMES that every trial reports."""
    values = {name: [one.rate(name) for one in summaries] for name in SPREAD_RATES}
    values |= {name: [one.distribution(name).p50 for one in summaries] for name in SPREAD_TIMES}
    known = {name: [value for value in of if value is not None] for name, of in values.items()}
    return {name: trial_spread(of) for name, of in known.items() if of and len(of) == len(summaries)}


def intervals_within(spreads: Mapping[str, TrialSpread], limit: float) -> bool:
    """Return whether the interval of every quantity lies within this share of its mean."""
    widths = [one.half_width for one in spreads.values()]
    return bool(widths) and all(width is not None and width <= limit for width in widths)


def trials_text(spreads: Mapping[str, TrialSpread], limit: float) -> list[str]:
    """Return a line per quantity, and a warning if the trials drift or their intervals are wider than `limit`."""
    lines = []
    for name, one in spreads.items():
        reach = "" if one.half_width is None else f" ± {one.half_width:.1%}"
        lines.append(f"{name}: {one.mean:.4g}{reach} over {one.n} trials")
        if one.drifts:
            moved = f"{one.change:+.1%} from the first to the last, p = {one.drift_p:.2g}"
            lines.append(f"  DRIFT: {moved}: the machine or the server is not steady")
    if any(one.interval is None for one in spreads.values()):
        lines.append(f"no interval: {MIN_TRIALS} trials are needed")
    elif not intervals_within(spreads, limit):
        lines.append(f"NOT WITHIN {limit:.1%}: run more trials, or use a quieter machine")
    return lines
