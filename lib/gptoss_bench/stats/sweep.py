"""A sweep: the same load at one concurrency after another, each level a closed loop of its own, and its rows. Pure.

A level's requests have a phase of their own, so they are in no figure of the measured load. The rows follow from the
tables by the same functions as the summary does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from gptoss_bench.stats.error_bar import client_bound
from gptoss_bench.stats.summary import ReadColumns, summarise
from gptoss_client import LoadPlan, UsageError

FEWEST = 10  # requests of a level, however few its slots: an interval needs some
TIMES = ("ttft_s", "itl_s", "tpot_s", "done_s")
_PREFIX = "sweep-"
_COUNTS = ("requests", "completed", "failed", "truncated")
_RATES = ("request_s", "output_tok_s", "output_tok_s_total", "steady_window_s", "concurrency_delivered")


def phase_of(concurrency: int) -> str:
    """The phase of a level's requests in the tables."""
    return f"{_PREFIX}{concurrency}"


def without_sweep(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a request or event table that are of no level."""
    return table[~table["phase"].astype(str).str.startswith(_PREFIX)]


def level_plans(plan: LoadPlan) -> list[LoadPlan]:
    """The plan of each level of the plan's `sweep`, in order; without a warm-up, for the measured load was one.

    A level has `sweep_waves` requests for each slot and at least FEWEST, so that a steady window lies between the first
    wave and the last.
    """
    return [
        replace(
            plan,
            concurrency=level,
            requests=max(plan.sweep_waves * level, FEWEST),
            duration_s=None,
            warmup=0,
            sweep=(),
        )
        for level in plan.sweep
    ]


def levels_from(words: str) -> tuple[int, ...]:
    """The levels that "1,4,16" names. Raises UsageError where it names none; Plan judges their order."""
    try:
        return tuple(int(word) for word in words.split(",")) if words.strip() else ()
    except ValueError:
        raise UsageError(f"a sweep is a list of concurrencies such as 1,4,16, not {words!r}") from None


def sweep_rows(
    requests: pd.DataFrame, events: pd.DataFrame | ReadColumns, cpu_shares: Mapping[int, float | None]
) -> list[dict[str, Any]]:
    """One row a level that was begun, by rising concurrency, as JSON types; the tables are as `summarise` takes them.

    A row has "concurrency", the counts and rates of a summary, "cpu_share" of the client from `cpu_shares`, why it was
    "client_bound" (words, none where it was not), and of each of TIMES "p50", "p50_interval" (95 %), "p99" and whether
    that is resolved.
    """
    phases = requests["phase"].astype(str)
    levels = sorted(int(name.removeprefix(_PREFIX)) for name in phases.unique() if name.startswith(_PREFIX))
    return [_row(requests, events, level, cpu_shares.get(level)) for level in levels]


def _row(
    requests: pd.DataFrame, events: pd.DataFrame | ReadColumns, level: int, cpu_share: float | None
) -> dict[str, Any]:
    found = summarise(requests, events, concurrency=level, phase=phase_of(level))
    client = {**found["client"], "cpu_share": cpu_share}
    return {
        "concurrency": level,
        **{name: found[name] for name in (*_COUNTS, *_RATES)},
        **{name: _shown(found[name]) for name in TIMES},
        "cpu_share": cpu_share,
        "client_bound": client_bound(client, found["itl_s"]["p50"]),
    }


def _shown(reported: Mapping[str, Any]) -> dict[str, Any]:
    kept: Sequence[str] = ("n", "p50", "p50_interval", "p99")
    return {**{name: reported[name] for name in kept}, "p99_resolved": reported["resolved"]["p99"]}
