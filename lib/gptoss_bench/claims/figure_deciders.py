"""Decide a published figure by the figure of a run of a real model under the published conditions."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from gptoss_bench.claims.conditions import PublishedConditions, differing_conditions, version_key, why_not_evidence
from gptoss_bench.claims.model import Claim, Decider, Evidence, RunRecord, Text, Verdict, format_number, unknown_path
from gptoss_bench.claims.verdict_words import FASTER, NOT_COMPARABLE, NOT_TESTABLE, REFUTED, REPRODUCED, SLOWER
from gptoss_bench.runs import LoadSummary
from gptoss_bench.stats import error_bar_text
from gptoss_bench.validation import Mistake

COUNTED = ("completed", "failed")  # counts are exact and have no interval


class Measured(PublishedConditions, Decider):
    """Compare a number of the newest run under the published conditions with the published figure.

    Where every run of a real model was made under other conditions, the newest is reported with what differs.
    """

    scenario: Text
    """The scenario whose runs count."""
    path: Text
    """Dotted path of the number in the run's summary."""
    interval: str = ""
    """Dotted path of the number's interval, "" where it has none."""
    beside: dict[str, Text] = Field(default_factory=dict)
    """Other numbers to report, by text: dotted path."""
    better: Literal["lower", "higher", ""] = ""
    """Which direction is better, "" where neither is."""

    def mistakes(self, claims: Mapping[str, Claim]) -> list[Mistake]:
        """Return the paths that no summary has."""
        return [
            *unknown_path(self.path, "path"),
            *(unknown_path(self.interval, "interval") if self.interval else ()),
            *(mistake for text, path in self.beside.items() for mistake in unknown_path(path, "beside", text)),
        ]

    def decide(self, claim: Claim, evidence: Evidence) -> Verdict:
        """Return the verdict by the newest run that counts."""
        rejected: list[str] = []
        other_conditions: list[Verdict] = []
        for run in evidence.newest_first(self.scenario):
            value = run.number(self.path)
            if reason := why_not_evidence(run):
                rejected.append(f"run {run.run_id} does not count: {reason}")
            elif value is None:
                rejected.append(f"run {run.run_id} has no {self.path}")
            elif differences := differing_conditions(run, self):
                text = f"{'; '.join(differences)}; measured there: {_in_unit(claim, value)}"
                interval = run.interval(self.interval)
                other_conditions.append(claim.verdict(NOT_COMPARABLE, text, run=run, measured=value, interval=interval))
            else:
                return self._compared(claim, run, value)
        if other_conditions:
            return other_conditions[0]
        text = "; ".join(rejected) or f"no {self.scenario} run among the evidence"
        return claim.verdict(NOT_TESTABLE, text, needs=claim.needs)

    def _compared(self, claim: Claim, run: RunRecord, value: float) -> Verdict:
        """Decide by the interval: where it crosses an edge of the tolerance, more requests are needed."""
        interval = run.interval(self.interval)
        text = [_in_unit(claim, value)]
        if reference := claim.published.nearest(value):
            difference = value / reference - 1
            words = {"": ("", ""), "lower": (", slower", ", faster"), "higher": (", faster", ", slower")}[self.better]
            text.append(
                f"{abs(difference):.0%} {'above' if difference > 0 else 'below'} {reference:g}{words[difference < 0]}"
            )
        side, needs = _side_of_interval(claim, interval or (value, value))
        if interval is None and self.path not in COUNTED:
            text.append("decided by the value alone, its interval is unknown")
        if side and self.better:
            text.append(f"{run.engine} {run.version or 'of unknown version'}, {_published_with(claim)}")
        others = ((words, run.number(path)) for words, path in self.beside.items())
        text += [f"{words} {format_number(other)}" for words, other in others if other is not None]
        text += client_error_text(run)
        word = NOT_TESTABLE if needs else REPRODUCED if side == 0 else _word_outside(claim, run, side, self.better)
        return claim.verdict(word, "; ".join(text), run=run, needs=needs, measured=value, interval=interval)


def _in_unit(claim: Claim, value: float) -> str:
    return f"{format_number(value)} {claim.published.unit}".strip()


def _side_of_interval(claim: Claim, interval: tuple[float, float]) -> tuple[int, str | None]:
    """Return the side of the tolerance on which an interval lies, and what is needed where it crosses an edge."""
    low, high = (claim.side_of_tolerance(end) for end in interval)
    if low == high:
        return low, None
    shown = f"[{format_number(interval[0])}, {format_number(interval[1])}]"
    return 0, f"more requests: the interval {shown} crosses the edge of the tolerance"


def _word_outside(claim: Claim, run: RunRecord, side: int, better: str) -> str:
    """Refute a figure of the published version; with another or an unknown version the engine is faster or slower."""
    published = claim.published.version
    if not better or (published and run.version and version_key(published) == version_key(run.version)):
        return REFUTED
    return FASTER if (side > 0) == (better == "higher") else SLOWER


def _published_with(claim: Claim) -> str:
    version = claim.published.version
    return f"published of {version}" if version else "the published version is unknown"


def client_error_text(run: RunRecord) -> list[str]:
    """Return the client's error bar in a run, and whether the run is client-bound; empty where both are unknown."""
    client = run.summary.client if isinstance(run.summary, LoadSummary) else None
    if client is None or client.error_bar is None:
        return []
    bound = [f"CLIENT-BOUND: {'; '.join(client.bound)}"] if client.bound else []
    return [error_bar_text(client.error_bar), *bound]
