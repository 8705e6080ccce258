"""Say how far the times of a summary are uncertain because of the client: its timestamps and its stalls. Pure."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from gptoss_bench.runs import Distribution, FleetSummary, LoadSummary, Percentiles, SamplingInterval, Stalls
from gptoss_bench.stats.error_bar import error_bar_text
from gptoss_bench.stats.percentiles import REPORTED_PERCENTILES, enough_moments, non_null, percentile

NOTED_SHARE = 0.01  # of a percentile: a pair that is wider is printed
UNCERTAIN_SHARE = 0.05  # of a percentile: a pair that is wider makes the percentile unusable
BOUNDED = {  # quantities with a lowest and a highest value, and their short names
    "ttft_s": "TTFT",
    "ttfa_s": "TTFA",
    "itl_s": "ITL",
    "tpot_s": "TPOT",
    "e2e_s": "last token",
    "done_s": "latency",
}
NO_INTERVALS = "unknown for this run: made before arrivals were intervals"
NOT_RESOLVED = "not resolved: fewer than 10 distinct moments lie beyond it"
SHOWN_PAIRS = 4


class ClientPair(NamedTuple):
    """A percentile of a quantity (s), and the lowest and the highest value that the client's timestamps allow."""

    quantity: str
    at: str
    value: float
    low: float
    high: float

    @property
    def text(self) -> str:
        """The pair as text, in ms for gaps and times per token."""
        scale, unit = (1e3, "ms") if self.quantity in ("itl_s", "tpot_s") else (1.0, "s")
        return f"{BOUNDED[self.quantity]} {self.at} {self.low * scale:.4g} to {self.high * scale:.4g} {unit}"

    def is_wider_than(self, share: float) -> bool:
        """Return whether low and high differ by more than this share of the percentile."""
        return self.high - self.low > share * self.value


def set_client_pairs(found: Distribution, table: pd.DataFrame, name: str) -> None:
    """Add the percentiles of the lowest and of the highest values to a distribution, unless a value has no bounds.

    The columns are `name`, such as ttft_s, with ttft_low_s and ttft_high_s. Where no value is known, as TPOT with an
    unknown number of tokens, the pair is that of the bounds.
    """
    sides = [f"{name.removesuffix('_s')}_{side}_s" for side in ("low", "high")]
    if any(side not in table for side in sides):
        return
    there = table[name].notna() if found.n else table[sides[0]].notna()
    low, high = (table[side][there].to_numpy("float64") for side in sides)
    if len(low) and not np.isnan(low).any() and not np.isnan(high).any():
        found.low, found.high = _percentiles(low), _percentiles(high)


def resolve_by_moments(found: Distribution, gaps: pd.DataFrame) -> None:
    """Mark the percentiles of pooled gaps as not resolved where too few distinct moments lie beyond them.

    `gaps` has itl_s and arrival_ns. Gaps of many streams that end together are one moment: one pause of the server.
    """
    there = gaps["itl_s"].notna().to_numpy()
    gaps_s, ends_ns = gaps["itl_s"].to_numpy("float64")[there], gaps["arrival_ns"].to_numpy("int64")[there]
    for at in REPORTED_PERCENTILES:
        value = found.at(at)
        if value is None or not found.resolved.at(at):
            continue
        if value == 0 or not enough_moments(ends_ns[gaps_s >= value]):
            setattr(found.resolved, at, False)
            if found.intervals is not None:
                setattr(found.intervals, at, SamplingInterval(why=NOT_RESOLVED))
            if at == "p50":
                found.p50_interval = None


def client_pairs(summary: LoadSummary, share: float) -> list[ClientPair]:
    """Return the percentiles whose pair is wider than this share of them."""
    return [pair for pair in _pairs(summary) if pair.is_wider_than(share)]


def has_client_pairs(summary: LoadSummary) -> bool:
    """Return whether the run knows how uncertain its times are."""
    return any(True for _ in _pairs(summary))


def client_text(summary: LoadSummary) -> str:
    """Return what the run itself knows of the client's part in its times, and the floor of the calibration."""
    if summary.client.timestamp_source is None:
        return ""
    floor = [error_bar_text(summary.client.error_bar)] if summary.client.error_bar else []
    return "; ".join([*_fleet_text(summary.fleet), _uncertainty_text(summary), *_stall_text(summary.stalls), *floor])


def _fleet_text(fleet: FleetSummary | None) -> list[str]:
    if fleet is None:
        return []
    bound_s, spread_s = fleet.clock_bound_s, fleet.start_spread_s
    text = f"sent by {len(fleet.workers)} workers"
    text += (
        ", their clocks not compared" if bound_s is None else f", their clocks equal to within {bound_s * 1e3:.2g} ms"
    )
    return [text + ("" if spread_s is None else f", begun within {spread_s * 1e3:.2g} ms")]


def _uncertainty_text(summary: LoadSummary) -> str:
    if not has_client_pairs(summary):
        return f"client's uncertainty {NO_INTERVALS}"
    pairs = client_pairs(summary, NOTED_SHARE)
    if not pairs:
        return f"client's uncertainty at most {NOTED_SHARE:.0%} of every percentile"
    shown = sorted(pairs, key=lambda pair: (pair.low - pair.high) / (pair.value or 1e-9))[:SHOWN_PAIRS]
    more = f" and {len(pairs) - len(shown)} more" if len(pairs) > len(shown) else ""
    return f"client's uncertainty: {', '.join(pair.text for pair in shown)}{more}"


def _stall_text(stalls: Stalls | None) -> list[str]:
    if stalls is None:
        return []
    if not stalls.count:
        return ["no stall of the client"]
    times = "once" if stalls.count == 1 else f"{stalls.count} times"
    return [f"the client stalled {times}, at most {(stalls.longest_s or 0.0) * 1e3:.0f} ms"]


def _pairs(summary: LoadSummary) -> Iterator[ClientPair]:
    for name in BOUNDED:
        found = summary.distribution(name)
        for at in REPORTED_PERCENTILES:
            value, pair = found.at(at), found.client_pair(at)
            if value is not None and pair is not None:
                yield ClientPair(name, at, value, *pair)


def _percentiles(values: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> Percentiles:
    samples = non_null(values)
    return Percentiles(**{at: percentile(samples, p).value for at, p in REPORTED_PERCENTILES.items()})
