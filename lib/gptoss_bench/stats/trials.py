"""The same load several times: the interval over the trials, and whether they drift. Pure.

Requests of one trial share its weather; only trials tell how far the next one may be off.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import factorial, sqrt
from statistics import NormalDist, fmean
from typing import Any

import numpy as np

from gptoss_bench.stats.percentiles import Floats, bootstrap_interval

FEWEST_TRIALS = 5  # trials for an interval, and for a trend to be told from chance
DRIFT_P = 0.05
WATCHED = ("output_tok_s_total", "ttft_s", "tpot_s")  # the rate, and medians of times
# 97.5 % points of Student's t for 4, 5, … degrees of freedom; the last one serves all above
_T = (2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093)


@dataclass(frozen=True, slots=True)
class TrialSpread:
    """One quantity over `n` trials. `interval`: 95 % of the mean; None for fewer than 5. `drift_p`: of a trend."""

    n: int
    mean: float
    interval: tuple[float, float] | None
    drift_p: float | None
    change: float

    @property
    def half_width(self) -> float | None:
        """Of the interval, as a share of the mean."""
        if self.interval is None or self.mean == 0:
            return None
        return (self.interval[1] - self.interval[0]) / 2 / abs(self.mean)

    @property
    def drifts(self) -> bool:
        """Whether the trials rise or fall from one to the next more than chance would have it."""
        return self.drift_p is not None and self.drift_p < DRIFT_P


def trial_spread(values: Sequence[float], seed: int = 0) -> TrialSpread:
    """Mean, interval and trend of one value a trial, in their order. `change` is the last over the first, less 1."""
    change = values[-1] / values[0] - 1 if values[0] else 0.0
    return TrialSpread(len(values), fmean(values), _interval(values, seed), drift_p(values), change)


def _interval(values: Sequence[float], seed: int) -> tuple[float, float] | None:
    """Expanded percentile bootstrap of the mean (Hesterberg 2015): the plain one is too narrow for so few values.

    Its level is that at which a normal mean would be covered as Student's t covers it.
    """
    n = len(values)
    if n < FEWEST_TRIALS:
        return None
    reach = sqrt(n / (n - 1)) * _T[min(n - FEWEST_TRIALS, len(_T) - 1)]
    level = 1 - 2 * NormalDist().cdf(-reach)
    return bootstrap_interval(values, row_means, level=level, resamples=4000, seed=seed)


def row_means(rows: Floats) -> Floats:
    """The mean of each row: what `bootstrap_interval` takes for its statistic."""
    return np.asarray(np.mean(rows, axis=1), dtype="float64")


def drift_p(values: Sequence[float]) -> float | None:
    """How often chance alone orders so many trials as strictly (Kendall 1938, exact, two-sided); None for under 5."""
    n, values = len(values), [float(value) for value in values]
    if n < FEWEST_TRIALS:
        return None
    pairs = [
        (values[later] > values[at]) - (values[later] < values[at]) for at in range(n) for later in range(at + 1, n)
    ]
    discordant = (len(pairs) - abs(sum(pairs))) // 2
    ways = [1]  # orders of so many values by their number of inversions
    for size in range(2, n + 1):
        ways = [sum(ways[max(0, k - size + 1) : k + 1]) for k in range(len(ways) + size - 1)]
    return min(1.0, 2 * sum(ways[: discordant + 1]) / factorial(n))


def watched_quantities(summaries: Sequence[Mapping[str, Any]]) -> dict[str, TrialSpread]:
    """The spread of each watched quantity that every trial tells."""
    found = {}
    for name in WATCHED:
        values = [one[name]["p50"] if isinstance(one[name], Mapping) else one[name] for one in summaries]
        if values and None not in values:
            found[name] = trial_spread(values)
    return found


def narrow_enough(spreads: Mapping[str, TrialSpread], until: float) -> bool:
    """Whether the interval of each quantity reaches no further than `until`, a share, to either side of its mean."""
    widths = [one.half_width for one in spreads.values()]
    return bool(widths) and all(width is not None and width <= until for width in widths)


def trial_text(spreads: Mapping[str, TrialSpread], until: float) -> list[str]:
    """A line a quantity, and what to think of the whole."""
    lines = []
    for name, one in spreads.items():
        reach = "" if one.half_width is None else f" ± {one.half_width:.1%}"
        lines.append(f"{name}: {one.mean:.4g}{reach} over {one.n} trials")
        if one.drifts:
            moved = f"{one.change:+.1%} from the first to the last, p = {one.drift_p:.2g}"
            lines.append(f"  DRIFT: {moved}: the machine or the server is not steady")
    if any(one.interval is None for one in spreads.values()):
        lines.append(f"no interval: it takes {FEWEST_TRIALS} trials")
    elif not narrow_enough(spreads, until):
        lines.append(f"NOT WITHIN {until:.1%}: more trials, or a quieter machine")
    return lines
