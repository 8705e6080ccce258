"""Turn the tables of a sweep into one row per level. Pure."""

from collections.abc import Mapping, Sequence

import pandas as pd

from gptoss_bench.runs import Distribution, LoadSummary, Slo, SweepRow, SweepTimes
from gptoss_bench.stats.client_bound import client_bound
from gptoss_bench.stats.summary import ReadColumns, summarise
from gptoss_bench.stats.sweep_plan import SWEEP_PREFIX, sweep_phase


def has_steady_rates(rows: Sequence[SweepRow]) -> bool:
    """Return whether a level has a rate of its steady window; without one the rates of whole levels are compared."""
    return any(row.output_tok_s is not None for row in rows)


def sweep_rows(
    requests: pd.DataFrame,
    events: pd.DataFrame | ReadColumns,
    cpu_shares: Mapping[int, float | None],
    unsent: Mapping[str, int] | None = None,
    slo: Slo | None = None,
    *,
    full_length: bool = False,
) -> list[SweepRow]:
    """Return one row per level that was begun, by rising concurrency.

    Args:
        requests: Request table of the whole run.
        events: Event table, or a function that reads columns of it, as for `summarise`.
        cpu_shares: The client's CPU use during each level, as a share of one core.
        unsent: Requests by phase that `requests` lacks, as for `summarise`.
        slo: Limits of a good request.
        full_length: As for `summarise`.
    """
    phases = {*requests["phase"].astype(str).unique(), *(unsent or {})}
    levels = sorted(int(name.removeprefix(SWEEP_PREFIX)) for name in phases if name.startswith(SWEEP_PREFIX))
    rows = []
    for level in levels:
        phase = sweep_phase(level)
        found = summarise(
            requests, events, concurrency=level, phase=phase, unsent=unsent, slo=slo, full_length=full_length
        )
        rows.append(_row(found, level, cpu_shares.get(level)))
    return rows


def _row(found: LoadSummary, level: int, cpu_share: float | None) -> SweepRow:
    found.client.cpu_share = cpu_share
    bound = client_bound(found)
    row = SweepRow(
        concurrency=level,
        requests=found.requests,
        completed=found.completed,
        failed=found.failed,
        truncated=found.truncated or 0,
        request_s=found.request_s,
        output_tok_s=found.output_tok_s,
        output_tok_s_total=found.output_tok_s_total,
        steady_window_s=found.steady_window_s,
        concurrency_delivered=found.concurrency_delivered,
        ttft_s=_selected(found.ttft_s),
        itl_s=_selected(found.itl_s),
        tpot_s=_selected(found.tpot_s),
        done_s=_selected(found.done_s),
        cpu_share=cpu_share,
        slot_idle_share=found.slot_idle_share,
        client_bound=bound.reasons,
        client_bound_unknown=bound.unknown,
    )
    if found.slo is not None:
        row.goodput_request_s, row.goodput_share = found.goodput_request_s, found.goodput_share
        row.goodput_share_interval = found.goodput_share_interval
    return row


def _selected(times: Distribution) -> SweepTimes:
    selected = SweepTimes(
        n=times.n,
        p50=times.p50,
        p50_interval=times.p50_interval,
        p50_why=times.interval("p50").why,
        p50_resolved=times.resolved.p50,
        p99=times.p99,
        p99_resolved=times.resolved.p99,
    )
    if times.low and times.high:
        selected.low, selected.high = times.low, times.high
    return selected
