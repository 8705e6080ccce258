"""Count the requests that met every service-level objective: as a rate and as a share of all requests."""

from dataclasses import dataclass
from math import sqrt

import pandas as pd

from gptoss_bench.runs import Slo
from gptoss_client import NS_PER_S

Window = tuple[int, int]
Z_95 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Goodput:
    """Good requests per second of the window, their share of all requests, and the share's 95 % interval."""

    request_s: float | None = None
    share: float | None = None
    share_interval: tuple[float, float] | None = None


def slo_goodput(requests: pd.DataFrame, completed: pd.DataFrame, slo: Slo | None, window_ns: Window | None) -> Goodput:
    """Return the rate and share of the requests that meet every limit.

    Cancelled requests do not count. Failed and truncated requests, and requests without a limited value, are not
    good. All three are None without a limit, and where no request has a limited value.
    """
    limits = {name: limit for name, limit in slo if limit is not None} if slo else {}
    due = int((requests["outcome"] != "cancelled").sum())
    if not limits or due == 0 or (len(completed) and completed[list(limits)].isna().all().any()):
        return Goodput()
    good = completed[~completed["truncated"]]
    for name, limit in limits.items():
        good = good[good[name] <= limit]
    rate = None
    if window_ns:
        start_ns, end_ns = window_ns
        ended_inside = (good["done_ns"] > start_ns) & (good["done_ns"] <= end_ns)
        rate = int(ended_inside.sum()) / ((end_ns - start_ns) / NS_PER_S)
    return Goodput(rate, len(good) / due, wilson_interval(len(good), due))


def wilson_interval(k: int, n: int) -> tuple[float, float]:
    """Return the 95 % interval of the share `k` of `n`; (0, 1) if n is 0.

    Formula: Wilson 1927, without continuity correction.
    """
    if n == 0:
        return 0.0, 1.0
    share, z2 = k / n, Z_95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z_95 / (1 + z2 / n) * sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return centre - half if k > 0 else 0.0, centre + half if k < n else 1.0
