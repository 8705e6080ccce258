"""Claims with a published figure or an argument of their decider changed."""

from typing import Any

from gptoss_bench.claims.model import Claim, WriteUp


def with_published(write_up: WriteUp, claim_id: str, **values: Any) -> WriteUp:
    """Return the write-up with other values of the published figure of the claim whose id begins like this."""
    return _changed(
        write_up, claim_id, lambda c: c.model_copy(update={"published": c.published.model_copy(update=values)})
    )


def with_arguments(write_up: WriteUp, claim_id: str, **values: Any) -> WriteUp:
    """Return the write-up with other arguments of the decider of the claim whose id begins like this."""
    return _changed(
        write_up, claim_id, lambda c: c.model_copy(update={"arguments": c.arguments.model_copy(update=values)})
    )


def _changed(write_up: WriteUp, claim_id: str, change: Any) -> WriteUp:
    claims: list[Claim] = [change(c) if c.claim_id.startswith(claim_id) else c for c in write_up.claims]
    return write_up.model_copy(update={"claims": claims})
