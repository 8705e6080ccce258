"""Two results side by side: the relative difference of each quantity, its interval, and a word for it. Pure.

The word says no more than the interval does: "same" only where all of it lies within the margin, "faster" or "slower"
only where all of it lies on one side of zero, else "cannot tell".
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from gptoss_bench.metrics import Floats, known, measured

SAME, FASTER, SLOWER, UNKNOWN = "same", "faster", "slower", "cannot tell"
MARGIN = 0.03
FEWEST = 10  # requests of each side
RESAMPLES = 2000
VALUES_AT_ONCE = 2_000_000
TIMES = ("ttft_s", "ttfa_s", "tpot_s", "done_s")
RATE = "output_tok_s_total"


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


def compare(
    first: tuple[Mapping[str, Any], pd.DataFrame],
    second: tuple[Mapping[str, Any], pd.DataFrame],
    *,
    margin: float = MARGIN,
    seed: int = 0,
) -> list[Difference]:
    """The differences of two results, each a summary and its request table: medians of times, then the rate of tokens.

    Requests of each side are resampled on their own (bootstrap, 95 %). `margin` is what still counts as the same.
    """
    draw = np.random.default_rng(seed)
    found = []
    for name in TIMES:
        sides = [known(_completed(requests)[name]) for _, requests in (first, second)]
        if all(len(side) == 0 for side in sides) and not any(summary[name]["p50"] for summary, _ in (first, second)):
            continue
        draws = [_medians(side, draw) for side in sides] if _enough(sides) else None
        told = [summary[name]["p50"] for summary, _ in (first, second)]
        found.append(_difference(name, told, draws, margin, lower_is_faster=True, fewest=min(map(len, sides))))
    both = [_rates(summary, requests, draw) for summary, requests in (first, second)]
    draws = [side for side in both if side is not None]
    rates = [summary[RATE] for summary, _ in (first, second)]
    fewest = min(len(_completed(requests)) for _, requests in (first, second))
    enough = draws if len(draws) == 2 else None
    found.append(_difference(RATE, rates, enough, margin, lower_is_faster=False, fewest=fewest))
    return found


def word(interval: tuple[float, float], margin: float, *, lower_is_faster: bool) -> str:
    """What an interval of a relative change says."""
    low, high = interval
    if -margin <= low and high <= margin:
        return SAME
    if low <= 0 <= high:
        return UNKNOWN
    return FASTER if (high < 0) == lower_is_faster else SLOWER


def _difference(
    name: str,
    told: list[float | None],
    draws: list[Floats] | None,
    margin: float,
    *,
    lower_is_faster: bool,
    fewest: int,
) -> Difference:
    first, second = told
    change = second / first - 1 if first and second is not None else None
    if draws is None or change is None or not first:
        why = f"one side has {fewest} requests that tell it; it takes {FEWEST}"
        return Difference(name, first, second, change, None, UNKNOWN, why)
    drawn = draws[1] / draws[0] - 1
    low, high = np.quantile(drawn, [0.025, 0.975])
    interval = (float(low), float(high))
    return Difference(name, first, second, change, interval, word(interval, margin, lower_is_faster=lower_is_faster))


def _completed(requests: pd.DataFrame) -> pd.DataFrame:
    rows = measured(requests)
    return rows[rows["outcome"] == "completed"]


def _enough(sides: list[Floats]) -> bool:
    return all(len(side) >= FEWEST for side in sides)


def _medians(samples: Floats, draw: np.random.Generator) -> Floats:
    return np.concatenate([np.median(samples[which], axis=1) for which in _drawn(len(samples), draw)])


def _drawn(count: int, draw: np.random.Generator) -> Iterator[npt.NDArray[np.int64]]:
    """RESAMPLES rows of places drawn with replacement, so many at a time that memory stays flat."""
    rows = max(1, VALUES_AT_ONCE // count)
    for start in range(0, RESAMPLES, rows):
        yield draw.integers(0, count, (min(rows, RESAMPLES - start), count))


def _rates(summary: Mapping[str, Any], requests: pd.DataFrame, draw: np.random.Generator) -> Floats | None:
    """Draws of tokens a second: by Little's law it is the requests in flight times tokens over seconds of a request.

    Of the requests as they were this is the rate itself; resampled, tokens and seconds stay together.
    """
    rows = _completed(requests)
    rows = rows[rows["completion_tokens"].notna() & rows["done_s"].notna()]
    if len(rows) < FEWEST or summary[RATE] is None:
        return None
    tokens, seconds = rows["completion_tokens"].to_numpy("float64"), rows["done_s"].to_numpy("float64")
    in_flight = summary[RATE] * seconds.sum() / tokens.sum()
    parts = [tokens[which].sum(axis=1) / seconds[which].sum(axis=1) for which in _drawn(len(rows), draw)]
    return np.asarray(in_flight * np.concatenate(parts), dtype="float64")
