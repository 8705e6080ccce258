"""Compute the findings of the front page: a number each, with what it is the number of, and where it was made."""

from collections.abc import Sequence
from dataclasses import dataclass

from gptoss_bench.claims import WriteUp
from gptoss_bench.memory import architectures, parse_budget, weights_bytes
from gptoss_bench.runs import MethodTrialSummary, Run

METHOD_TRIAL = "method-trial"
AS_PUBLISHED = "as published"
MODEL, GPU = "gpt-oss-20b", "A10"


@dataclass(frozen=True, slots=True)
class FrontFinding:
    """A finding: its title, its number with the unit, one sentence, how it was found, and the page that shows it."""

    title: str
    number: str
    sentence: str
    basis: str
    address: str = ""


def front_findings(runs: Sequence[tuple[Run, str]], write_up: WriteUp, verdicts: str) -> list[FrontFinding]:
    """Return the findings that the write-up and these runs, each with its page, allow.

    `verdicts` is the page of the claims. A write-up without these claims, or runs without a trial of the method, give
    fewer.
    """
    by_name = {claim.name: claim for claim in write_up.claims}
    trials = sorted((pair for pair in runs if pair[0].scenario == METHOD_TRIAL), key=lambda pair: pair[0].run_id)
    found = [_printed_by_the_method(run, page) for run, page in trials[-1:]]
    if {"ttft-p90", "latency-p90"} <= by_name.keys():
        ttft, latency = (by_name[name].printed.value for name in ("ttft-p90", "latency-p90"))
        asked = by_name["ttft-was-measured"]
        found.append(
            FrontFinding(
                "The published TTFT was not measured",
                f"{ttft / latency:.4f}",
                "of the latency is the published TTFT at p90, as it is at p99: the script multiplies the latency by "
                "prompt tokens / all tokens, 88 / (88 + 256) = 0.2558.",
                "read in the script, and computed from the published figures",
                f"{verdicts}#{asked.claim_id.partition('-')[0]}",
            )
        )
    if "bf16-exceeds-a10" in by_name:
        found.append(_weights_against_memory(f"{verdicts}#{by_name['bf16-exceeds-a10'].claim_id.partition('-')[0]}"))
    return found


def _printed_by_the_method(run: Run, page: str) -> FrontFinding:
    """Return what the published method printed where the time of the first token was known."""
    assert isinstance(run.summary, MethodTrialSummary)
    row = next(row for row in run.summary.rows if row.case == AS_PUBLISHED)
    return FrontFinding(
        "The published method does not see the first token",
        f"{row.printed_ttft_s.p50:.2f} s",
        f"is the TTFT that it prints where the first token came after {row.first_token_s:.3f} s. This kit's client "
        f"measured {row.kit_ttft_s:.3f} s.",
        f"measured here, on a reference server that logs when it sends; {row.requests} requests at once, as published",
        page,
    )


def _weights_against_memory(address: str) -> FrontFinding:
    """Return the share of the GPU's memory that the weights alone need in BF16."""
    need, has = weights_bytes(architectures()[MODEL], "bf16"), parse_budget(GPU).bytes
    return FrontFinding(
        "BF16 does not fit an A10",
        f"{need / has:.0%}",
        f"of the memory of an {GPU} is what the weights of {MODEL} need in BF16: {need / 1e9:.2f} of {has / 1e9:.2f} "
        "GB, before any cache. In this the write-up is right.",
        "computed from the shapes of all tensors; nothing was loaded",
        address,
    )
