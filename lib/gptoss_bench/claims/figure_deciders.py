"""Decide a published figure by the figures of runs of gpt-oss under the published conditions."""

from statistics import mean
from typing import Literal

from pydantic import Field

from gptoss_bench.claims.conditions import (
    PublishedConditions,
    differing_conditions,
    routing_notes,
    version_key,
    why_not_evidence,
)
from gptoss_bench.claims.gate import Interval, interval_text, known_interval, refusals, too_uncertain
from gptoss_bench.claims.model import (
    Claim,
    Decider,
    Evidence,
    RunRecord,
    Text,
    Verdict,
    WriteUp,
    format_number,
    unknown_name,
    unknown_path,
)
from gptoss_bench.claims.verdict_words import (
    CONTRADICTED,
    ELSEWHERE,
    FASTER,
    MEASURED,
    MEASURED_ELSEWHERE,
    NO_BASIS,
    NOT_A_MEASUREMENT,
    NOT_COMPARABLE,
    NOT_MEASURED,
    NOT_REPRODUCED,
    RANDOM_WEIGHTS,
    REPRODUCED,
    SLOWER,
    TEXT,
)
from gptoss_bench.stats import interval_over_runs
from gptoss_bench.validation import Mistake

COUNTED = ("completed", "failed")  # counts are exact and have no interval
MIN_RUNS = 3  # an interval over runs needs as many


class Measured(PublishedConditions, Decider):
    """Compare a number of the runs under the published conditions with the published figure.

    A figure that the quality gate refuses decides nothing. Runs on other hardware or with random weights are reported
    as measured elsewhere, runs under other conditions as not comparable.
    """

    scenario: str = ""
    """The scenario whose runs count, "" for any."""
    path: Text
    """Dotted path of the number in the run's summary."""
    beside: dict[str, Text] = Field(default_factory=dict)
    """Other numbers to report, by text: dotted path."""
    better: Literal["lower", "higher", ""] = ""
    """Which direction is better, "" where neither is."""
    not_measured_by: str = ""
    """The claim whose contradiction means that the published figure is no measurement."""

    def mistakes(self, write_up: WriteUp) -> list[Mistake]:
        """Return the paths that no summary has, and an unknown claim."""
        return [
            *unknown_path(self.path, "path"),
            *(mistake for text, path in self.beside.items() for mistake in unknown_path(path, "beside", text)),
            *(unknown_name("not_measured_by", self.not_measured_by, write_up.by_id) if self.not_measured_by else ()),
        ]

    def decide(self, claim: Claim, evidence: Evidence) -> Verdict:
        """Return the verdict by the runs that count."""
        if self.not_measured_by:
            other = evidence.verdict_on(self.not_measured_by)
            if other.verdict == CONTRADICTED:
                text = f"{other.number}, “{other.says}”: contradicted"
                return claim.verdict(TEXT, NOT_A_MEASUREMENT, text, detail=f" (see {other.number})")
        rejected: dict[str, list[str]] = {}  # other runs than of the published model, by reason
        refused: list[str] = []  # by the quality gate
        same: list[RunRecord] = []
        elsewhere: list[RunRecord] = []
        other_conditions: list[tuple[RunRecord, list[str]]] = []
        for run in evidence.newest_first(self.scenario):
            if reason := why_not_evidence(run):
                rejected.setdefault(reason, []).append(run.run_id)
            elif run.number(self.path) is None:
                rejected.setdefault(f"it has no {self.path}", []).append(run.run_id)
            elif reasons := refusals(run, self.path):
                refused.append(f"run {run.run_id} is refused by the quality gate: {'; '.join(reasons)}")
            elif not (differences := differing_conditions(run, self)) and not run.random_weights:
                same.append(run)
            elif all(one.startswith("hardware") for one in differences) and self.path not in COUNTED:
                elsewhere.append(run)
            else:
                other_conditions.append((run, differences))
        if same:
            return self._compared(claim, same, refused)
        if elsewhere:
            return self._elsewhere(claim, elsewhere, evidence, refused)
        if other_conditions:
            run, differences = other_conditions[0]
            return self._not_comparable(claim, run, differences, evidence, refused)
        text = (
            "; ".join([*refused, *(_not_counted(ids, reason) for reason, ids in rejected.items())])
            or f"no run {f'of {self.scenario} ' if self.scenario else ''}among the evidence"
        )
        return claim.verdict(NO_BASIS, NOT_MEASURED, text, needs=claim.needs)

    def _compared(self, claim: Claim, runs: list[RunRecord], refused: list[str]) -> Verdict:
        """Decide by the interval: where it is unknown, too wide or crosses an edge of the tolerance, nothing."""
        run = runs[0]
        value, interval, why, number = self._value(runs)
        shown = _in_unit(claim, value) + (
            f" {interval_text(interval)}" if interval and self.path not in COUNTED else ""
        )
        text = [shown]
        if number >= MIN_RUNS:
            text.append(f"mean of {number} runs")
        if reference := claim.published.nearest(value):
            difference = value / reference - 1
            words = {"": ("", ""), "lower": (", slower", ", faster"), "higher": (", faster", ", slower")}[self.better]
            text.append(
                f"{abs(difference):.0%} {'above' if difference > 0 else 'below'} {reference:g}{words[difference < 0]}"
            )
        side, needs = claim.side_of_tolerance(value), _undecided(claim, interval, why)
        if side and self.better:
            text.append(f"{run.engine} {run.version or 'of unknown version'}, {_published_with(claim)}")
        text += [*self._beside(run), *refused]
        if needs:
            return claim.verdict(NO_BASIS, NOT_MEASURED, "; ".join(text), needs=needs, run=run, measured=value)
        word = REPRODUCED if side == 0 else _word_outside(claim, run, side, self.better)
        where = f"{run.gpus}: {run.engine} {run.version or 'of unknown version'}"
        return claim.verdict(MEASURED, word, "; ".join(text), where=where, run=run, measured=value, interval=interval)

    def _value(self, runs: list[RunRecord]) -> tuple[float, Interval | None, str, int]:
        """Return the figure, its interval or why there is none, and of how many runs it is the mean.

        They are those with the GPUs, version and labels of the first run: from 3 on they have an interval of their own.
        """
        run = runs[0]
        setting = (run.gpus, run.version, run.label)
        values = [one.number(self.path) or 0.0 for one in runs if (one.gpus, one.version, one.label) == setting]
        if self.path in COUNTED:
            return values[0], (values[0], values[0]), "", 1
        if len(values) >= MIN_RUNS:
            found = interval_over_runs(values)
            return mean(values), (found.low or 0.0, found.high or 0.0), "", len(values)
        return values[0], *known_interval(run, self.path), 1

    def _elsewhere(self, claim: Claim, runs: list[RunRecord], evidence: Evidence, refused: list[str]) -> Verdict:
        run = runs[0]
        value, interval, why, number = self._value(runs)
        shown = interval_text(interval) if interval else f"[no interval: {why}]"
        of_runs = [f"mean of {number} runs"] if number >= MIN_RUNS else []
        notes = routing_notes(run, self.path, claim.published.unit, evidence.newest_first())
        text = [*of_runs, *differing_conditions(run, self), *notes, *self._beside(run), *refused]
        return claim.verdict(
            RANDOM_WEIGHTS if run.random_weights else MEASURED_ELSEWHERE,
            ELSEWHERE,
            "; ".join([f"run {run.run_id}", *text]),
            detail=f": {_in_unit(claim, value)} {shown}",
            where=f"{run.gpus}: {run.engine} {run.version or 'of unknown version'}",
            run=run,
            measured=value,
            interval=interval,
        )

    def _not_comparable(
        self, claim: Claim, run: RunRecord, differences: list[str], evidence: Evidence, refused: list[str]
    ) -> Verdict:
        value = run.number(self.path) or 0.0
        notes = routing_notes(run, self.path, claim.published.unit, evidence.newest_first())
        text = "; ".join([*differences, f"measured there: {_in_unit(claim, value)}", *notes, *refused])
        kinds = ", ".join(dict.fromkeys(one.partition(":")[0] for one in differences)) or "weights"
        basis = RANDOM_WEIGHTS if run.random_weights else MEASURED_ELSEWHERE
        return claim.verdict(
            basis, NOT_COMPARABLE, text, detail=f" (differs in {kinds})", where=run.gpus, run=run, measured=value
        )

    def _beside(self, run: RunRecord) -> list[str]:
        others = ((words, run.number(path)) for words, path in self.beside.items())
        return [f"{words} {format_number(other)}" for words, other in others if other is not None]


