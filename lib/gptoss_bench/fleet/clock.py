"""Estimate how far the clock of a worker is ahead of this process's clock, and how wrong that can be at most. Pure.

The estimate is Cristian's: a question leaves and its answer arrives by the one clock, between them it is received and
answered by the other. Whatever the way there and back took, the error is at most half of the time on the way.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from gptoss_bench.runs import WorkerClock


@dataclass(frozen=True, slots=True)
class ClockProbe:
    """One question and its answer: asked and returned by the clock that asks, received and answered by the other (ns).

    All four are of CLOCK_MONOTONIC.
    """

    asked_ns: int
    received_ns: int
    answered_ns: int
    returned_ns: int

    @property
    def round_trip_ns(self) -> int:
        """Return the time that question and answer were on their way."""
        return (self.returned_ns - self.asked_ns) - (self.answered_ns - self.received_ns)


@dataclass(frozen=True, slots=True)
class ClockOffset:
    """How far the other clock is ahead (ns), right to within `bound_ns`, at the time `at_ns` of the clock that asks."""

    offset_ns: int
    bound_ns: int
    at_ns: int


def clock_offset(probes: Iterable[ClockProbe]) -> ClockOffset:
    """Return the offset by the probe with the shortest round trip. Raises ValueError without a probe."""
    best = min(probes, key=lambda probe: probe.round_trip_ns)
    ahead_ns = (best.received_ns - best.asked_ns + best.answered_ns - best.returned_ns) // 2
    return ClockOffset(ahead_ns, max(best.round_trip_ns, 0) // 2 + 1, best.asked_ns)


def worker_clock(before: ClockOffset, after: ClockOffset | None) -> WorkerClock:
    """Return the one offset of a worker's clock for a whole load, from those before and after it (None: unknown).

    It is the middle of both, so that it is wrong by half of their distance more; the drift follows from both.
    """
    if after is None:
        return WorkerClock(offset_ns=before.offset_ns, bound_ns=before.bound_ns)
    apart_ns = after.offset_ns - before.offset_ns
    return WorkerClock(
        offset_ns=(before.offset_ns + after.offset_ns) // 2,
        bound_ns=max(before.bound_ns, after.bound_ns) + (abs(apart_ns) + 1) // 2,
        drift_ppm=apart_ns / (after.at_ns - before.at_ns) * 1e6 if after.at_ns > before.at_ns else None,
    )
