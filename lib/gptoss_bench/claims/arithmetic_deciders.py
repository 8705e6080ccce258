"""Decide claims without a measured figure: opinions, arithmetic over published figures, memory, architecture."""

import inspect
from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, Strict

from gptoss_bench.claims.conditions import condition_of_newest_run, gpus_of_newest_run
from gptoss_bench.claims.model import Claim, Decider, Evidence, Text, Verdict, unknown_name
from gptoss_bench.claims.verdict_words import NOT_TESTABLE, OPINION, REFUTED, REPRODUCED
from gptoss_bench.memory import architectures, estimate_fit, gpu_catalogue
from gptoss_bench.runs import Bf16Summary
from gptoss_bench.stats import CONSISTENCY_CHECKS
from gptoss_bench.validation import Mistake, OneOf, Wanted, choices_text
from gptoss_client import UsageError

# Relative difference of the memory budget of an attempt from the device's memory that still counts as the same.
SAME_BUDGET = 0.02


class Opinion(Decider):
    """No measurement decides the claim."""

    beside: str = ""
    """A remark on the claim."""

    def decide(self, claim: Claim, evidence: Evidence) -> Verdict:
        """Return the verdict "opinion"."""
        return claim.verdict(OPINION, self.beside or "no measurement decides this")


class NotTestable(Decider):
    """Nothing in this kit decides the claim."""

    because: Text
    scenario: str = ""
    """Report the GPUs of the newest run of this scenario too."""

    def decide(self, claim: Claim, evidence: Evidence) -> Verdict:
        """Return the verdict "not testable here" with the reason."""
        seen = gpus_of_newest_run(evidence, self.scenario)
        return claim.verdict(NOT_TESTABLE, f"{self.because}; {seen}" if seen else self.because, needs=claim.needs)


class Arithmetic(Decider):
    """Apply one of `stats.CONSISTENCY_CHECKS` to published figures."""

    check: Annotated[str, OneOf(CONSISTENCY_CHECKS)]
    inputs: dict[str, str]
    """The id of the claim from which each argument of the check comes."""
    counts_against: bool = False
    """The claim is refuted where the check holds."""
    scenario: str = ""
    """Report whether the newest run of this scenario had the published figure as its condition."""
    condition: str = ""
    """Dotted path of that condition in the run's manifest or summary."""

    def mistakes(self, claims: Mapping[str, Claim]) -> list[Mistake]:
        """Return the inputs that the check does not take or lacks, and those that no claim has a value for."""
        taken = _parameters(self.check) - {"tolerance"}
        found = [
            Mistake(("inputs", name), f"is unknown; {choices_text(name, sorted(taken))}")
            for name in self.inputs
            if name not in taken
        ]
        found += [Mistake(("inputs", name), "is missing; add it") for name in sorted(taken - set(self.inputs))]
        for name, claim_id in self.inputs.items():
            if claim_id not in claims:
                found.append(Mistake(("inputs", name), f"is {claim_id!r}; {choices_text(claim_id, claims)}"))
            elif claims[claim_id].published.value is None:
                found.append(Mistake(("inputs", name), f"is {claim_id}, which has no published value; add it there"))
        return found

    def decide(self, claim: Claim, evidence: Evidence) -> Verdict:
        """Return whether the check holds, with its steps."""
        figures = {name: evidence.claims[claim_id].printed for name, claim_id in self.inputs.items()}
        tolerance = {"tolerance": claim.tolerance.relative} if "tolerance" in _parameters(self.check) else {}
        try:
            found = CONSISTENCY_CHECKS[self.check](**figures, **tolerance)
        except (ArithmeticError, ValueError) as error:
            raise UsageError(
                f"claim {claim.claim_id}: {self.check} cannot be computed from the published figures ({error}); correct"
                " them: it may divide by a zero"
            ) from error
        word = REPRODUCED if found.holds != self.counts_against else REFUTED
        # A value in another unit, such as a bound in seconds, cannot be compared with the published figure.
        measured = found.computed if found.unit == claim.published.unit else None
        steps = list(found.steps)
        if self.condition and (
            beside := condition_of_newest_run(evidence, self.scenario, self.condition, claim.printed.value)
        ):
            steps.append(beside)
        return claim.verdict(word, "; ".join(steps), measured=measured)


def _parameters(check: str) -> set[str]:
    return set(inspect.signature(CONSISTENCY_CHECKS[check]).parameters)


