"""Decide whether limits on the change of a figure hold between two sides: a regression gate. Pure.

A limit fails if its whole interval lies beyond it, holds if its whole interval lies within it, and else nobody can
tell. Of several limits each gets its share of FALSE_ALARMS, so that a gate between a server and itself, with limits of
no change at all, fails at most that often.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from math import exp, isclose, log, sqrt
from typing import Self

import numpy as np

from gptoss_bench.runs import LoadSummary
from gptoss_bench.stats.bootstrap import BLOCKS, MIN_RUNS
from gptoss_bench.stats.comparison import ComparedResult
from gptoss_bench.stats.students_t import t_quantile
from gptoss_client import UsageError

HOLDS, FAILS, CANNOT_TELL = "holds", "fails", "cannot tell"
FALSE_ALARMS = 0.05  # of all limits of a gate together
FAILED_SHARE = 0.01  # of the requests of the second side: no limit holds for a server that fails more of them
TIMES = {"ttft": "ttft_s", "ttfa": "ttfa_s", "tpot": "tpot_s", "itl": "itl_s", "latency": "done_s"}
RATES = {"output_tok_s": "output_tok_s_total", "request_s": "request_s"}
NAMES = (*(f"{name}_{at}" for name in TIMES for at in ("p50", "p90", "p99")), *RATES)
_FORM = re.compile(r"\s*([a-z_0-9]+)\s*([<>])\s*([+-]?\d+(?:\.\d+)?)\s*%\s*")


@dataclass(frozen=True, slots=True)
class Limit:
    """A change of a figure that is too much: `above` it or, for a rate that falls, below it; `change` is a share."""

    name: str
    above: bool
    change: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a limit such as 'ttft_p99 > +10%' or 'output_tok_s < -5%'. Raises UsageError."""
        match = _FORM.fullmatch(text)
        if match is None:
            raise UsageError(f"{text!r} is no limit: write for example 'ttft_p99 > +10%' or 'output_tok_s < -5%'")
        name = match[1]
        if name not in NAMES:
            near = get_close_matches(name, NAMES, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it is one of {', '.join(NAMES)}"
            raise UsageError(f"{name!r} in {text!r} is no figure of a gate: {hint}")
        change = float(match[3]) / 100
        if change <= -1:
            raise UsageError(f"{text!r} cannot happen: nothing falls by 100 % or more")
        return cls(name, match[2] == ">", change)

    @property
    def path(self) -> str:
        """Return the path of the figure in the summary."""
        if self.name in RATES:
            return RATES[self.name]
        quantity, _, at = self.name.rpartition("_")
        return f"{TIMES[quantity]}.{at}"

    @property
    def text(self) -> str:
        """Return the limit as `parse` reads it."""
        return f"{self.name} {'>' if self.above else '<'} {self.change * 100:+.6g}%"


@dataclass(frozen=True, slots=True)
class LimitResult:
    """Whether a limit holds: the figure of both sides, its change with the interval, the word, and why not to tell."""

    limit: str
    first: float | None
    second: float | None
    change: float | None
    interval: tuple[float, float] | None
    word: str
    why: str | None = None


def check_limits(
    limits: Sequence[Limit], first: Sequence[ComparedResult], second: Sequence[ComparedResult]
) -> list[LimitResult]:
    """Return the result of each limit on the change from the first side to the second."""
    level = 1 - FALSE_ALARMS / max(len(limits), 1)  # of both ends, although only one of them can fail
    sides = [[one.summary for one in side] for side in (first, second)]
    found = [_checked(limit, sides, level) for limit in limits]
    before, after = (_failed_share(side) for side in sides)
    if after < FAILED_SHARE or after <= before:
        return found
    why = f"{after:.1%} of the requests of the second side failed, {before:.1%} of the first"
    return [replace(one, word=FAILS, why=why) for one in found]


def _failed_share(side: Sequence[LoadSummary]) -> float:
    return sum(one.failed for one in side) / max(sum(one.requests for one in side), 1)


def _checked(limit: Limit, sides: Sequence[Sequence[LoadSummary]], level: float) -> LimitResult:
    values = [[one.measured(limit.path).value for one in side] for side in sides]
    known = [[value for value in side if value is not None and value > 0] for side in values]
    means = [exp(float(np.mean(np.log(side)))) if side else None for side in known]
    first, second = means
    if first is None or second is None or any(len(a) < len(b) for a, b in zip(known, values, strict=True)):
        return LimitResult(limit.text, first, second, None, None, CANNOT_TELL, "a run does not report it")
    change = second / first - 1
    errors = [_error(limit.path, side, logs) for side, logs in zip(sides, known, strict=True)]
    if problem := next((error for error in errors if isinstance(error, str)), None):
        return LimitResult(limit.text, first, second, change, None, CANNOT_TELL, problem)
    (one, df_one), (other, df_other) = (error for error in errors if not isinstance(error, str))
    error = sqrt(one**2 + other**2)
    if error == 0:
        low = high = change
    else:
        df = error**4 / (one**4 / df_one + other**4 / df_other)
        half = t_quantile(df, level) * error
        low, high = exp(log(second / first) - half) - 1, exp(log(second / first) + half) - 1
    beyond = low > limit.change if limit.above else high < limit.change
    within = high <= limit.change if limit.above else low >= limit.change
    within = within or (error == 0 and isclose(change, limit.change))
    word = FAILS if beyond else HOLDS if within else CANNOT_TELL
    why = None if beyond or within else "the interval lies on both sides of the limit: repeat the runs"
    return LimitResult(limit.text, first, second, change, (low, high), word, why)


def _error(path: str, side: Sequence[LoadSummary], values: Sequence[float]) -> tuple[float, int] | str:
    """Return the relative standard error of a side and its degrees of freedom, or why it is unknown."""
    if len(values) >= MIN_RUNS:
        return float(np.std(np.log(values), ddof=1)) / sqrt(len(values)), len(values) - 1
    if len(values) > 1:
        return f"{len(values)} runs on a side: give one, or {MIN_RUNS} and more"
    found = side[0].measured(path)
    if found.sampling.ends is None:
        return f"one run has no interval of it ({found.sampling.why or 'too short'}): give {MIN_RUNS} runs of each side"
    low, high = found.sampling.ends
    return (high - low) / 2 / t_quantile(BLOCKS - 1) / values[0], BLOCKS - 1
