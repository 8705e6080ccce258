"""Compare two results: their relative differences, each with a 95 % interval and a verdict. Pure.

The verdict claims no more than the interval supports: "same" only if all of it lies within the margin, "faster" or
"slower" only if all of it lies on one side of zero, else "cannot tell".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from gptoss_bench.runs import LoadSummary
from gptoss_bench.stats.bootstrap import (
    MIN_REQUESTS,
    central_interval,
    grouped_medians,
    grouped_resamples,
    median_draws,
    rate_draws,
)
from gptoss_bench.stats.percentiles import Floats, non_null
from gptoss_bench.stats.row_selection import completed_rows, measured_rows

SAME, FASTER, SLOWER, UNKNOWN = "same", "faster", "slower", "cannot tell"
SAME_MARGIN = 0.03
TIMES = ("ttft_s", "ttfa_s", "tpot_s", "done_s")
GAP = "itl_s"
RATE = "output_tok_s_total"


@dataclass(frozen=True, slots=True)
class ComparedResult:
    """One result: summary, request table, and GAP_COLUMNS of its event table (None if it has no events)."""

    summary: LoadSummary
    requests: pd.DataFrame
    gaps: pd.DataFrame | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """One quantity of two results. `change` and `interval` (95 %) are shares of the first: 0.1 is 10 % more.

    `why` is the reason why the verdict is "cannot tell" without an interval, else None.
    """

    name: str
    first: float | None
    second: float | None
    change: float | None
    interval: tuple[float, float] | None
    verdict: str
    why: str | None = None

    @property
    def verdict_text(self) -> str:
        """The verdict, with the reason if there is one."""
        return f"{self.verdict}: {self.why}" if self.why else self.verdict

    @property
    def interval_text(self) -> str:
        """The interval in percent; empty if there is none."""
        return f"[{self.interval[0]:+.1%}, {self.interval[1]:+.1%}]" if self.interval else ""


def compare_results(
    first: ComparedResult, second: ComparedResult, *, margin: float = SAME_MARGIN, seed: int = 0
) -> list[Difference]:
    """Return the differences of the median times, of the median pooled gap and of the token rate.

    The requests of each result are resampled independently (percentile bootstrap, 95 %), the gaps of a request
    together, since they are correlated. `margin` is the largest relative change that counts as "same".
    """
    draw = np.random.default_rng(seed)
    sides = (first, second)
    found = []
    for name in TIMES:
        values = [non_null(completed_rows(side.requests)[name]) for side in sides]
        fewest = min(map(len, values))
        if any(map(len, values)) or any(side.summary.distribution(name).p50 for side in sides):
            draws = [median_draws(one, draw) for one in values] if fewest >= MIN_REQUESTS else None
            found.append(_difference(name, sides, draws, margin, _too_few(fewest)))
    found.append(_gap_difference(sides, margin, draw))
    rates = [rate_draws(side.summary, side.requests, RATE, draw) for side in sides]
    reported = [one for one in rates if one is not None]
    fewest = min(len(completed_rows(side.requests)) for side in sides)
    found.append(_difference(RATE, sides, reported if len(reported) == 2 else None, margin, _too_few(fewest)))
    return found


def comparison_table(sides: Mapping[str, ComparedResult], *, margin: float = SAME_MARGIN) -> pd.DataFrame:
    """Return one row per quantity and later result, each compared with the first result, formatted for display."""
    (_, first), *others = sides.items()
    rows = [
        {
            "quantity": one.name,
            "run": name,
            "first": one.first,
            "other": one.second,
            "change": "" if one.change is None else f"{one.change:+.1%}",
            "interval": one.interval_text,
            "word": one.verdict_text,
        }
        for name, side in others
        for one in compare_results(first, side, margin=margin)
    ]
    return pd.DataFrame(rows, columns=["quantity", "run", "first", "other", "change", "interval", "word"])


def interval_verdict(interval: tuple[float, float], margin: float, *, lower_is_faster: bool) -> str:
    """Return the verdict that the interval of a relative change supports."""
    low, high = interval
    if -margin <= low and high <= margin:
        return SAME
    if low <= 0 <= high:
        return UNKNOWN
    return FASTER if (high < 0) == lower_is_faster else SLOWER


def _gap_difference(sides: Sequence[ComparedResult], margin: float, draw: np.random.Generator) -> Difference:
    tables = [_completed_gaps(side.gaps, side.requests) for side in sides if side.gaps is not None]
    if len(tables) < 2:
        return _difference(GAP, sides, None, margin, "a side has no single gaps between tokens")
    fewest = min(table["request_id"].nunique() for table in tables)
    if fewest < MIN_REQUESTS:
        return _difference(GAP, sides, None, margin, _too_few(fewest))
    resamples = grouped_resamples(max(map(len, tables)))
    drawn = [grouped_medians(table[GAP], table["request_id"], draw, resamples) for table in tables]
    return _difference(GAP, sides, [one for one in drawn if one is not None], margin, "")


def _completed_gaps(gaps: pd.DataFrame, requests: pd.DataFrame) -> pd.DataFrame:
    gaps = measured_rows(gaps)
    return gaps[gaps[GAP].notna() & gaps["request_id"].isin(completed_rows(requests)["request_id"])]


def _difference(
    name: str, sides: Sequence[ComparedResult], draws: Sequence[Floats] | None, margin: float, why_no_draws: str
) -> Difference:
    first, second = (_summary_value(side.summary, name) for side in sides)
    change = second / first - 1 if first and second is not None else None
    if draws is None or change is None:
        return Difference(name, first, second, change, None, UNKNOWN, why_no_draws or "a side does not report it")
    # A median gap is 0 where one read of the socket brought most tokens: it has no relative change.
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn = draws[1] / draws[0] - 1
    if not np.isfinite(drawn).all():
        return Difference(name, first, second, change, None, UNKNOWN, "half of the first side's values may be 0")
    interval = central_interval(drawn)
    verdict = interval_verdict(interval, margin, lower_is_faster=name != RATE)
    return Difference(name, first, second, change, interval, verdict)


def _summary_value(summary: LoadSummary, name: str) -> float | None:
    return summary.rate(name) if name == RATE else summary.distribution(name).p50


def _too_few(count: int) -> str:
    return f"one side has only {count} requests with a value, {MIN_REQUESTS} are needed"
