"""Count the requests that met every service-level objective: as a rate and as a share of all requests."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from gptoss_bench.runs import Slo
from gptoss_bench.stats.bootstrap import SendOrder, ratio_interval
from gptoss_client import NS_PER_S

Window = tuple[int, int]


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
