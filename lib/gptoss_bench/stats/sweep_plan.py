"""Plan a sweep over concurrencies: one closed loop per level. It imports no table library.

The requests of a level have a phase of their own, so no figure of the measured load includes them.
"""

from dataclasses import replace

from gptoss_client import LoadPlan, UsageError

MIN_LEVEL_REQUESTS = 10  # even for a level of few slots: its intervals need some
SWEEP_PREFIX = "sweep-"


def sweep_phase(concurrency: int) -> str:
    """Return the phase of a level's requests in the tables."""
    return f"{SWEEP_PREFIX}{concurrency}"


def sweep_plans(plan: LoadPlan) -> list[LoadPlan]:
    """Return the plan of each level of `plan.sweep`, in order, without a warm-up: the measured load precedes it.

    A level has `sweep_waves` requests per slot and at least MIN_LEVEL_REQUESTS, so that there is a steady window
    between the first wave and the last.
    """
    return [
        replace(
            plan,
            concurrency=level,
            requests=max(plan.sweep_waves * level, MIN_LEVEL_REQUESTS),
            duration_s=None,
            warmup=0,
            sweep=(),
            prompts="distinct" if plan.prompts == "fixed" and plan.sweep_prompts == "distinct" else plan.prompts,
        )
        for level in plan.sweep
    ]


def parse_sweep_levels(text: str) -> tuple[int, ...]:
    """Return the levels of a list such as "1,4,16"; LoadPlan checks their order. Raises UsageError for other text."""
    try:
        return tuple(int(level) for level in text.split(",")) if text.strip() else ()
    except ValueError:
        raise UsageError(f"a sweep is a list of concurrencies such as 1,4,16, not {text!r}") from None
