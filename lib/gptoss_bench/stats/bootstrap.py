"""Compute the sampling uncertainty of a figure: its 95 % interval, or the reason why there is none. Pure.

Requests of a closed loop come in waves: requests that are in flight together are slow or fast together. So a run is cut
into blocks of successive waves, and whole blocks are resampled (block bootstrap), never single requests. The rule, and
how often these intervals hold the true value, are in docs/metrics.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import sqrt
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from gptoss_bench.runs import SamplingInterval
from gptoss_bench.stats.percentiles import Floats
from gptoss_bench.stats.students_t import t_quantile

RESAMPLES = 1000
BLOCKS = 10
BLOCK_WAVES = 4  # at least, per block; twice as many for a p90, and where successive waves are correlated
MIN_WAVES = BLOCKS * BLOCK_WAVES  # at least, for an interval of a median from one run
CORRELATED = 0.1  # correlation of successive waves from which they count as correlated
MOST_CORRELATION = 0.95
BLOCK_QUEUE_WAITS = 5  # open loop: a block lasts at least so many times the longest wait in the server's queue
MIN_RUNS = 3  # for an interval over runs
HIGHEST_PERCENTILE = 90  # that one run can have an interval of
REPEAT = "repeat the run (--repeats 3)"
MAX_RANKS = 100_000  # ranks at which the values of each block are counted: more values are counted in equal steps

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class SendOrder:
    """The requests of the steady part of a load: their ids, rising, and the place of each in the order of sending.

    `wave` is the number of requests in flight together, None for an open loop. `why` is the reason why no figure of
    this load has an interval, else None.
    """

    request_ids: Ints
    places: Ints
    wave: int | None
    why: str | None = None

    def places_of(self, request_ids: npt.NDArray[Any]) -> Ints:
        """Return the place of each of these requests, -1 for one outside the steady part."""
        if not len(self.request_ids):
            return np.full(len(request_ids), -1, dtype="int64")
        at = np.searchsorted(self.request_ids, request_ids).clip(max=len(self.request_ids) - 1)
        return np.where(self.request_ids[at] == request_ids, self.places[at], -1)


def closed_loop_order(completed: pd.DataFrame, window_ns: tuple[int, int] | None, concurrency: int) -> SendOrder:
    """Return the order of the completed requests that were sent after the begin of the steady window."""
    steady = completed.iloc[:0] if window_ns is None else completed[completed["sent_ns"] >= window_ns[0]]
    ids, places = _order(steady["request_id"], steady["sent_ns"])
    why = "no steady window" if window_ns is None else None
    waves = len(ids) // concurrency
    if why is None and waves < MIN_WAVES:
        why = f"{waves} waves"
    return SendOrder(ids, places, concurrency, why and f"{why}: {REPEAT}")


def longest_queue_wait_s(requests: pd.DataFrame) -> float:
    """Return how much longer the slowest request waited for its first token than the fastest, from when it was due."""
    waits = requests["ttft_scheduled_s"].dropna()
    return float(waits.max() - waits.min()) if len(waits) else 0.0


def open_loop_order(completed: pd.DataFrame, longest_queue_wait_s: float) -> SendOrder:
    """Return the order of all completed requests of an open loop; a block must last BLOCK_QUEUE_WAITS queue waits."""
    ids, places = _order(completed["request_id"], completed["sent_ns"])
    sent_ns = np.sort(completed["sent_ns"].to_numpy("int64"))
    shortest_s = min((np.ptp(block) / 1e9 for block in np.array_split(sent_ns, BLOCKS) if len(block)), default=0.0)
    if len(ids) >= BLOCKS and shortest_s >= BLOCK_QUEUE_WAITS * longest_queue_wait_s:
        return SendOrder(ids, places, None)
    why = f"a tenth of the run lasts {shortest_s:.3g} s, the longest wait in the queue {longest_queue_wait_s:.3g} s"
    return SendOrder(ids, places, None, f"{why}: run longer, or {REPEAT}")


def percentile_interval(
    estimate: float | None, values: Floats, request_ids: npt.NDArray[Any], p: float, order: SendOrder
) -> SamplingInterval:
    """Return the interval of a percentile of pooled values.

    Args:
        estimate: The percentile of all values; None if there is none.
        values: The values, without nulls; several may be of one request.
        request_ids: The request of each value.
        p: The percentile, 0 to 100.
        order: The order of the requests.
    """
    if estimate is None:
        return SamplingInterval(why="no values")
    if p > HIGHEST_PERCENTILE:
        return SamplingInterval(why=f"p{p:g}: {REPEAT}")
    if order.why:
        return SamplingInterval(why=order.why)
    places = order.places_of(request_ids)
    values, places = values[places >= 0], places[places >= 0]
    sums, counts = (np.bincount(places, of, minlength=len(order.places)) for of in (values, None))
    mean = values.mean() if len(values) else 0.0
    cut = _cut(sums - counts * mean, counts, order, 2 * BLOCK_WAVES if p == HIGHEST_PERCENTILE else BLOCK_WAVES)
    if isinstance(cut, str):
        return SamplingInterval(why=cut)
    return _around(estimate, _percentile_draws(values, cut.block[places], p), cut.widening)


def ratio_interval(
    estimate: float | None,
    numerators: Floats,
    denominators: Floats,
    request_ids: npt.NDArray[Any],
    order: SendOrder,
    *,
    scale: float = 1.0,
) -> SamplingInterval:
    """Return the interval of `scale` × the sum of the numerators / the sum of the denominators: a mean or a rate.

    Args:
        estimate: The figure itself; None if it is unknown.
        numerators: One number per request, such as its tokens.
        denominators: One number per request, such as its seconds; ones for a mean.
        request_ids: The request of each number.
        order: The order of the requests.
        scale: The factor, such as the number of requests in flight.
    """
    if estimate is None:
        return SamplingInterval(why="no values")
    if order.why:
        return SamplingInterval(why=order.why)
    places = order.places_of(request_ids)
    above, below = (
        np.bincount(places[places >= 0], of[places >= 0], len(order.places)) for of in (numerators, denominators)
    )
    if not below.sum() > 0:
        return SamplingInterval(why="no values")
    cut = _cut(above - above.sum() / below.sum() * below, (below > 0).astype("int64"), order, BLOCK_WAVES)
    if isinstance(cut, str):
        return SamplingInterval(why=cut)
    above, below = (np.bincount(cut.block, of, BLOCKS) for of in (above, below))
    weights = _weights()
    return _around(estimate, scale * (weights @ above) / (weights @ below), cut.widening)


def interval_over_runs(values: Sequence[float]) -> SamplingInterval:
    """Return the interval of the mean of one value per run, by Student's t; None for fewer than MIN_RUNS runs."""
    count = len(values)
    if count < MIN_RUNS:
        return SamplingInterval(why=f"{count} runs, {MIN_RUNS} are needed: {REPEAT}")
    half = t_quantile(count - 1) * float(np.std(values, ddof=1)) / sqrt(count)
    mean = float(np.mean(values))
    return SamplingInterval(low=mean - half, high=mean + half)


