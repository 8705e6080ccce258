"""Several results, of this kit and of other tools, as one table of points under this kit's names. Pure.

A row is one percentile of one quantity of one result; what a tool does not tell is a row without a value.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pandas as pd

from gptoss_bench.stats.bootstrap import completed_rows, percentile_interval

QUANTITIES = {"ttft_s": "TTFT", "itl_s": "ITL", "tpot_s": "TPOT", "done_s": "Latency of a request"}
PERCENTILES = {"p50": 50, "p90": 90, "p99": 99}
COLUMNS = ("result", "quantity", "percentile", "value_s", "low_s", "high_s", "resolved", "notes")


class Judgeable(Protocol):
    """What `judged.read` gives."""

    @property
    def name(self) -> str:
        """What to call it by."""

    @property
    def summary(self) -> Mapping[str, Any]:
        """As `summarise` makes it."""

    @property
    def requests(self) -> pd.DataFrame:
        """A row a request; none where its file keeps none."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Where its tool means something else; one that begins with the name of a quantity is about that alone."""


@dataclass(frozen=True, slots=True)
class Beside:
    """`points` has COLUMNS, a row a result, quantity and percentile; `notes` are the numbers of those that apply.

    `notes` are all of them, by number from 1.
    """

    points: pd.DataFrame
    notes: dict[int, str]


def points_side_by_side(results: Sequence[Judgeable]) -> Beside:
    """Points and notes of the results, in their order.

    The interval is 95 %: of a median what the summary says, of p90 and p99 a bootstrap over requests, where the result
    keeps them and the percentile is resolved; else it is not known.
    """
    numbers = {note: number for number, note in enumerate(dict.fromkeys(n for one in results for n in one.notes), 1)}
    rows = [
        _row(at, one, quantity, percentile, [numbers[note] for note in one.notes if about_result(note) == quantity])
        for at, one in enumerate(results)
        for quantity in QUANTITIES
        for percentile in PERCENTILES
    ]
    return Beside(pd.DataFrame(rows, columns=list(COLUMNS)), {number: note for note, number in numbers.items()})


def about_result(note: str) -> str | None:
    """The quantity that a note begins with; None where it is about the whole result."""
    names = {"TTFT": "ttft_s", "ITL": "itl_s", "TPOT": "tpot_s", "latency": "done_s"}
    return names.get(note.partition(" ")[0].rstrip(":,"))


def _row(at: int, one: Judgeable, quantity: str, percentile: str, notes: list[int]) -> tuple[Any, ...]:
    reported = one.summary.get(quantity) or {}
    value, resolved = reported.get(percentile), bool((reported.get("resolved") or {}).get(percentile))
    low, high = _interval(one, quantity, percentile, resolved=resolved) if value is not None else (None, None)
    return at, quantity, percentile, value, low, high, resolved, notes


def _interval(
    one: Judgeable, quantity: str, percentile: str, *, resolved: bool
) -> tuple[float, float] | tuple[None, None]:
    if percentile == "p50":
        known = one.summary[quantity].get("p50_interval")
        return (known[0], known[1]) if known else (None, None)
    if quantity not in one.requests:
        return None, None
    values = completed_rows(one.requests)[quantity]
    found = percentile_interval(values, PERCENTILES[percentile], resolved=resolved)
    return (found[0], found[1]) if found else (None, None)