class Fits(Decider):
    """Compare weights, KV cache and allowance with the published memory, or with the memory of a named `device`.

    A run that tried to load the same weights into as much memory overrules the arithmetic.
    """

    architecture: str
    dtype: str
    context: Annotated[int, Field(gt=0)]
    """Tokens of one sequence."""
    device: str = ""
    """A GPU of the catalogue; "" for the published memory in GB."""
    expected: bool = True
    """Whether the model fits by the claim."""

    def mistakes(self, claims: Mapping[str, Claim]) -> list[Mistake]:
        """Return an unknown architecture, device or dtype, and a context that is too long for the model."""
        found = unknown_name("architecture", self.architecture, architectures())
        found += unknown_name("device", self.device, ["", *gpu_catalogue()])
        if not found:
            try:
                estimate_fit(architectures()[self.architecture], self.dtype, "", 1, context=self.context)
            except UsageError as error:
                found.append(Mistake((), f"is not possible: {error}"))
        return found

    def decide(self, claim: Claim, evidence: Evidence) -> Verdict:
        """Return whether the model fits as the claim expects, with the parts of the memory."""
        model, dtype = evidence.architectures[self.architecture], self.dtype
        have = evidence.gpus[self.device].memory_bytes if self.device else int(claim.printed.value * 1e9)
        if have <= 0:
            raise UsageError(
                f"claim {claim.claim_id}: published.value is {claim.printed.value:g} GB; it has to be above 0"
            )
        fit = estimate_fit(model, dtype, self.device or claim.published.text, have, context=self.context)
        words = (
            f"{dtype.upper()} weights {fit.weights_bytes / 1e9:.2f} GB + cache {fit.kv_bytes / 1e9:.2f} at"
            f" {self.context} tokens + allowance {fit.allowance_bytes / 1e9:.2f} = {fit.parts.serving / 1e9:.2f} GB of"
            f" {have / 1e9:.2f}, {fit.parts.serving / have:.0%}"
        )
        if fit.parts.loading > fit.parts.serving:
            words += f"; unpacking MXFP4 takes {fit.parts.dequantisation / 1e9:.2f} GB besides, while loading"
        outcomes = {"out of memory": False, "fits": True}
        for run in evidence.newest_first():
            tried = run.summary.attempt if isinstance(run.summary, Bf16Summary) else None
            if tried is None:
                continue
            same = (tried.architecture, tried.dtype) == (self.architecture, dtype)
            if same and tried.outcome in outcomes and abs(tried.budget_bytes / have - 1) < SAME_BUDGET:
                word = REPRODUCED if outcomes[tried.outcome] == self.expected else REFUTED
                reached = f" at {tried.reached}" if tried.reached else ""
                budget = f"{tried.budget_bytes / 1e9:.2f} GB ({tried.how})"
                text = f"{words}; loading into {budget}: {tried.outcome}{reached}"
                return claim.verdict(word, text, run=run, measured=fit.parts.serving / 1e9)
        word = REPRODUCED if fit.fits == self.expected else REFUTED
        return claim.verdict(word, words, measured=fit.parts.serving / 1e9)


class InsertedToken(Decider):
    """Refute that something is a token in the sequence where the weights contain it as a learned `tensor`."""

    architecture: str
    tensor: Text
    """The end of the names of these weights."""

    def mistakes(self, claims: Mapping[str, Claim]) -> list[Mistake]:
        """Return an unknown architecture."""
        return unknown_name("architecture", self.architecture, architectures())

    def decide(self, claim: Claim, evidence: Evidence) -> Verdict:
        """Return "refuted" with the number of learned weights, "reproduced" where there are none."""
        layers = evidence.architectures[self.architecture].allocations("bf16")
        learned = [allocation for allocation in layers if allocation.name.endswith(self.tensor)]
        if not learned:
            return claim.verdict(REPRODUCED, f"{self.architecture} has no weights named {self.tensor}")
        count = sum(allocation.parameters for allocation in learned)
        text = (
            f"{self.architecture} learns {count:,} numbers named {self.tensor}, {learned[0].parameters} a layer, one"
            " for each head; each is one more logit of the softmax and is dropped after it: the sequence gets no token"
        )
        return claim.verdict(REFUTED, text, measured=float(count))


class Count(Decider):
    """Compare the number of distinct items with the published number."""

    items: Annotated[
        Annotated[tuple[str, ...], Strict(False), Field(min_length=1)] | Text,
        Wanted("a list of texts, or the name of an argument of the figures in this file"),
    ]
    of: Text
    """What the items are."""

    def decide(self, claim: Claim, evidence: Evidence) -> Verdict:
        """Return whether there are as many distinct items as published, with the items."""
        listed = self.items if isinstance(self.items, tuple) else evidence.figure_arguments(self.items)
        distinct = sorted(set(listed))
        word = REPRODUCED if claim.side_of_tolerance(len(distinct)) == 0 else REFUTED
        text = f"{self.of}: {len(distinct)} ({'; '.join(distinct)})"
        return claim.verdict(word, text, measured=float(len(distinct)))
