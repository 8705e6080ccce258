"""Decide claims without a measured figure: opinions, arithmetic over published figures, memory, architecture."""

from collections.abc import Mapping, Sequence

from gptoss_bench.claims.conditions import condition_of_newest_run, gpus_of_newest_run
from gptoss_bench.claims.model import Claim, Evidence, Verdict
from gptoss_bench.claims.verdict_words import NOT_TESTABLE, OPINION, REFUTED, REPRODUCED
from gptoss_bench.memory import estimate_fit
from gptoss_bench.stats import CONSISTENCY_CHECKS
from gptoss_client import UsageError

# Relative difference of the memory budget of an attempt from the device's memory that still counts as the same.
SAME_BUDGET = 0.02


def opinion(claim: Claim, evidence: Evidence, *, beside: str = "") -> Verdict:
    """Return the verdict "opinion": no measurement decides it. `beside` is a remark on the claim."""
    return claim.verdict(OPINION, beside or "no measurement decides this")


def not_testable(claim: Claim, evidence: Evidence, *, because: str, scenario: str = "") -> Verdict:
    """Return that nothing in this kit decides the claim. `scenario`: report the GPUs of its newest run too."""
    seen = gpus_of_newest_run(evidence, scenario)
    return claim.verdict(NOT_TESTABLE, f"{because}; {seen}" if seen else because, needs=claim.needs)


def arithmetic(
    claim: Claim,
    evidence: Evidence,
    *,
    check: str,
    inputs: Mapping[str, str],
    counts_against: bool = False,
    scenario: str = "",
    condition: str = "",
) -> Verdict:
    """Apply one of `stats.CONSISTENCY_CHECKS` to published figures.

    Args:
        claim: The claim to decide.
        evidence: Claims and runs.
        check: Name of the check.
        inputs: The claim from which each argument of the check comes.
        counts_against: The claim is refuted where the check holds.
        scenario: Report whether the newest run of this scenario had the published figure as its condition.
        condition: Dotted path of that condition in the run's manifest or summary.
    """
    figures = {name: evidence.claims[claim_id].printed for name, claim_id in inputs.items()}
    tolerance = {"tolerance": claim.tolerance.relative} if claim.tolerance.relative else {}
    try:
        found = CONSISTENCY_CHECKS[check](**figures, **tolerance)
    except ZeroDivisionError as error:
        raise UsageError(
            f"claims.yaml: claim {claim.claim_id}: it divides by a published zero: correct the figure"
        ) from error
    word = REPRODUCED if found.holds != counts_against else REFUTED
    # A value in another unit, such as a bound in seconds, cannot be compared with the published figure.
    measured = found.computed if found.unit == claim.published.unit else None
    beside = condition_of_newest_run(evidence, scenario, condition, claim.printed.value) if condition else ""
    return claim.verdict(word, "; ".join([*found.steps, *([beside] if beside else [])]), measured=measured)


def fits(
    claim: Claim,
    evidence: Evidence,
    *,
    architecture: str,
    dtype: str,
    context: int,
    device: str = "",
    expected: bool = True,
) -> Verdict:
    """Compare weights, KV cache and allowance with the published memory, or with the memory of a named `device`.

    A run that tried to load the same weights into as much memory overrules the arithmetic. `expected` is whether the
    model fits by the claim; `context` is in tokens.
    """
    model = evidence.architectures[architecture]
    have = evidence.gpus[device].memory_bytes if device else int(claim.printed.value * 1e9)
    fit = estimate_fit(model, dtype, device or claim.published.text, have, context=context)
    words = (
        f"{dtype.upper()} weights {fit.weights_bytes / 1e9:.2f} GB + cache {fit.kv_bytes / 1e9:.2f} at {context} tokens"
        f" + allowance {fit.allowance_bytes / 1e9:.2f} = {fit.parts.serving / 1e9:.2f} GB of {have / 1e9:.2f},"
        f" {fit.parts.serving / have:.0%}"
    )
    if fit.parts.loading > fit.parts.serving:
        words += f"; unpacking MXFP4 takes {fit.parts.dequantisation / 1e9:.2f} GB besides, while loading"
    outcomes = {"out of memory": False, "fits": True}
    for run in evidence.newest_first():
        tried = run.summary.get("attempt") or {}
        same = (tried.get("architecture"), tried.get("dtype")) == (architecture, dtype)
        budget = float(tried.get("budget_bytes") or 0)
        if same and tried.get("outcome") in outcomes and abs(budget / have - 1) < SAME_BUDGET:
            word = REPRODUCED if outcomes[tried["outcome"]] == expected else REFUTED
            reached = f" at {tried['reached']}" if tried.get("reached") else ""
            text = f"{words}; loading into {budget / 1e9:.2f} GB ({tried.get('how')}): {tried['outcome']}{reached}"
            return claim.verdict(word, text, run=run, measured=fit.parts.serving / 1e9)
    return claim.verdict(REPRODUCED if fit.fits == expected else REFUTED, words, measured=fit.parts.serving / 1e9)


def inserted_token(claim: Claim, evidence: Evidence, *, architecture: str, tensor: str) -> Verdict:
    """Refute that something is a token in the sequence where the weights contain it as a learned `tensor`."""
    layers = evidence.architectures[architecture].allocations("bf16")
    learned = [allocation for allocation in layers if allocation.name.endswith(tensor)]
    if not learned:
        return claim.verdict(REPRODUCED, f"{architecture} has no weights named {tensor}")
    count = sum(allocation.parameters for allocation in learned)
    text = (
        f"{architecture} learns {count:,} numbers named {tensor}, {learned[0].parameters} a layer, one for each head; "
        "each is one more logit of the softmax and is dropped after it: the sequence gets no token"
    )
    return claim.verdict(REFUTED, text, measured=float(count))


def count(claim: Claim, evidence: Evidence, *, items: Sequence[str] | str, of: str) -> Verdict:
    """Compare the number of distinct items with the published number.

    `items` is the list, or the name of an argument of the figures in the claims file.
    """
    listed = list(items) if not isinstance(items, str) else evidence.figure_arguments(items)
    distinct = sorted(set(listed))
    word = REPRODUCED if claim.side_of_tolerance(len(distinct)) == 0 else REFUTED
    return claim.verdict(word, f"{of}: {len(distinct)} ({'; '.join(distinct)})", measured=float(len(distinct)))
