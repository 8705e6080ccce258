"""Two results side by side: the relative difference of each quantity, its interval, and a word for it. Pure.

The word says no more than the interval does: "same" only where all of it lies within the margin, "faster" or "slower"
only where all of it lies on one side of zero, else "cannot tell".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from gptoss_bench.stats.bootstrap import (
    FEWEST_REQUESTS,
    completed_rows,
    grouped_medians,
    grouped_resamples,
    rate_draws,
    resample_indices,
)
from gptoss_bench.stats.percentiles import Floats, known, measured_rows, middle_interval

SAME, FASTER, SLOWER, UNKNOWN = "same", "faster", "slower", "cannot tell"
SAME_MARGIN = 0.03
TIMES = ("ttft_s", "ttfa_s", "tpot_s", "done_s")
GAPS = "itl_s"
RATE = "output_tok_s_total"


@dataclass(frozen=True, slots=True)
class Side:
    """One result: its summary, its request table, and the gaps of its event table (`summary.GAPS`), None without."""

    summary: Mapping[str, Any]
    requests: pd.DataFrame
    gaps: pd.DataFrame | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """One quantity of two results. `change` and `interval` (95 %) are shares of the first: 0.1 is 10 % more.

    `why` says in words what is missing where nothing can be told.
    """

    name: str
    first: float | None
    second: float | None
    change: float | None
    interval: tuple[float, float] | None
    word: str
    why: str | None = None

    @property
    def words(self) -> str:
        """The word, or why there is none better."""
        return f"{self.word}: {self.why}" if self.why else self.word

    @property
    def span(self) -> str:
        """The interval as text; empty where there is none."""
        return f"[{self.interval[0]:+.1%}, {self.interval[1]:+.1%}]" if self.interval else ""


def compare(first: Side, second: Side, *, margin: float = SAME_MARGIN, seed: int = 0) -> list[Difference]:
    """The differences of two results: medians of times and of the pooled gaps, then the rate of tokens.

    Requests of each side are resampled on their own (percentile bootstrap, 95 %), the gaps of a request together, for
    they are correlated. `margin` is what still counts as the same.
    """
    draw = np.random.default_rng(seed)
    sides = (first, second)
    found = []
    for name in TIMES:
        values = [known(completed_rows(side.requests)[name]) for side in sides]
        if any(map(len, values)) or any(side.summary[name]["p50"] for side in sides):
            draws = [_medians(one, draw) for one in values] if min(map(len, values)) >= FEWEST_REQUESTS else None
            found.append(_difference(name, sides, draws, margin, _too_few(min(map(len, values)))))
    found.append(_gaps(sides, margin, draw))
    rates = [rate_draws(side.summary, side.requests, RATE, draw) for side in sides]
    reported = [one for one in rates if one is not None]
    fewest = min(len(completed_rows(side.requests)) for side in sides)
    found.append(_difference(RATE, sides, reported if len(reported) == 2 else None, margin, _too_few(fewest)))
    return found


def comparison_table(sides: Mapping[str, Side], *, margin: float = SAME_MARGIN) -> pd.DataFrame:
    """One row a quantity and a later result, by name, each compared with the first: text where a reader wants it."""
    (_, first), *others = sides.items()
    rows = [
        {
            "quantity": one.name,
            "run": name,
            "first": one.first,
            "other": one.second,
            "change": "" if one.change is None else f"{one.change:+.1%}",
            "interval": one.span,
            "word": one.words,
        }
        for name, side in others
        for one in compare(first, side, margin=margin)
    ]
    return pd.DataFrame(rows, columns=["quantity", "run", "first", "other", "change", "interval", "word"])


def comparison_word(interval: tuple[float, float], margin: float, *, lower_is_faster: bool) -> str:
    """What an interval of a relative change says."""
    low, high = interval
    if -margin <= low and high <= margin:
        return SAME
    if low <= 0 <= high:
        return UNKNOWN
    return FASTER if (high < 0) == lower_is_faster else SLOWER


def _gaps(sides: Sequence[Side], margin: float, draw: np.random.Generator) -> Difference:
    tables = [_pooled(side) for side in sides if side.gaps is not None]
    if len(tables) < 2:
        return _difference(GAPS, sides, None, margin, "a side keeps no single gap between tokens")
    fewest = min(table["request_id"].nunique() for table in tables)
    if fewest < FEWEST_REQUESTS:
        return _difference(GAPS, sides, None, margin, _too_few(fewest))
    resamples = grouped_resamples(max(map(len, tables)))
    drawn = [grouped_medians(table[GAPS], table["request_id"], draw, resamples) for table in tables]
    return _difference(GAPS, sides, [one for one in drawn if one is not None], margin, "")


def _pooled(side: Side) -> pd.DataFrame:
    """The gaps of its completed requests."""
    gaps = measured_rows(side.gaps if side.gaps is not None else pd.DataFrame())
    there = gaps[GAPS].notna() & gaps["request_id"].isin(completed_rows(side.requests)["request_id"])
    return gaps[there]


def _difference(
    name: str, sides: Sequence[Side], draws: Sequence[Floats] | None, margin: float, without: str
) -> Difference:
    """`without` says why there are no draws."""
    first, second = (_reported(side.summary, name) for side in sides)
    change = second / first - 1 if first and second is not None else None
    if draws is None or change is None:
        return Difference(name, first, second, change, None, UNKNOWN, without or "a side does not tell it")
    # 0 where all lay within one read of the socket; a share of it is none
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn = draws[1] / draws[0] - 1
    if not np.isfinite(drawn).all():
        return Difference(name, first, second, change, None, UNKNOWN, "half of the first side's values may be 0")
    interval = middle_interval(drawn, 0.95)
    return Difference(
        name, first, second, change, interval, comparison_word(interval, margin, lower_is_faster=name != RATE)
    )


def _reported(summary: Mapping[str, Any], name: str) -> float | None:
    value: float | None = summary[name] if name == RATE else summary[name]["p50"]
    return value


def _too_few(count: int) -> str:
    return f"one side has {count} requests that tell it; it takes {FEWEST_REQUESTS}"


def _medians(samples: Floats, draw: np.random.Generator) -> Floats:
    return np.concatenate([np.median(samples[which], axis=1) for which in resample_indices(len(samples), draw)])
