"""Decide a published figure by the figure of a run of a real model under the published conditions."""

from collections.abc import Mapping, Sequence
from typing import Any

from gptoss_bench.claims.conditions import PublishedConditions, differing_conditions, version_key, why_not_evidence
from gptoss_bench.claims.model import Claim, Evidence, RunRecord, Verdict, format_number
from gptoss_bench.claims.verdict_words import FASTER, NOT_COMPARABLE, NOT_TESTABLE, REFUTED, REPRODUCED, SLOWER
from gptoss_bench.stats import error_bar_text

COUNTED = ("completed", "failed")  # counts are exact and have no interval


def measured(
    claim: Claim,
    evidence: Evidence,
    *,
    path: str,
    scenario: str,
    gpu: str,
    engine: str,
    model: str,
    version: str = "",
    quantisation: str = "",
    parameters: Mapping[str, Any] | None = None,
    prompt_tokens: Sequence[float] = (),
    interval: str = "",
    beside: Mapping[str, str] | None = None,
    better: str = "",
    whole: bool = True,
) -> Verdict:
    """Compare a number of the newest run under the published conditions with the published figure.

    Where every run of a real model was made under other conditions, the newest is reported with what differs.

    Args:
        claim: The claim to decide.
        evidence: Claims and runs.
        path: Dotted path of the number in the run's summary.
        scenario: The scenario whose runs count.
        gpu: This and the arguments up to `prompt_tokens`, and `whole`, are fields of PublishedConditions.
        engine: See `gpu`.
        model: See `gpu`.
        version: See `gpu`.
        quantisation: See `gpu`.
        parameters: See `gpu`.
        prompt_tokens: See `gpu`.
        interval: Dotted path of the number's interval, "" where it has none.
        beside: Other numbers to report, by text: dotted path.
        better: "lower" or "higher", "" where neither is better.
        whole: See `gpu`.
    """
    conditions = PublishedConditions(gpu, engine, model, version, quantisation, parameters or {}, prompt_tokens, whole)
    rejected: list[str] = []
    other_conditions: list[Verdict] = []
    for run in evidence.newest_first(scenario):
        value = run.number(path)
        if reason := why_not_evidence(run):
            rejected.append(f"run {run.run_id} does not count: {reason}")
        elif value is None:
            rejected.append(f"run {run.run_id} has no {path}")
        elif differences := differing_conditions(run, conditions):
            text = f"{'; '.join(differences)}; measured there: {_in_unit(claim, value)}"
            found = claim.verdict(NOT_COMPARABLE, text, run=run, measured=value, interval=run.interval(interval))
            other_conditions.append(found)
        else:
            return _compared(
                claim, run, value, path=path, interval=run.interval(interval), beside=beside or {}, better=better
            )
    if other_conditions:
        return other_conditions[0]
    return claim.verdict(
        NOT_TESTABLE, "; ".join(rejected) or f"no {scenario} run among the evidence", needs=claim.needs
    )


def _in_unit(claim: Claim, value: float) -> str:
    return f"{format_number(value)} {claim.published.unit}".strip()


def _compared(
    claim: Claim,
    run: RunRecord,
    value: float,
    *,
    path: str,
    interval: tuple[float, float] | None,
    beside: Mapping[str, str],
    better: str,
) -> Verdict:
    """Decide by the interval: where it crosses an edge of the tolerance, more requests are needed."""
    text = [_in_unit(claim, value)]
    if reference := claim.published.nearest(value):
        difference = value / reference - 1
        words = {"": ("", ""), "lower": (", slower", ", faster"), "higher": (", faster", ", slower")}[better]
        text.append(
            f"{abs(difference):.0%} {'above' if difference > 0 else 'below'} {reference:g}{words[difference < 0]}"
        )
    side, needs = _side_of_interval(claim, interval or (value, value))
    if interval is None and path not in COUNTED:
        text.append("decided by the value alone, its interval is unknown")
    if side and better:
        text.append(f"{run.engine} {run.version or 'of unknown version'}, {_published_with(claim)}")
    others = ((words, run.number(path)) for words, path in beside.items())
    text += [f"{words} {format_number(other)}" for words, other in others if other is not None]
    text += client_error_text(run)
    word = NOT_TESTABLE if needs else REPRODUCED if side == 0 else _word_outside(claim, run, side, better)
    return claim.verdict(word, "; ".join(text), run=run, needs=needs, measured=value, interval=interval)


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
    client = run.summary.get("client") or {}
    bound = [f"CLIENT-BOUND: {'; '.join(client['bound'])}"] if client.get("bound") else []
    return [error_bar_text(client["error_bar"]), *bound] if client.get("error_bar") else []
