"""Put results of this kit and of other tools into one table of points under this kit's names. Pure.

A row is one percentile of one quantity of one result. Its value is null where the tool does not report it. Prefill and
decode rates, of tools that measure them apart, are a table of their own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pandas as pd

from gptoss_bench.runs import LoadSummary
from gptoss_bench.stats.comparison import MeasuredRate
from gptoss_bench.stats.percentiles import REPORTED_PERCENTILES

COMPARED_QUANTITIES = {"ttft_s": "TTFT", "itl_s": "ITL", "tpot_s": "TPOT", "done_s": "Latency of a request"}
RATE_KINDS = {"prefill": "Prefill", "decode": "Decode"}
RATE_COLUMNS = ("result", "kind", "test", "tok_s", "n", "low", "high")
COLUMNS = ("result", "quantity", "percentile", "value_s", "low_s", "high_s", "resolved", "notes")


class ComparableResult(Protocol):
    """A result as `lint.read_results` returns it."""

    @property
    def name(self) -> str:
        """The displayed name."""

    @property
    def summary(self) -> LoadSummary:
        """The summary, as `summarise` returns it."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Where the tool's definitions differ; a note that begins with a quantity's name is about that quantity."""

    @property
    def rates(self) -> tuple[MeasuredRate, ...]:
        """Prefill and decode rates that were measured apart."""


@dataclass(frozen=True, slots=True)
class SideBySide:
    """`points` has COLUMNS, a row per result, quantity and percentile; its `notes` are numbers of `notes` here.

    `rates` has RATE_COLUMNS, a row per result and test; `low` and `high` are the ends of its interval, or null.
    """

    points: pd.DataFrame
    notes: dict[int, str]
    rates: pd.DataFrame

    @property
    def quantities(self) -> dict[str, str]:
        """Return the quantities to show with their titles: all, or those that are reported beside the rates."""
        reported = set(self.points.loc[self.points["value_s"].notna(), "quantity"])
        return {name: title for name, title in COMPARED_QUANTITIES.items() if self.rates.empty or name in reported}


def points_side_by_side(results: Sequence[ComparableResult]) -> SideBySide:
    """Return points and numbered notes of the results, in their order.

    Intervals are 95 % and come from the summary. Results of other tools have none: the order of their requests is
    unknown.
    """
    numbers = {note: number for number, note in enumerate(dict.fromkeys(n for one in results for n in one.notes), 1)}
    rows = [
        _row(at, one, quantity, percentile, [numbers[note] for note in one.notes if quantity_of_note(note) == quantity])
        for at, one in enumerate(results)
        for quantity in COMPARED_QUANTITIES
        for percentile in REPORTED_PERCENTILES
    ]
    rates = [
        (at, rate.kind, rate.test, rate.tok_s, rate.n, *(rate.interval or (None, None)))
        for at, one in enumerate(results)
        for rate in one.rates
    ]
    return SideBySide(
        pd.DataFrame(rows, columns=list(COLUMNS)),
        {number: note for note, number in numbers.items()},
        pd.DataFrame(rates, columns=list(RATE_COLUMNS)),
    )


def quantity_of_note(note: str) -> str | None:
    """Return the quantity that a note begins with; None if the note is about the whole result."""
    names = {"TTFT": "ttft_s", "ITL": "itl_s", "TPOT": "tpot_s", "latency": "done_s"}
    return names.get(note.partition(" ")[0].rstrip(":,"))


def _row(at: int, one: ComparableResult, quantity: str, percentile: str, notes: list[int]) -> tuple[Any, ...]:
    reported = one.summary.distribution(quantity)
    value, resolved = reported.at(percentile), reported.resolved.at(percentile)
    low, high = reported.interval(percentile).ends or (None, None)
    return at, quantity, percentile, value, low, high, resolved, notes
