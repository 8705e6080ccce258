"""Simulate a queue in front of `servers`, to know which load a server truly carries within a limit of the sojourn.

Requests arrive at random (Poisson) and are served first come, first served; a service takes a fixed or an exponential
time. For one server the waits follow from Lindley's recursion, for several from a heap of the times at which they are
free.
"""

import heapq
from dataclasses import dataclass
from functools import cache

import numpy as np

from gptoss_bench.runs import CapacityGoal, CapacityLevel
from gptoss_bench.stats import CapacitySearch, PlannedLevel, capacity_phase, next_level
from gptoss_bench.stats.capacity import BEGIN_SHARE, END_SHARE


@dataclass(frozen=True)
class Queue:
    """`servers` that need `service_s` for a request, exactly or on average; good requests take at most `limit_s`."""

    servers: int
    service_s: float
    exponential: bool
    limit_s: float

    def sojourns(self, gaps: np.ndarray, services: np.ndarray) -> np.ndarray:
        """Return wait plus service of each request, of these gaps and service times (s)."""
        if self.servers == 1:
            steps = np.concatenate([[0.0], services[:-1] - gaps[1:]])
            total = np.cumsum(steps)
            return total - np.minimum.accumulate(total) + services
        free, now, found = [0.0] * self.servers, 0.0, np.empty(len(gaps))
        for at, (gap, service) in enumerate(zip(gaps.tolist(), services.tolist(), strict=True)):
            now += gap
            begin = max(now, free[0])
            heapq.heapreplace(free, begin + service)
            found[at] = begin + service - now
        return found

    def services(self, draw: np.random.Generator, count: int) -> np.ndarray:
        return draw.exponential(self.service_s, count) if self.exponential else np.full(count, self.service_s)

    def level(self, draw: np.random.Generator, planned: PlannedLevel, number: int) -> CapacityLevel:
        """Return what a search sees of a level that begins with an empty queue."""
        rate, level_s = planned.level, planned.duration_s
        gaps = draw.exponential(1 / rate, round(rate * level_s * 2) + 20)
        due = np.cumsum(gaps)
        gaps = gaps[due < level_s]
        due = due[due < level_s]
        late = self.sojourns(gaps, self.services(draw, len(gaps))) > self.limit_s
        counted = (due >= BEGIN_SHARE * level_s) & (due <= (1 - END_SHARE) * level_s)
        met = int((counted & ~late).sum())
        name = capacity_phase(rate, number)
        return CapacityLevel(phase=name, level=rate, requests=int(counted.sum()), met=met, met_low=met, met_high=met)

    def search(self, seed: int, search: CapacitySearch) -> list[CapacityLevel]:
        """Return the levels of a whole search."""
        draw, levels = np.random.default_rng(seed), list[CapacityLevel]()
        while (planned := next_level(levels, search)) is not None:
            levels.append(self.level(draw, planned, len(levels) + 1))
            assert len(levels) < 60
        return levels


@cache
def true_capacity(queue: Queue, share: float = CapacityGoal().share, arrivals: int = 1_000_000) -> float:
    """Return the rate (requests/s) at which this share of the requests is good, by simulation of so many arrivals."""
    draw = np.random.default_rng(1)
    gaps, services = draw.exponential(1.0, arrivals), queue.services(draw, arrivals)
    low, high = 0.0, queue.servers / queue.service_s
    for _ in range(14):
        middle = (low + high) / 2
        good = (queue.sojourns(gaps / middle, services) <= queue.limit_s).mean()
        low, high = (middle, high) if good >= share else (low, middle)
    return (low + high) / 2
