"""Compare two sides, of one run or of several runs each: relative differences, 95 % intervals, and a word. Pure.

One run does not show how much the next one differs. So two single runs differ, or no difference is seen; faster and
slower take at least MIN_RUNS runs on each side that were made in turn. The words hold for the whole table: the chance
that any row of it is a false alarm is at most 5 % (Holm 1979).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from math import exp, log, sqrt

import numpy as np
import pandas as pd

from gptoss_bench.runs import LoadSummary
from gptoss_bench.stats.bootstrap import BLOCKS, MIN_RUNS, REPEAT
from gptoss_bench.stats.students_t import t_quantile, t_tail

FASTER, SLOWER, SAME = "faster", "slower", "same"
DIFFERENT, NO_DIFFERENCE = "these runs differ", "no difference seen"
QUANTITY_WORDS = {
    "ttft_s": "TTFT, s",
    "ttfa_s": "TTFA, s",
    "itl_s": "ITL, s",
    "tpot_s": "TPOT, s",
    "done_s": "latency, s",
    "output_tok_s": "tok/s, steady",
    "output_tok_s_total": "tok/s, whole run",
    "request_s": "requests/s",
}
TOO_SHORT, NOT_COMPARED, CANNOT_TELL = "repeat the run", "not compared", "cannot tell"
TWO_RUNS_DIFFER = "these two runs differ"
SAME_MARGIN = 0.03
FALSE_ALARMS = 0.05  # at most, of the words of one table
MOST_IN_A_ROW = 2  # runs of one side between two of the other, if they were made in turn
TIMES = ("ttft_s", "ttfa_s", "tpot_s", "done_s", "itl_s")
RATE = "output_tok_s_total"


@dataclass(frozen=True, slots=True)
class MeasuredRate:
    """Tokens per second of `kind` "prefill" or "decode", where they were measured apart.

    `test` is what was computed, such as "512 @ 4096" for 512 tokens after 4096, empty if that was not planned. `n` is
    the number of repetitions or requests, None if it is not reported; `interval` of 95 % is of their mean.
    """

    kind: str
    test: str
    tok_s: float
    n: int | None = None
    interval: tuple[float, float] | None = None

    @property
    def name(self) -> str:
        """Return kind and test, such as "decode 128"."""
        return f"{self.kind} {self.test}".strip()


@dataclass(frozen=True, slots=True)
class ComparedResult:
    """One result: its summary, when its run began (ISO time in UTC), None if unknown, and prefill and decode rates."""

    summary: LoadSummary
    start_utc: str | None = None
    rates: tuple[MeasuredRate, ...] = ()

    def rate(self, name: str) -> MeasuredRate | None:
        """Return the prefill or decode rate of this name, None if it was not measured."""
        return next((one for one in self.rates if one.name == name), None)


@dataclass(frozen=True, slots=True)
class Difference:
    """One quantity of two sides. `change` and `interval` (95 %) are shares of the first: 0.1 is 10 % more.

    `first` and `second` are the medians or rates; of several runs their geometric mean. `p` is the probability of such
    a change without a difference. `why` is the reason of a word that says too little, else None.
    """

    name: str
    first: float | None
    second: float | None
    change: float | None
    interval: tuple[float, float] | None
    word: str
    p: float | None = None
    why: str | None = None

    @property
    def text(self) -> str:
        """The word, with the reason if there is one."""
        if self.word == CANNOT_TELL:
            return f"{self.why}: {self.word}"
        return f"{self.word}: {self.why}" if self.why else self.word

    @property
    def interval_text(self) -> str:
        """The interval in percent; empty if there is none."""
        return f"[{self.interval[0]:+.1%}, {self.interval[1]:+.1%}]" if self.interval else ""


def compare_results(
    first: Sequence[ComparedResult], second: Sequence[ComparedResult], *, margin: float = SAME_MARGIN
) -> list[Difference]:
    """Return the differences of median times, token rate, and prefill and decode rates by test; only what is reported.

    With one run on each side, the standard error of a figure is that of its interval in the summary. With MIN_RUNS or
    more on each side it is that of the runs (Welch's t on logarithms). `margin` is the largest relative change that
    counts as the same.
    """
    found = []
    for name in (*TIMES, RATE):
        sides = [[_figure(one.summary, name) for one in side] for side in (first, second)]
        if any(value is not None for side in sides for value in side):
            found.append(_difference(name, sides, [[one.summary for one in side] for side in (first, second)]))
    for name in dict.fromkeys(rate.name for one in (*first, *second) for rate in one.rates):
        found.append(_rate_difference(name, [[one.rate(name) for one in side] for side in (first, second)]))
    repeated = min(len(first), len(second)) >= MIN_RUNS
    in_turn = repeated and made_in_turn(first, second)
    words = []
    for one, significant in zip(found, _holm([one.p for one in found]), strict=True):
        if one.interval is None or one.change is None:
            words.append(one)
        elif not repeated:
            words.append(replace(one, word=TWO_RUNS_DIFFER if significant else NO_DIFFERENCE))
        elif -margin <= one.interval[0] and one.interval[1] <= margin:
            words.append(replace(one, word=SAME))
        elif not significant:
            words.append(replace(one, word=NO_DIFFERENCE))
        elif not in_turn:
            words.append(replace(one, word=DIFFERENT, why="they were not made in turn"))
        else:
            words.append(replace(one, word=FASTER if (one.change < 0) == (one.name in TIMES) else SLOWER))
    return words


def comparison_table(sides: Mapping[str, Sequence[ComparedResult]]) -> pd.DataFrame:
    """Return one row per quantity and later side, each compared with the first side, formatted for display."""
    (_, first), *others = sides.items()
    rows = [
        {
            "quantity": one.name,
            "run": name,
            "first": one.first,
            "other": one.second,
            "change": "" if one.change is None else f"{one.change:+.1%}",
            "interval": one.interval_text,
            "word": one.text,
        }
        for name, side in others
        for one in compare_results(first, side)
    ]
    return pd.DataFrame(rows, columns=["quantity", "run", "first", "other", "change", "interval", "word"])


def made_in_turn(first: Sequence[ComparedResult], second: Sequence[ComparedResult]) -> bool:
    """Return whether the runs of both sides alternated: never more than MOST_IN_A_ROW of one side in a row."""
    began = [(one.start_utc, side) for side, runs in enumerate((first, second)) for one in runs if one.start_utc]
    in_a_row = [len(list(runs)) for _, runs in groupby(side for _, side in sorted(began))]
    return len(began) == len(first) + len(second) and max(in_a_row, default=0) <= MOST_IN_A_ROW


def _difference(
    name: str, sides: Sequence[Sequence[float | None]], summaries: Sequence[Sequence[LoadSummary]]
) -> Difference:
    """Return a row with the word that its runs are enough for, or why they are not."""
    known = [[value for value in side if value is not None] for side in sides]
    if any(value <= 0 for side in known for value in side):
        return _row(name, known, NOT_COMPARED, "a median is 0: most gaps lie within one read of the socket")
    if any(len(some) < len(side) for some, side in zip(known, sides, strict=True)):
        return _row(name, known, NOT_COMPARED, "a run does not report it")
    if list(map(len, known)) == [1, 1]:
        (first,), (second,) = summaries
        single = [_standard_error(one, name) for one in (first, second)]
        if problems := [error for error in single if isinstance(error, str)]:
            return _row(name, known, TOO_SHORT, " and ".join(dict.fromkeys(problems)))
        return _welch(_row(name, known, ""), [one for one in single if isinstance(one, float)], [BLOCKS - 1] * 2)
    return _between_runs(name, known)


def _rate_difference(name: str, sides: Sequence[Sequence[MeasuredRate | None]]) -> Difference:
    """Return a row of a prefill or decode rate; of single results the repetitions are the sample."""
    measured = [[one for one in side if one is not None] for side in sides]
    known = [[one.tok_s for one in side] for side in measured]
    if any(value <= 0 for side in known for value in side):
        return _row(name, known, NOT_COMPARED, "a rate is 0")
    if any(len(some) < len(side) for some, side in zip(known, sides, strict=True)):
        return _row(name, known, NOT_COMPARED, "a run does not report it")
    if list(map(len, known)) != [1, 1]:
        return _between_runs(name, known)
    errors, freedom = list[float](), list[int]()
    for (one,) in measured:
        if one.n and one.n > 1 and one.interval:
            errors.append((one.interval[1] - one.interval[0]) / 2 / t_quantile(one.n - 1) / one.tok_s)
            freedom.append(one.n - 1)
    if len(errors) == len(measured):
        return _welch(_row(name, known, ""), errors, freedom)
    counts = dict.fromkeys("n is not reported" if one.n is None else f"n = {one.n}" for (one,) in measured)
    return _row(name, known, CANNOT_TELL, " and ".join(counts))


def _between_runs(name: str, known: Sequence[Sequence[float]]) -> Difference:
    """Return a row by the spread of several runs on each side, or why they are too few."""
    counts = list(map(len, known))
    if min(counts) < MIN_RUNS:
        return _row(name, known, TOO_SHORT, f"{counts[0]} and {counts[1]} runs, {MIN_RUNS} are needed on each side")
    errors = [float(np.std(np.log(side), ddof=1)) / sqrt(len(side)) for side in known]
    return _welch(_row(name, known, ""), errors, [count - 1 for count in counts])


def _row(name: str, known: Sequence[Sequence[float]], word: str, why: str | None = None) -> Difference:
    means = [None if not side else 0.0 if min(side) <= 0 else exp(float(np.mean(np.log(side)))) for side in known]
    first, second = means
    change = second / first - 1 if first and second is not None else None
    return Difference(name, first, second, change, None, word, why=why)


def _standard_error(summary: LoadSummary, name: str) -> float | str:
    """Return the relative standard error of a figure of one run, or why it is unknown."""
    found = summary.measured(name if name == RATE else f"{name}.p50")
    if found.sampling.ends is None or not found.value:
        return (found.sampling.why or "the run has no interval").removesuffix(f": {REPEAT}")
    low, high = found.sampling.ends
    return (high - low) / 2 / t_quantile(BLOCKS - 1) / found.value


def _welch(row: Difference, errors: Sequence[float], freedom: Sequence[int]) -> Difference:
    """Return the row with interval and p by Welch's t on logarithms, from the standard error of each side."""
    assert row.change is not None  # both sides have values above 0
    change, error = log(1 + row.change), sqrt(sum(one**2 for one in errors))
    if error == 0:
        return replace(row, interval=(row.change, row.change), p=0.0 if change else 1.0)
    df = error**4 / sum(one**4 / of for one, of in zip(errors, freedom, strict=True))
    half = t_quantile(df) * error
    return replace(row, interval=(exp(change - half) - 1, exp(change + half) - 1), p=t_tail(change / error, df))


def _holm(probabilities: Sequence[float | None]) -> list[bool]:
    """Return which rows differ if the chance of any false alarm among them is to be FALSE_ALARMS (Holm 1979)."""
    rising = sorted((p, at) for at, p in enumerate(probabilities) if p is not None)
    significant = [False] * len(probabilities)
    for done, (p, at) in enumerate(rising):
        if p > FALSE_ALARMS / (len(rising) - done):
            break
        significant[at] = True
    return significant


def _figure(summary: LoadSummary, name: str) -> float | None:
    return summary.rate(name) if name == RATE else summary.distribution(name).p50
