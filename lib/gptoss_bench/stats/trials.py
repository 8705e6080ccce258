"""Summarise several runs of one load: the interval of each figure over the runs, and whether they drift. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from math import factorial
from statistics import fmean

import numpy as np
from pydantic import JsonValue

from gptoss_bench.runs import LoadSummary, SamplingInterval, number_at
from gptoss_bench.stats.bootstrap import MIN_RUNS, interval_over_runs
from gptoss_bench.stats.comparison import QUANTITY_WORDS

MIN_TREND_RUNS = 5  # to separate a trend from chance; `--until` stops at the earliest after as many
DRIFT_P = 0.05
SOUGHT_POWER = 0.8  # probability with which a drift is found whose size is stated
SIMULATED_ORDERS = 4000
WATCHED = ("output_tok_s_total", "ttft_s.p50", "tpot_s.p50")  # `--until` ends when these are known well enough
REPORTED = (
    *("request_s", "output_tok_s_total", "output_tok_s", "ttft_s.p50", "ttft_s.p90", "ttft_s.p99", "itl_s.p50"),
    *("itl_s.p99", "tpot_s.p50", "done_s.p50", "done_s.p90", "done_s.p99"),
)


@dataclass(frozen=True, slots=True)
class RunSpread:
    """One figure over `n` runs.

    `interval` is of the mean (95 %, Student's t over the runs). `drift_p` is the p-value of a trend, None for fewer
    than MIN_TREND_RUNS runs. `drift_seen` is the smallest drift from the first run to the last that the test finds with
    a probability of 80 %, as a share of the mean; None if unknown. `change` is the last value over the first, less 1.
    """

    n: int
    mean: float
    interval: SamplingInterval
    drift_p: float | None
    drift_seen: float | None
    change: float

    @property
    def half_width(self) -> float | None:
        """Half of the interval's width, as a share of the mean."""
        ends = self.interval.ends
        return None if ends is None or self.mean == 0 else (ends[1] - ends[0]) / 2 / abs(self.mean)

    def document(self) -> dict[str, JsonValue]:
        """Return the fields as JSON types."""
        return {**asdict(self), "interval": self.interval.document()}

    @property
    def drifts(self) -> bool:
        """Whether the runs rise or fall more consistently than chance explains."""
        return self.drift_p is not None and self.drift_p < DRIFT_P


def run_spread(values: Sequence[float]) -> RunSpread:
    """Return mean, interval and trend of one value per run, in the order of the runs."""
    n, mean = len(values), fmean(values)
    seen = None
    if n >= MIN_TREND_RUNS and mean:
        noise = float(np.sqrt(np.mean(np.diff(values) ** 2) / 2))  # of successive runs: a drift hardly adds to it
        seen = least_drift(n) * noise / abs(mean)
    change = values[-1] / values[0] - 1 if values[0] else 0.0
    return RunSpread(n, mean, interval_over_runs(values), drift_p(values), seen, change)


def drift_p(values: Sequence[float]) -> float | None:
    """Return the p-value of a trend (Kendall 1938, exact, two-sided); None for fewer than MIN_TREND_RUNS values."""
    n, values = len(values), [float(value) for value in values]
    if n < MIN_TREND_RUNS:
        return None
    pairs = [
        (values[later] > values[at]) - (values[later] < values[at]) for at in range(n) for later in range(at + 1, n)
    ]
    return _p_of_discordant((len(pairs) - abs(sum(pairs))) // 2, n)


@cache
def least_drift(n: int) -> float:
    """Return the drift from the first of `n` runs to the last that the test finds with a probability of 80 %.

    It is in standard deviations of a run without drift, by simulation with normal noise.
    """
    noise = np.random.default_rng(0).standard_normal((SIMULATED_ORDERS, n))
    earlier, later = np.triu_indices(n, 1)

    def power(drift: float) -> float:
        values = noise + drift * np.linspace(0, 1, n)
        strictness = np.abs(np.sign(values[:, later] - values[:, earlier]).sum(axis=1))
        discordant = ((len(later) - strictness) // 2).astype(int)
        return float(np.mean([_p_of_discordant(int(one), n) < DRIFT_P for one in discordant]))

    low, high = 0.0, 64.0
    for _ in range(10):
        middle = (low + high) / 2
        low, high = (low, middle) if power(middle) >= SOUGHT_POWER else (middle, high)
    return high


@cache
def _p_of_discordant(discordant: int, n: int) -> float:
    """Return the chance that an order of `n` values has at most so many pairs against its trend."""
    orders = [1]  # number of orders of the values, by number of inversions
    for size in range(2, n + 1):
        orders = [sum(orders[max(0, k - size + 1) : k + 1]) for k in range(len(orders) + size - 1)]
    return min(1.0, 2 * sum(orders[: discordant + 1]) / factorial(n))


def run_spreads(summaries: Sequence[LoadSummary]) -> dict[str, RunSpread]:
    """Return the spread of each figure, by its path in the summary, that every run reports."""
    values = {path: [number_at(one, path) for one in summaries] for path in REPORTED}
    known = {path: [value for value in of if value is not None] for path, of in values.items()}
    return {path: run_spread(of) for path, of in known.items() if of and len(of) == len(summaries)}


def intervals_within(spreads: Mapping[str, RunSpread], limit: float) -> bool:
    """Return whether at least MIN_TREND_RUNS runs know WATCHED within this share of their means.

    Stopping as soon as that is so makes an interval hold the true mean in 92 to 93 % of the cases, not in 95 %.
    """
    watched = [spreads[path] for path in WATCHED if path in spreads]
    enough = all(one.n >= MIN_TREND_RUNS and (one.half_width or 0.0) <= limit for one in watched)
    return bool(watched) and enough


def _words(path: str) -> str:
    """Return the name of a figure with its unit, such as "TTFT p50, s"."""
    name, _, statistic = path.partition(".")
    words = QUANTITY_WORDS.get(name, name)
    return words.replace(",", f" {statistic},", 1) if statistic else words


def spreads_text(spreads: Mapping[str, RunSpread], limit: float | None = None) -> list[str]:
    """Return a line per figure, and what is to be known about drift.

    With a `limit`, a line says if the intervals of WATCHED are wider than it.
    """
    runs = max((one.n for one in spreads.values()), default=0)
    if runs == 1:
        return [f"one run: an interval over runs needs {MIN_RUNS}, set repeats to {MIN_RUNS}"]
    lines = []
    for path, one in spreads.items():
        ends = one.interval.ends
        reach = (
            f"{one.interval.why}" if ends is None else f"± {one.half_width or 0:.1%}  [{ends[0]:.4g}, {ends[1]:.4g}]"
        )
        lines.append(f"{_words(path):<20}{one.mean:>10.4g}  {reach}")
        if one.drifts:
            moved = f"{one.change:+.1%} from the first to the last, p = {one.drift_p:.2g}"
            lines.append(f"  DRIFT: {moved}: the machine or the server is not steady")
    seen = [spreads[path].drift_seen for path in WATCHED if path in spreads]
    if any(one is not None for one in seen):
        least = max(one for one in seen if one is not None)
        lines.append(f"drift: of {runs} runs, the test finds one of {least:.1%} or more with a probability of 80%")
    elif runs:
        lines.append(f"drift: not tested, {MIN_TREND_RUNS} runs are needed")
    if limit is not None and not intervals_within(spreads, limit):
        lines.append(f"NOT WITHIN {limit:.1%}: run more often, or use a quieter machine")
    return lines
