"""Count the requests that met every service-level objective: as a rate and as a share of all requests."""

from dataclasses import asdict, dataclass
from math import sqrt

import pandas as pd

from gptoss_client import NS_PER_S

Window = tuple[int, int]
Z_95 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Slo:
    """Upper limits in seconds that a good request meets; None is no limit."""

    ttft_s: float | None = None
    tpot_s: float | None = None
    e2e_s: float | None = None


def slo_goodput(
    requests: pd.DataFrame, completed: pd.DataFrame, slo: Slo | None, window_ns: Window | None
) -> dict[str, float | list[float] | None]:
    """Return goodput as a rate over the window, as a share of all requests, and the share's 95 % interval.

    Cancelled requests do not count. Failed and truncated requests, and requests without a limited value, are not
    good. All three are null without a limit, and where no request has a limited value.
    """
    limits = {name: limit for name, limit in asdict(slo).items() if limit is not None} if slo else {}
    due = int((requests["outcome"] != "cancelled").sum())
    if not limits or due == 0 or (len(completed) and completed[list(limits)].isna().all().any()):
        return {"goodput_request_s": None, "goodput_share": None, "goodput_share_interval": None}
    good = completed[~completed["truncated"]]
    for name, limit in limits.items():
        good = good[good[name] <= limit]
    rate = None
    if window_ns:
        start_ns, end_ns = window_ns
        ended_inside = (good["done_ns"] > start_ns) & (good["done_ns"] <= end_ns)
        rate = int(ended_inside.sum()) / ((end_ns - start_ns) / NS_PER_S)
    return {
        "goodput_request_s": rate,
        "goodput_share": len(good) / due,
        "goodput_share_interval": list(wilson_interval(len(good), due)),
    }


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