@dataclass(frozen=True, slots=True)
class _Cut:
    """The block of each request by its place, and by how much correlated blocks make an interval wider."""

    block: Ints
    widening: float


def _order(request_ids: pd.Series, sent_ns: pd.Series) -> tuple[Ints, Ints]:
    ids = request_ids.to_numpy("int64")
    places = np.empty(len(ids), dtype="int64")
    places[np.argsort(sent_ns.to_numpy("int64"), kind="stable")] = np.arange(len(ids))
    rising = np.argsort(ids)
    return ids[rising], places[rising]


def _cut(sums: npt.NDArray[Any], counts: npt.NDArray[Any], order: SendOrder, block_waves: int) -> _Cut | str:
    """Cut the requests into BLOCKS blocks of whole waves; the reason if the run has too few waves for them.

    Where the first wave begins is estimated: of four offsets the one whose waves differ most.

    Args:
        sums: Deviation of each request's values from the mean, added up, by the request's place.
        counts: Number of its values.
        order: The order of the requests.
        block_waves: Waves that a block needs if successive waves are not correlated.
    """
    count = len(sums)
    if order.wave is None:
        return _Cut(np.arange(count) * BLOCKS // count, 1.0)
    found = [_waves(sums, counts, order.wave, offset) for offset in sorted({order.wave * k // 4 for k in range(4)})]
    offset, means = max(found, key=lambda one: float(one[1].var(ddof=1)))
    correlation, waves = _correlation(means), len(means)
    needed = BLOCKS * block_waves * (2 if correlation > CORRELATED else 1)
    if count // order.wave < needed:
        correlated = f", correlated ({correlation:.2f})" if correlation > CORRELATED else ""
        return f"{count // order.wave} waves{correlated}, {needed} are needed: {REPEAT}"
    waves = (count - offset) // order.wave
    wave_of = ((np.arange(count) - offset) // order.wave).clip(0, waves - 1)
    return _Cut(wave_of * BLOCKS // waves, _widening(correlation, waves // BLOCKS))


def _waves(sums: npt.NDArray[Any], counts: npt.NDArray[Any], wave: int, offset: int) -> tuple[int, Floats]:
    """Return the offset and the mean of each whole wave that has a value."""
    whole = slice(offset, offset + (len(sums) - offset) // wave * wave)
    totals, numbers = (of[whole].reshape(-1, wave).sum(axis=1) for of in (sums, counts))
    return offset, totals[numbers > 0] / numbers[numbers > 0]


def _correlation(means: Floats) -> float:
    """Return the correlation of successive waves, corrected for the bias of few waves."""
    deviations, count = means - means.mean(), len(means)
    total = float(deviations @ deviations)
    found = float(deviations[1:] @ deviations[:-1]) / total if total > 0 else 0.0
    return min((found * count + 1) / (count - 4), MOST_CORRELATION) if total > 0 else 0.0


def _widening(correlation: float, block_waves: int) -> float:
    """Return the ratio of the true standard error to that of independent blocks, for waves of this correlation."""
    if correlation <= 0:
        return 1.0

    def variance_of_sum(waves: int) -> float:
        r = correlation
        return waves * (1 + r) / (1 - r) - 2 * r * (1 - r**waves) / (1 - r) ** 2

    true = variance_of_sum(BLOCKS * block_waves) / BLOCKS
    between_blocks = (BLOCKS * variance_of_sum(block_waves) - true) / (BLOCKS - 1)
    return sqrt(true / between_blocks)


@cache
def _weights() -> Ints:
    """Return how often each block is in each resample: (RESAMPLES, BLOCKS). All figures use the same resamples."""
    return np.random.default_rng(0).multinomial(BLOCKS, [1 / BLOCKS] * BLOCKS, size=RESAMPLES)


def _percentile_draws(values: Floats, blocks: Ints, p: float) -> Floats:
    """Return the percentile of each resample: its smallest value with at least this share of its values up to it."""
    rising = np.argsort(values, kind="stable")
    step = 1 + (len(values) - 1) // MAX_RANKS
    rank = np.arange(len(values)) // step
    counts = np.bincount(rank * BLOCKS + blocks[rising], minlength=(int(rank[-1]) + 1) * BLOCKS)
    up_to = counts.reshape(-1, BLOCKS).cumsum(axis=0)  # values of each block up to a rank
    weights = _weights()
    wanted = p / 100 * (weights @ up_to[-1])
    low, high = np.zeros(len(weights), dtype="int64"), np.full(len(weights), rank[-1])
    while (low < high).any():  # bisection, for all resamples at once
        middle = (low + high) // 2
        reached = np.einsum("ij,ij->i", weights, up_to[middle]) >= wanted
        low, high = np.where(reached, low, middle + 1), np.where(reached, middle, high)
    drawn: Floats = values[rising[np.minimum(low * step + step // 2, len(values) - 1)]]
    return drawn


def _around(estimate: float, draws: Floats, widening: float) -> SamplingInterval:
    half = t_quantile(BLOCKS - 1) * float(draws.std()) * sqrt(BLOCKS / (BLOCKS - 1)) * widening
    return SamplingInterval(low=estimate - half, high=estimate + half)
