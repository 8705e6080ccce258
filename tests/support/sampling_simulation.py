"""How often an interval holds the true value, by simulation of loads whose requests come in waves.

`python tests/support/sampling_simulation.py` writes the tables of docs/metrics.md.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from gptoss_bench.runs.summary import SamplingInterval
from gptoss_bench.stats.bootstrap import SendOrder, percentile_interval, ratio_interval

STATISTICS = ("mean", "p50", "p90")
SKEW = 0.5  # values are lognormal, as latencies are
TRUE = {"mean": math.exp(SKEW**2 / 2), "p50": 1.0, "p90": math.exp(SKEW * 1.2815515655446004)}


@dataclass(frozen=True)
class Load:
    """A closed loop: its slots, its waves, the correlation within a wave (ICC) and of successive waves."""

    concurrency: int
    waves: int
    successive: float
    icc: float
    aligned: bool  # whether the first wave begins with the first request, or half a wave before it

    def values(self, draw: np.random.Generator) -> np.ndarray:
        """One value per request, in the order of sending."""
        wave = np.empty(self.waves + 1)
        steps = draw.standard_normal(self.waves + 1)
        wave[0] = steps[0]
        for at in range(1, self.waves + 1):
            wave[at] = self.successive * wave[at - 1] + math.sqrt(1 - self.successive**2) * steps[at]
        places = np.arange(self.concurrency * self.waves)
        of_wave = wave[(places + (0 if self.aligned else self.concurrency // 2)) // self.concurrency]
        own = draw.standard_normal(len(places))
        return np.exp(SKEW * (math.sqrt(self.icc) * of_wave + math.sqrt(1 - self.icc) * own))


@dataclass(frozen=True)
class Coverage:
    """Of the intervals of one statistic: the share of the runs that had one, and of these that hold the true value."""

    load: Load
    statistic: str
    given: float
    covered: float


LOADS = [
    Load(*one)
    for concurrency in (8, 256)
    for one in product((concurrency,), (40, 80, 160) if concurrency == 8 else (40, 80), (0.0, 0.5), (0.5, 0.9),
                       (True, False))
]


def intervals(values: np.ndarray, concurrency: int) -> dict[str, SamplingInterval]:
    """The interval of each statistic of one run."""
    places = np.arange(len(values))
    order = SendOrder(places, places, concurrency)
    ones = np.ones(len(values))
    found = {"mean": ratio_interval(values.mean(), values, ones, places, order)}
    for p in (50, 90):
        found[f"p{p}"] = percentile_interval(float(np.percentile(values, p)), values, places, p, order)
    return found


def coverage(load: Load, repetitions: int, seed: int = 0) -> Iterator[Coverage]:
    """Simulate one load so many times."""
    draw = np.random.default_rng(seed)
    held: dict[str, list[bool]] = {name: [] for name in STATISTICS}
    for _ in range(repetitions):
        for name, one in intervals(load.values(draw), load.concurrency).items():
            if one.low is not None and one.high is not None:
                held[name].append(one.low <= TRUE[name] <= one.high)
    for name, of in held.items():
        yield Coverage(load, name, len(of) / repetitions, float(np.mean(of)) if of else math.nan)


if __name__ == "__main__":
    import sys
    for load in LOADS:
        print(load, *[f"{c.statistic} {c.given:.2f} {c.covered:.3f}" for c in coverage(load, int(sys.argv[1]))], flush=True)
