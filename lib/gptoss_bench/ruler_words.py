"""A ruler's levels as a reader meets them: one table, and what did not pass. Pure."""

from typing import Any

import pandas as pd

from gptoss_bench.calibrate import ERROR_SHARE

HEAD = (
    "| streams × tokens/s | client | TTFT error p50 / p99, ms | ITL error p99, ms | share of a core | trusted "
    "| client-bound |\n|---|---|---|---|---|---|---|"
)
YES_NO = {True: "yes", False: "no"}


def ruler_markdown(levels: pd.DataFrame) -> str:
    """The table of `calibrate.levels_table` in Markdown, by load; below it what our client failed, and why."""
    rows = levels.sort_values(["offered_events_s", "client"])
    lines = [HEAD, *(_row(one) for one in rows.itertuples())]
    ours = levels[levels["client"] == "gptoss_bench"]
    failed = [_failure(one) for one in ours[~ours["trusted"]].itertuples()]
    trusted = "This kit's client was trusted at every load that was tried."
    return "\n".join([*lines, "", " ".join(failed) or trusted])


def _row(one: Any) -> str:
    cells = (
        f"{one.streams} × {one.tokens_s:g}",
        "this kit's" if one.client == "gptoss_bench" else one.client,
        f"{_ms(one.ttft_error_p50_ms)} / {_ms(one.ttft_error_p99_ms)}",
        _ms(one.itl_error_p99_ms),
        f"{one.cpu_share:.0%}",
        YES_NO[bool(one.trusted)],
        "no lag known" if one.client_bound is None or pd.isna(one.client_bound) else YES_NO[bool(one.client_bound)],
    )
    return f"| {' | '.join(cells)} |"


def _failure(one: Any) -> str:
    return (
        f"At {one.streams} × {one.tokens_s:g} this kit's client was not trusted: at p99 its errors were "
        f"{_ms(one.ttft_error_p99_ms)} ms of TTFT and {_ms(one.itl_error_p99_ms)} ms of ITL, where "
        f"{_ms(ERROR_SHARE * one.itl_p50_ms)} ms are allowed, and it took {one.cpu_share:.0%} of a core."
    )


def _ms(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
