"""How a published figure is decided by a run's own: claim and evidence in, verdict out.

It takes a run of a real model under the published conditions; of a run under others it is said what differs.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from gptoss_bench.claims.conditions import Setting, differing, no_measurement, version_key
from gptoss_bench.claims.model import (
    FASTER,
    NOT_COMPARABLE,
    NOT_TESTABLE,
    REFUTED,
    REPRODUCED,
    SLOWER,
    Claim,
    Evidence,
    RunRecord,
    Verdict,
    format_number,
)
from gptoss_bench.stats import error_bar_text

COUNTED = ("completed", "failed")  # what was counted is known, and has no interval


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
    """A number of a run's summary at `path`, from the newest run made under the claim's conditions (`Setting`).

    `interval` is the path of its interval, `beside` other numbers to print (words: path), `better` "lower" or "higher"
    where the direction has a meaning. `whole`: a run in which a request failed was made under other conditions. Where
    every run of a real model was, the newest of them is named with what differs.
    """
    setting = Setting(gpu, engine, model, version, quantisation, parameters or {}, prompt_tokens, whole)
    refused: list[str] = []
    elsewhere: list[Verdict] = []
    for run in sorted(evidence.of(scenario), key=lambda run: run.run_id, reverse=True):
        value = run.number(path)
        if reason := no_measurement(run):
            refused.append(f"run {run.run_id} does not count: {reason}")
        elif value is None:
            refused.append(f"run {run.run_id} has no {path}")
        elif other := differing(run, setting):
            text = f"{'; '.join(other)}; measured there: {_in_unit(claim, value)}"
            found = claim.verdict(NOT_COMPARABLE, text, run=run, measured=value, interval=run.span(interval))
            elsewhere.append(found)
        else:
            return _compared(claim, run, value, path=path, span=run.span(interval), beside=beside or {}, better=better)
    if elsewhere:
        return elsewhere[0]
    return claim.verdict(NOT_TESTABLE, "; ".join(refused) or f"no {scenario} run among the evidence", needs=claim.needs)


def _in_unit(claim: Claim, value: float) -> str:
    return f"{format_number(value)} {claim.published.unit}".strip()


def _compared(
    claim: Claim,
    run: RunRecord,
    value: float,
    *,
    path: str,
    span: tuple[float, float] | None,
    beside: Mapping[str, str],
    better: str,
) -> Verdict:
    """The interval decides: all of it within the tolerance, or all of it on one side; else it takes more requests."""
    text = [_in_unit(claim, value)]
    if reference := claim.published.nearest(value):
        apart = value / reference - 1
        words = {"": ("", ""), "lower": (", slower", ", faster"), "higher": (", faster", ", slower")}[better]
        text.append(f"{abs(apart):.0%} {'above' if apart > 0 else 'below'} {reference:g}{words[apart < 0]}")
    off, across = _side(claim, span or (value, value))
    if span is None and path not in COUNTED:
        text.append("decided by the value alone, no interval of it is known")
    if off and better:
        text.append(f"{run.engine} {run.version or 'of a version that it does not tell'}, {_published_with(claim)}")
    others = ((words, run.number(path)) for words, path in beside.items())
    text += [f"{words} {format_number(other)}" for words, other in others if other is not None]
    text += of_the_client(run)
    word = NOT_TESTABLE if across else REPRODUCED if off == 0 else _word_apart(claim, run, off, better)
    return claim.verdict(word, "; ".join(text), run=run, needs=across, measured=value, interval=span)


def _side(claim: Claim, span: tuple[float, float]) -> tuple[int, str | None]:
    """As `Claim.off` says of all of an interval; and what it takes where the interval reaches across an edge."""
    low, high = (claim.off(edge) for edge in span)
    if low == high:
        return low, None
    shown = f"[{format_number(span[0])}, {format_number(span[1])}]"
    return 0, f"more requests: the interval {shown} reaches across the edge of the tolerance"


def _word_apart(claim: Claim, run: RunRecord, off: int, better: str) -> str:
    """Of the version that was published a figure is refuted, of another one (or where none was told) it has moved."""
    then = claim.published.version
    if not better or (then and run.version and version_key(then) == version_key(run.version)):
        return REFUTED
    return FASTER if (off > 0) == (better == "higher") else SLOWER


def _published_with(claim: Claim) -> str:
    then = claim.published.version
    return f"published of {then}" if then else "the published version is not told"


def of_the_client(run: RunRecord) -> list[str]:
    """How wrong the client may be in that run, and whether it was the limit; nothing where the run does not say."""
    client = run.summary.get("client") or {}
    bound = [f"CLIENT-BOUND: {'; '.join(client['bound'])}"] if client.get("bound") else []
    return [error_bar_text(client["error_bar"]), *bound] if client.get("error_bar") else []
