"""Plan a sweep over concurrencies, and turn its tables into one row per level. Pure.

Each level is a closed loop. Its requests have a phase of their own, so no figure of the measured load includes them.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

from gptoss_bench.stats.client_bound import client_bound_reasons
from gptoss_bench.stats.summary import ReadColumns, summarise
from gptoss_client import LoadPlan, UsageError

MIN_LEVEL_REQUESTS = 10  # even for a level of few slots: its intervals need some
TIMES = ("ttft_s", "itl_s", "tpot_s", "done_s")
_PREFIX = "sweep-"
_COUNTS = ("requests", "completed", "failed", "truncated")
_RATES = ("request_s", "output_tok_s", "output_tok_s_total", "steady_window_s", "concurrency_delivered")


def sweep_phase(concurrency: int) -> str:
    """Return the phase of a level's requests in the tables."""
    return f"{_PREFIX}{concurrency}"


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
        )
        for level in plan.sweep
    ]


def parse_sweep_levels(text: str) -> tuple[int, ...]:
    """Return the levels of a list such as "1,4,16"; LoadPlan checks their order. Raises UsageError for other text."""
    try:
        return tuple(int(level) for level in text.split(",")) if text.strip() else ()
    except ValueError:
        raise UsageError(f"a sweep is a list of concurrencies such as 1,4,16, not {text!r}") from None


def sweep_rows(
    requests: pd.DataFrame, events: pd.DataFrame | ReadColumns, cpu_shares: Mapping[int, float | None]
) -> list[dict[str, Any]]:
    """Return one row per level that was begun, by rising concurrency, as JSON types.

    Args:
        requests: Request table of the whole run.
        events: Event table, or a function that reads columns of it, as for `summarise`.
        cpu_shares: The client's CPU use during each level, as a share of one core.

    Returns:
        Rows with "concurrency", counts and rates of a summary, "cpu_share", the reasons for "client_bound" (empty if it
        is not), and for each of TIMES "n", "p50", "p50_interval" (95 %), "p99" and "p99_resolved".
    """
    phases = requests["phase"].astype(str)
    levels = sorted(int(name.removeprefix(_PREFIX)) for name in phases.unique() if name.startswith(_PREFIX))
    return [_row(requests, events, level, cpu_shares.get(level)) for level in levels]


def _row(
    requests: pd.DataFrame, events: pd.DataFrame | ReadColumns, level: int, cpu_share: float | None
) -> dict[str, Any]:
    found = summarise(requests, events, concurrency=level, phase=sweep_phase(level))
    client = {**found["client"], "cpu_share": cpu_share}
    return {
        "concurrency": level,
        **{name: found[name] for name in (*_COUNTS, *_RATES)},
        **{name: _selected(found[name]) for name in TIMES},
        "cpu_share": cpu_share,
        "client_bound": client_bound_reasons(client, found["itl_s"]["p50"]),
    }


def _selected(distribution: Mapping[str, Any]) -> dict[str, Any]:
    names = ("n", "p50", "p50_interval", "p99")
    return {**{name: distribution[name] for name in names}, "p99_resolved": distribution["resolved"]["p99"]}
