"""Goodput: what share of the requests, and how many a second, met every limit that was set. Pure."""

from dataclasses import asdict, dataclass

import pandas as pd

from gptoss_bench.stats.percentiles import NS_PER_S, wilson_interval

Window = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Slo:
    """The longest times (s) with which a request still counts as good; None asks nothing."""

    ttft_s: float | None = None
    tpot_s: float | None = None
    e2e_s: float | None = None


def slo_goodput(
    requests: pd.DataFrame, completed: pd.DataFrame, slo: Slo | None, window: Window | None
) -> dict[str, float | list[float] | None]:
    """Requests that met every limit: per second of the window those that ended in it, and as a share of all.

    The share is of the requests that were not cancelled, with a Wilson interval. Failed and truncated requests have
    missed, and so has one without a value that a limit asks for. Where no request has that value, all is None.
    """
    limits = {name: limit for name, limit in asdict(slo).items() if limit is not None} if slo else {}
    due = int((requests["outcome"] != "cancelled").sum())
    if not limits or due == 0 or (len(completed) and completed[list(limits)].isna().all().any()):
        return {"goodput_request_s": None, "goodput_share": None, "goodput_share_interval": None}
    good = completed[~completed["truncated"]]
    for name, limit in limits.items():
        good = good[good[name] <= limit]
    rate = None
    if window:
        ended_inside = (good["done_ns"] > window[0]) & (good["done_ns"] <= window[1])
        rate = int(ended_inside.sum()) / ((window[1] - window[0]) / NS_PER_S)
    return {
        "goodput_request_s": rate,
        "goodput_share": len(good) / due,
        "goodput_share_interval": list(wilson_interval(len(good), due)),
    }
