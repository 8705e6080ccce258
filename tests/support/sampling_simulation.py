"""How often intervals hold the true value and comparisons raise a false alarm, by simulation.

`python tests/support/sampling_simulation.py` writes the tables of docs/metrics.md.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from gptoss_bench.runs.summary import Distribution, LoadSummary, PercentileIntervals, RunIntervals, SamplingInterval
from gptoss_bench.stats.bootstrap import SendOrder, percentile_interval, ratio_interval
from gptoss_bench.stats.comparison import FASTER, RATE, SLOWER, TIMES, TWO_RUNS_DIFFER, ComparedResult, compare_results
from gptoss_bench.stats.gate import FAILS, Limit, check_limits
from gptoss_bench.stats.students_t import t_quantile

REPETITIONS = 1000
STATISTICS = ("mean", "p50", "p90")
SKEW = 0.5  # values are lognormal, as latencies are
TRUE = {"mean": math.exp(SKEW**2 / 2), "p50": 1.0, "p90": math.exp(SKEW * 1.2815515655446004)}
STANDARD_ERROR = 0.02  # of a figure of one run, as a share of it
RUNS = 3  # on each side
BETWEEN = (0.0, 0.5, 1.0)  # standard deviation between runs, in standard errors
DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"


@dataclass(frozen=True)
class Load:
    """A closed loop: its slots, its waves, the correlation of successive waves and within a wave (ICC)."""

    concurrency: int
    waves: int
    successive: float
    icc: float
    aligned: bool  # whether the first wave begins with the first request, or half a wave before it

    def __str__(self) -> str:
        """Its name in a table or of a test."""
        start = "aligned" if self.aligned else "half a wave off"
        return f"{self.concurrency} slots, {self.waves} waves, {self.successive:g}, {self.icc:g}, {start}"

    def values(self, draw: np.random.Generator) -> np.ndarray:
        """One value per request, in the order of sending."""
        wave = draw.standard_normal(self.waves + 1)
        for at in range(1, self.waves + 1):
            wave[at] = self.successive * wave[at - 1] + math.sqrt(1 - self.successive**2) * wave[at]
        places = np.arange(self.concurrency * self.waves)
        of_wave = wave[(places + (0 if self.aligned else self.concurrency // 2)) // self.concurrency]
        own = draw.standard_normal(len(places))
        return np.exp(SKEW * (math.sqrt(self.icc) * of_wave + math.sqrt(1 - self.icc) * own))


@dataclass(frozen=True)
class Coverage:
    """Of one statistic: the share of the runs that had an interval, and of these that hold the true value."""

    load: Load
    statistic: str
    given: float
    covered: float


@dataclass(frozen=True)
class FalseAlarms:
    """The share of comparisons of a server with itself in which any row differs, of single and of repeated runs."""

    single: float
    repeated: float


SIZES = [(8, 40), (8, 80), (8, 160), (256, 40), (256, 80)]
LOADS = [Load(*size, *shape) for size, shape in product(SIZES, product((0.0, 0.5), (0.5, 0.9), (True, False)))]


def coverage(load: Load, repetitions: int, seed: int = 0) -> Iterator[Coverage]:
    """Simulate one load so many times."""
    draw = np.random.default_rng(seed)
    held: dict[str, list[bool]] = {name: [] for name in STATISTICS}
    for _ in range(repetitions):
        for name, one in _intervals(load.values(draw), load.concurrency).items():
            if one.ends is not None:
                held[name].append(one.ends[0] <= TRUE[name] <= one.ends[1])
    for name, of in held.items():
        yield Coverage(load, name, len(of) / repetitions, float(np.mean(of)) if of else math.nan)


def _intervals(values: np.ndarray, concurrency: int) -> dict[str, SamplingInterval]:
    places, ones = np.arange(len(values)), np.ones(len(values))
    order = SendOrder(places, places, concurrency)
    found = {"mean": ratio_interval(values.mean(), values, ones, places, order)}
    for p in (50, 90):
        found[f"p{p}"] = percentile_interval(float(np.percentile(values, p)), values, places, p, order)
    return found


def false_alarms(between: float, repetitions: int, seed: int = 0) -> FalseAlarms:
    """Compare a server with itself so many times, single runs and RUNS in turn on each side.

    Between runs each figure varies by `between` standard errors, apart from its standard error within a run.
    """
    draw = np.random.default_rng(seed)
    single = repeated = 0
    for _ in range(repetitions):
        sides = [[_run(draw, between, f"{2 * at + side}") for at in range(RUNS)] for side in range(2)]
        single += any(one.word == TWO_RUNS_DIFFER for one in compare_results(*[side[:1] for side in sides]))
        repeated += any(one.word in (FASTER, SLOWER) for one in compare_results(*sides, margin=0.0))
    return FalseAlarms(single / repetitions, repeated / repetitions)


def gate_alarms(limits: tuple[str, ...], between: float, runs: int, repetitions: int, seed: int = 0) -> float:
    """Return how often a gate with these limits fails between a server and itself, `runs` on each side."""
    draw = np.random.default_rng(seed)
    parsed = [Limit.parse(text) for text in limits]
    failed = 0
    for _ in range(repetitions):
        sides = [[_run(draw, between, f"{2 * at + side}") for at in range(runs)] for side in range(2)]
        failed += any(one.word == FAILS for one in check_limits(parsed, *sides))
    return failed / repetitions


def _run(draw: np.random.Generator, between: float, start: str) -> ComparedResult:
    summary, blocks = LoadSummary(), 10
    for name in (*TIMES, RATE):
        value = math.exp(STANDARD_ERROR * (draw.standard_normal() + between * draw.standard_normal()))
        half = value * STANDARD_ERROR * math.sqrt(draw.chisquare(blocks - 1) / (blocks - 1)) * t_quantile(blocks - 1)
        if name == RATE:
            summary.output_tok_s_total = value
            summary.intervals = RunIntervals(output_tok_s_total=(value - half, value + half))
        else:
            interval = PercentileIntervals(p50=SamplingInterval(low=value - half, high=value + half))
            setattr(summary, name, Distribution(p50=value, intervals=interval))
    return ComparedResult(summary, start)


def coverage_table() -> str:
    """Return a Markdown table of the coverage of each load."""
    lines = [
        "| slots | waves | successive waves | ICC | first wave | mean | p50 | p90 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for load in LOADS:
        cells = []
        for one in coverage(load, REPETITIONS):
            few = one.given < 0.995
            cells.append("–" if one.given < 0.005 else f"{one.covered:.1%}" + (f" of {one.given:.0%}" if few else ""))
        start = "aligned" if load.aligned else "half off"
        shown = (load.concurrency, load.waves, f"{load.successive:g}", f"{load.icc:g}", start, *cells)
        lines.append(f"| {' | '.join(map(str, shown))} |")
    return "\n".join(lines)


def false_alarm_table() -> str:
    """Return a Markdown table of false alarms by the variation between runs."""
    lines = ["| between runs, in standard errors | two single runs | three runs of each in turn |", "|---|---|---|"]
    for between in BETWEEN:
        found = false_alarms(between, 4 * REPETITIONS)
        lines.append(f"| {between:g} | {found.single:.1%} | {found.repeated:.1%} |")
    return "\n".join(lines)


def main() -> None:
    """Write both tables into docs/metrics.md, between their markers."""
    tables = {"coverage": coverage_table(), "false-alarms": false_alarm_table()}
    text = DOCUMENT.read_text(encoding="utf-8")
    for name, table in tables.items():
        before, begin, rest = text.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition(f"\n<!-- end of {name} -->")
        assert begin and end, f"{DOCUMENT} has no place for the table of {name}"
        text = before + begin + table + end + after
    DOCUMENT.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
