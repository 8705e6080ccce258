"""Decide claims by arithmetic: published figures against each other, and the memory that a model needs."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field, Strict

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
)
from gptoss_bench.claims.verdict_words import (
    COMPUTED,
    CONSISTENT,
    CONTRADICTED,
    DOES_NOT_FIT,
    FITS,
    FITS_NARROWLY,
    INCONSISTENT,
    NOT_DELIVERED,
    PUBLISHED_FIGURES,
    SEEN,
    TEXT,
)
from gptoss_bench.memory import Fit, architectures, estimate_fit, gpu_catalogue
from gptoss_bench.runs import MethodTrialSummary
from gptoss_bench.stats import CONSISTENCY_CHECKS
from gptoss_bench.validation import Mistake, OneOf, choices_text
from gptoss_client import UsageError


class Arithmetic(Decider):
    """Apply one of `stats.CONSISTENCY_CHECKS` to published figures, and state what would have failed.

    With a `quote` of the write-up the check says whether the quoted lines made the printed figures; then the claim is
    contradicted where the check holds.
    """

    check: Annotated[str, OneOf(CONSISTENCY_CHECKS)]
    inputs: dict[str, str]
    """The id of the claim, or of the derived number, from which each argument of the check comes."""
    quote: str = ""
    """What the write-up does instead of what the claim says."""
    trial: str = ""
    """The scenario whose newest run shows what the quoted line prints where the truth is known, "" for none."""

    def mistakes(self, write_up: WriteUp) -> list[Mistake]:
        """Return the inputs that the check does not take or lacks, and those that are no published value."""
        taken = _parameters(self.check) - {"tolerance"}
        found = [
            Mistake(("inputs", name), f"is unknown; {choices_text(name, sorted(taken))}")
            for name in self.inputs
            if name not in taken
        ]
        found += [Mistake(("inputs", name), "is missing; add it") for name in sorted(taken - set(self.inputs))]
        return found + wrong_inputs(self.inputs, write_up)

    def decide(self, claim: Claim, evidence: Evidence) -> Verdict:
        """Return whether the check holds, with its steps."""
        figures = {name: evidence.printed(figure_id) for name, figure_id in self.inputs.items()}
        tolerance = {"tolerance": claim.tolerance.relative} if "tolerance" in _parameters(self.check) else {}
        try:
            found = CONSISTENCY_CHECKS[self.check](**figures, **tolerance)
        except (ArithmeticError, ValueError) as error:
            raise UsageError(
                f"claim {claim.claim_id}: {self.check} cannot be computed from the published figures ({error}); correct"
                " them: it may divide by a zero"
            ) from error
        # A value in another unit, such as a bound in seconds, cannot be compared with the published figure.
        measured = found.computed if found.unit == claim.published.unit else None
        steps = [*found.steps, f"what would have failed this check: {found.fails}"]
        if self.quote:
            basis, word = TEXT, CONTRADICTED if found.holds else SEEN
            steps.insert(0, f"the script has “{self.quote}”")
            steps += _trial_text(evidence.newest_first(self.trial)[:1] if self.trial else [])
        else:
            basis, word = PUBLISHED_FIGURES, CONSISTENT if found.holds else INCONSISTENT
            steps.append("nothing was measured")
        return claim.verdict(basis, word, "; ".join(steps), measured=measured)


def _trial_text(runs: Sequence[RunRecord]) -> list[str]:
    """Return what the method printed in the first case of each trial, and the truth."""
    tried = [(run, run.summary.rows[0]) for run in runs if isinstance(run.summary, MethodTrialSummary)]
    return [
        f"tried on a server whose first token came after {row.first_token_s:.3f} s, it prints a TTFT of"
        f" {format_number(row.printed_ttft_s.p50 or 0.0)} s, p50 (run {run.run_id})"
        for run, row in tried
    ]


def wrong_inputs(inputs: Mapping[str, str], write_up: WriteUp) -> list[Mistake]:
    """Return the inputs of a check that are neither a claim with a published value nor a derived number."""
    claims, derived = write_up.by_id, [one.derived_id for one in write_up.derived]
    found = []
    for name, figure_id in inputs.items():
        if figure_id in claims and claims[figure_id].published.value is None:
            found.append(Mistake(("inputs", name), f"is {figure_id}, which has no published value; add it there"))
        elif figure_id not in claims and figure_id not in derived:
            words = choices_text(figure_id, [*claims, *derived])
            found.append(Mistake(("inputs", name), f"is {figure_id!r}; {words}"))
    return found


def _parameters(check: str) -> set[str]:
    return set(inspect.signature(CONSISTENCY_CHECKS[check]).parameters)


class Fits(Decider):
    """Compare weights, KV cache and allowance with the published memory, or with the memory of named `devices`.

    The allowance (CUDA context, activations, workspace) is an assumption: where it is larger than what is left or
    missing, the arithmetic does not decide.
    """

    architecture: str
    dtype: str
    context: Annotated[int, Field(gt=0)]
    """Tokens of one sequence."""
    devices: Annotated[tuple[str, ...], Strict(False)] = ()
    """GPUs of the catalogue, the first of which decides; empty for the published memory in GB."""
    also: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """Other memories in GB to report, by what they are."""

    def mistakes(self, write_up: WriteUp) -> list[Mistake]:
        """Return an unknown architecture, device or dtype, and a context that is too long for the model."""
        found = unknown_name("architecture", self.architecture, architectures())
        found += [mistake for device in self.devices for mistake in unknown_name("devices", device, gpu_catalogue())]
        if not found:
            try:
                estimate_fit(architectures()[self.architecture], self.dtype, "", 1, context=self.context)
            except UsageError as error:
                found.append(Mistake((), f"is not possible: {error}"))
        return found

    def decide(self, claim: Claim, evidence: Evidence) -> Verdict:
        """Return whether the model fits, with the parts of the memory."""
        memories = {device: evidence.gpus[device].memory_bytes for device in self.devices}
        if not memories:
            memories = {claim.published.text: int(claim.printed.value * 1e9)}
        memories |= {name: int(size * 1e9) for name, size in self.also.items()}
        if min(memories.values()) <= 0:
            raise UsageError(
                f"claim {claim.claim_id}: published.value is {claim.printed.value:g} GB; it has to be above 0"
            )
        model = evidence.architectures[self.architecture]
        fits = [estimate_fit(model, self.dtype, name, have, context=self.context) for name, have in memories.items()]
        first = fits[0]
        words = [
            f"{self.dtype.upper()} weights {first.weights_bytes / 1e9:.2f} GB + cache {first.kv_bytes / 1e9:.2f} at"
            f" {self.context} tokens + allowance {first.allowance_bytes / 1e9:.2f} (assumed)"
            f" = {first.parts.serving / 1e9:.2f} GB",
            *(f"{_share(fit):.0%} of {fit.device} ({fit.have_bytes / 1e9:.2f} GB)" for fit in fits),
        ]
        if first.parts.loading > first.parts.serving:
            words.append(f"while loading, unpacking MXFP4 takes {first.parts.dequantisation / 1e9:.2f} GB more")
        left = first.have_bytes - first.parts.serving
        word = FITS if first.fits else DOES_NOT_FIT
        if abs(left) < first.allowance_bytes:
            word = FITS_NARROWLY
            words.append(
                f"{abs(left) / 1e9:.2f} GB are {'left' if left > 0 else 'missing'}, less than the assumed allowance"
            )
        words.append("nothing was loaded or run")
        return claim.verdict(COMPUTED, word, "; ".join(words), measured=first.parts.serving / 1e9)


def _share(fit: Fit) -> float:
    return fit.parts.serving / fit.have_bytes


class Count(Decider):
    """Compare the number of distinct values of an argument of the performance figures with a promised number."""

    argument: Text
    """Name of the argument."""
    of: Text
    """What the values are."""

    def decide(self, claim: Claim, evidence: Evidence) -> Verdict:
        """Return whether as many distinct values as promised have figures, with the values."""
        distinct = sorted(set(evidence.figure_arguments(self.argument)))
        word = NOT_DELIVERED if claim.side_of_tolerance(len(distinct)) < 0 else SEEN
        text = f"{self.of} in this text: {len(distinct)} ({'; '.join(distinct)})"
        return claim.verdict(TEXT, word, text, measured=float(len(distinct)))
