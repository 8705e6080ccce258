"""The ways of deciding a claim by what it says itself, by arithmetic or by an architecture; and the table of all ways.

A claim and the evidence go in, its verdict comes out; no claim is named here. A judge reads what was published from
the claim, so that a changed figure changes the verdict. The judges that need runs are in judges_of_runs.py.
"""

from collections.abc import Callable, Mapping, Sequence

from gptoss_bench.claims.conditions import gpus_of_newest_run, made_with
from gptoss_bench.claims.model import NOT_TESTABLE, OPINION, REFUTED, REPRODUCED, Claim, Evidence, Verdict
from gptoss_bench.claims.run_deciders import RUN_DECIDERS
from gptoss_bench.memory import estimate_fit
from gptoss_bench.stats import CONSISTENCY_CHECKS
from gptoss_client import UsageError

# An attempt with another budget than the device's memory says nothing of the device.
SAME_BUDGET = 0.02


def opinion(claim: Claim, evidence: Evidence, *, beside: str = "") -> Verdict:
    """No measurement decides it; `beside` is what can be said of it all the same."""
    return claim.verdict(OPINION, beside or "no measurement decides this")


def beyond(claim: Claim, evidence: Evidence, *, because: str, scenario: str = "") -> Verdict:
    """Nothing that this kit runs decides it. `scenario`: the GPUs in the manifest of its run stand beside."""
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
    """A check of audit.py over published figures, `inputs` naming the claim that each comes from.

    `counts_against`: the relation holding is what refutes the claim. `condition`: the figure is one that a run of
    `scenario` has to be made under, at this path of its manifest or summary; whether the newest was is told beside.
    """
    figures = {name: evidence.claims[claim_id].printed for name, claim_id in inputs.items()}
    tolerance = {"tolerance": claim.tolerance.relative} if claim.tolerance.relative else {}
    try:
        found = CONSISTENCY_CHECKS[check](**figures, **tolerance)
    except ZeroDivisionError as error:
        raise UsageError(
            f"claims.yaml: claim {claim.claim_id}: a figure that it divides by is zero; correct it"
        ) from error
    word = REPRODUCED if found.holds != counts_against else REFUTED
    # A bound in seconds is nothing to set beside a number of requests.
    measured = found.computed if found.unit == claim.published.unit else None
    beside = made_with(evidence, scenario, condition, claim.printed.value) if condition else ""
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
    """Weights, cache and allowance against the published memory, or against a named `device`.

    A run's attempt to load the same weights into as much memory overrules the arithmetic.
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
    """Whether something is a token put into the sequence: refuted where the weights hold it as a learned `tensor`."""
    layers = evidence.architectures[architecture].allocations("bf16")
    learned = [allocation for allocation in layers if allocation.name.endswith(tensor)]
    if not learned:
        return claim.verdict(REPRODUCED, f"{architecture} has no weights named {tensor}")
    count = sum(allocation.parameters for allocation in learned)
    text = (
        f"{architecture} learns {count:,} numbers named {tensor}, {learned[0].parameters} a layer, one for each head; "
        "each joins the softmax as one more logit and is dropped after it: the sequence gets no token"
    )
    return claim.verdict(REFUTED, text, measured=float(count))


def count(claim: Claim, evidence: Evidence, *, items: Sequence[str] | str, of: str) -> Verdict:
    """How many distinct things there are, against the published number.

    `items` is the list itself, or the name of an argument that figures carry in the claims file.
    """
    listed = list(items) if not isinstance(items, str) else evidence.figure_arguments(items)
    distinct = sorted(set(listed))
    word = REPRODUCED if claim.off(len(distinct)) == 0 else REFUTED
    return claim.verdict(word, f"{of}: {len(distinct)} ({'; '.join(distinct)})", measured=float(len(distinct)))


# The names that claims.yaml uses. Every judge takes (claim, evidence) and its arguments by name.
DECIDERS: dict[str, Callable[..., Verdict]] = {
    judge.__name__: judge for judge in (opinion, beyond, arithmetic, fits, inserted_token, count, *RUN_DECIDERS)
}
