"""Claims with a published figure or an argument of their decider changed."""

from typing import Any

from gptoss_bench.claims.model import Claim


def with_published(claim: Claim, **values: Any) -> Claim:
    """Return the claim with other values of its published figure."""
    return claim.model_copy(update={"published": claim.published.model_copy(update=values)})


def with_arguments(claim: Claim, **values: Any) -> Claim:
    """Return the claim with other arguments of its decider."""
    return claim.model_copy(update={"arguments": claim.arguments.model_copy(update=values)})