def _in_unit(claim: Claim, value: float) -> str:
    return f"{format_number(value)} {claim.published.unit}".strip()


def _undecided(claim: Claim, interval: tuple[float, float] | None, why: str) -> str:
    """Return why an interval decides nothing: it is unknown, wider than the tolerance, or crosses an edge of it."""
    if reason := too_uncertain(claim, interval, why):
        return f"more requests or runs: {reason}"
    if interval and claim.side_of_tolerance(interval[0]) != claim.side_of_tolerance(interval[1]):
        return f"more requests or runs: the interval {interval_text(interval)} crosses the edge of the tolerance"
    return ""


def _word_outside(claim: Claim, run: RunRecord, side: int, better: str) -> str:
    """Name a difference: with another or an unknown version the engine is faster or slower now."""
    published = claim.published.version
    if not better or (published and run.version and version_key(published) == version_key(run.version)):
        return NOT_REPRODUCED
    return FASTER if (side > 0) == (better == "higher") else SLOWER


def _published_with(claim: Claim) -> str:
    version = claim.published.version
    return f"published of {version}" if version else "the published version is unknown"


def _not_counted(run_ids: list[str], reason: str) -> str:
    """Return in words that these runs, newest first, do not count."""
    newest, more = run_ids[0], len(run_ids) - 1
    return f"run {newest} and {more} more do not count: {reason}" if more else f"run {newest} does not count: {reason}"
