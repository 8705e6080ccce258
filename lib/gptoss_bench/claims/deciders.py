"""Map each `decider` of a claims file to the function that decides the claim.

A decider gets the claim, the evidence and the arguments of the claim by name, and returns a verdict. It names no claim
and reads the published figure from the claim, so that another figure gives another verdict.
"""

from collections.abc import Callable

from gptoss_bench.claims.arithmetic_deciders import arithmetic, count, fits, inserted_token, not_testable, opinion
from gptoss_bench.claims.figure_deciders import measured
from gptoss_bench.claims.model import Verdict
from gptoss_bench.claims.run_deciders import formula, probe, server_reports, version_survey

DECIDERS: dict[str, Callable[..., Verdict]] = {
    decider.__name__: decider
    for decider in (
        opinion,
        not_testable,
        arithmetic,
        fits,
        inserted_token,
        count,
        measured,
        formula,
        version_survey,
        probe,
        server_reports,
    )
}
