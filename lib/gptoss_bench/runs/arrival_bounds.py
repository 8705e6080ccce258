"""Find the first and last arrivals of each request and what the client's timestamps allow for its times. Pure.

An event arrived in the interval [not_before, arrival]. A bound is null where `not_before` is unknown.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from gptoss_client import NS_PER_S

Floats = npt.NDArray[np.float64]
Which = npt.NDArray[np.bool_]


class EventRows:
    """The events of `count` requests, in order of request and arrival; times are in ns, one per event.

    `owner` is the index of the request of each event. `output` marks output-bearing events, `ends` the events that end
    a reply behind its last output.
    """

    def __init__(self, events: pd.DataFrame, owner: npt.NDArray[np.int64], count: int) -> None:
        """Take the columns `arrival_ns`, `not_before_ns`, `output`, `kind` and `tokens` of an event table."""
        self.owner, self.count = owner, count
        self.arrival, self.not_before = events["arrival_ns"], events["not_before_ns"]
        self.output = events["output"].to_numpy(bool)
        self.tokens = events["tokens"].to_numpy("float64", na_value=np.nan)
        row = pd.Series(np.arange(len(events)))
        last_output = self.last(row, self.output).to_numpy("int64", na_value=len(row))
        self.ends = events["kind"].isin(("finish", "usage")).to_numpy(bool) & (row.to_numpy() > last_output[owner])

    def first(self, values: pd.Series, which: Which) -> pd.Series:
        """Return the smallest value among these events of each request; null without one, or if one is null."""
        return self._reduced(np.minimum, values, which)

    def last(self, values: pd.Series, which: Which) -> pd.Series:
        """Return the largest value among these events of each request; null without one, or if one is null."""
        return self._reduced(np.maximum, values, which)

    def _reduced(self, choice: np.ufunc, values: pd.Series, which: Which) -> pd.Series:
        owner = self.owner[which]
        counts = np.bincount(owner, minlength=self.count)
        found = np.zeros(self.count, dtype="int64")
        if len(owner):
            starts = (np.cumsum(counts) - counts)[counts > 0]
            found[counts > 0] = choice.reduceat(values.to_numpy("int64", na_value=0)[which], starts)
        unknown = np.bincount(owner, values.isna().to_numpy()[which], minlength=self.count) > 0
        return pd.Series(pd.arrays.IntegerArray(found, (counts == 0) | unknown))


class Tpot(NamedTuple):
    """TPOT of each request in seconds and its bounds; `value` is null where only bounds are known."""

    value: Floats
    low: Floats
    high: Floats


def time_per_output_token(events: EventRows, completion_tokens: pd.Series) -> Tpot:
    """Return (a_end - a_1) / (N - n_1) of each request, with what the arrivals allow.

    a_1 is the arrival of the first output-bearing event, which has n_1 tokens; a_end that of the event with the last
    token: the end of the reply where N counts a token behind the last text, else the last output-bearing event. Where
    n_1 is unknown there are only bounds, (a_m - a_1) / (N - 1) and (end - a_1) / (m - 1) with m output-bearing events,
    also if `not_before` is unknown. All is null for m = 1 and for m > N.
    """
    output, arrival, not_before = events.output, events.arrival, events.not_before
    total = completion_tokens.to_numpy("float64", na_value=np.nan)
    shown = np.bincount(events.owner[output], minlength=events.count)
    starts = np.flatnonzero(output)[np.unique(events.owner[output], return_index=True)[1]]
    first_tokens = np.full(events.count, np.nan)
    first_tokens[events.owner[starts]] = events.tokens[starts]
    usable = (shown > 1) & (shown <= total)
    counted = usable & ~np.isnan(first_tokens)
    tokens: Floats = total - first_tokens
    last = events.tokens > 0
    begin, text = events.first(arrival, output), events.last(arrival, output)
    low, high = (
        _per_token((events.last(not_before, last) - begin).clip(lower=0), tokens, counted),
        _per_token(events.last(arrival, last) - events.first(not_before, output), tokens, counted),
    )
    end = events.first(arrival, events.ends).fillna(text)
    most_tokens: Floats = total - 1
    fewest_tokens: Floats = shown.astype("float64") - 1
    least_ns = (events.last(not_before, output).fillna(text) - begin).clip(lower=0)
    most_ns = end - events.first(not_before, output).fillna(begin)
    uncounted = usable & np.isnan(first_tokens)
    return Tpot(
        _per_token(events.last(arrival, last) - begin, tokens, counted),
        np.where(uncounted, _per_token(least_ns, most_tokens, uncounted), low),
        np.where(uncounted, _per_token(most_ns, fewest_tokens, uncounted), high),
    )


def gap_bounds(
    arrival_ns: npt.NDArray[np.int64],
    not_before: pd.arrays.IntegerArray,
    before: npt.NDArray[np.int64],
    after: npt.NDArray[np.int64],
) -> tuple[Floats, Floats]:
    """Return the lowest and the highest seconds between the events at the indices `before` and `after`."""
    earliest, unknown = not_before.to_numpy("int64", na_value=0), not_before.isna()
    low_ns = np.maximum(earliest[after] - arrival_ns[before], 0)
    high_ns = arrival_ns[after] - earliest[before]
    return (
        np.where(unknown[after], np.nan, low_ns / NS_PER_S),
        np.where(unknown[before], np.nan, high_ns / NS_PER_S),
    )


def _per_token(duration_ns: pd.Series, tokens: Floats, known: Which) -> Floats:
    seconds = duration_ns.to_numpy("float64", na_value=np.nan) / NS_PER_S
    quotient: Floats = seconds / np.where(known & (tokens > 0), tokens, np.nan)
    return quotient
