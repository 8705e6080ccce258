"""Count the requests that met every service-level objective: as a rate and as a share of all requests."""

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from gptoss_bench.runs import Slo
from gptoss_bench.stats.bootstrap import SendOrder, ratio_interval
from gptoss_client import NS_PER_S, UsageError

Window = tuple[int, int]


_LIMIT = re.compile(r"(ttft|tpot|e2e)=(\d+(?:\.\d+)?)(ms|s)", re.ASCII)


def parse_slo(text: str) -> Slo:
    """Parse limits such as "ttft=0.5s,tpot=30ms,e2e=10s". Raises UsageError for anything else."""
    limits: dict[str, float] = {}
    for part in text.replace(" ", "").lower().split(","):
        found = _LIMIT.fullmatch(part)
        if found is None or float(found[2]) == 0 or f"{found[1]}_s" in limits:
            raise UsageError(
                f"limit {part[:40]!r} is not one of ttft, tpot and e2e with a time, once each: write"
                " ttft=0.5s,tpot=30ms,e2e=10s"
            )
        limits[f"{found[1]}_s"] = float(found[2]) / (1000 if found[3] == "ms" else 1)
    return Slo(**limits)


@dataclass(frozen=True, slots=True)
class Goodput:
    """Good requests per second of the window, their share of all requests, and the share's 95 % interval."""

    request_s: float | None = None
    share: float | None = None
    share_interval: tuple[float, float] | None = None


def slo_goodput(
    requests: pd.DataFrame,
    completed: pd.DataFrame,
    slo: Slo | None,
    window_ns: Window | None,
    order_of: Callable[[pd.DataFrame], SendOrder],
    *,
    full_length: bool = False,
) -> Goodput:
    """Return the rate and share of the requests that meet every limit.

    `order_of` returns the order of sending of requests, for the interval. With `full_length` an answer that stopped at
    the token limit is as planned and counts like any other.

    Cancelled and lost requests do not count. Failed and truncated requests, and requests without a limited value, are
    not good. All three are None without a limit, and where no request has a limited value.
    """
    limits = {name: limit for name, limit in slo if limit is not None} if slo else {}
    due = requests[~requests["outcome"].isin(["cancelled", "lost"])]
    if not limits or due.empty or (len(completed) and completed[list(limits)].isna().all().any()):
        return Goodput()
    good = completed if full_length else completed[~completed["truncated"]]
    for name, limit in limits.items():
        good = good[good[name] <= limit]
    rate = None
    if window_ns:
        start_ns, end_ns = window_ns
        ended_inside = (good["done_ns"] > start_ns) & (good["done_ns"] <= end_ns)
        rate = int(ended_inside.sum()) / ((end_ns - start_ns) / NS_PER_S)
    share, ids = len(good) / len(due), due["request_id"].to_numpy()
    met = np.isin(ids, good["request_id"]).astype("float64")
    order = order_of(due[due["sent_ns"].notna()])
    return Goodput(rate, share, ratio_interval(share, met, np.ones(len(due)), ids, order).ends)
