"""Search for the highest load within an SLO: which level comes next, and what the levels say. Pure.

The odds of a miss rise with the load. Near the share that is asked for, a logistic curve in the logarithm of the load
describes them, and the load at which it crosses that share is the capacity. Requests of one level wait in the same
queue, so they are no independent samples: levels are the unit. The interval is Fieller's, with the dispersion between
levels and Student's t (Finney, Probit Analysis, 1971, chapter 4), so it also holds what changes from level to level.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, floor, inf, log, log10, sqrt

import numpy as np
import numpy.typing as npt
import pandas as pd

from gptoss_bench.runs import Capacity, CapacityGoal, CapacityLevel, CapacityUnit, Slo
from gptoss_bench.stats.client_bound import CLIENT_BOUND_CPU_SHARE, CLIENT_BOUND_IDLE_SHARE
from gptoss_bench.stats.client_pauses import slot_idle_share
from gptoss_bench.stats.percentiles import Floats, non_null, percentile
from gptoss_bench.stats.row_selection import measured_rows
from gptoss_bench.stats.students_t import t_quantile
from gptoss_client import NS_PER_S

BEGIN_SHARE, END_SHARE = 0.3, 0.1  # of a level: its beginning and its end, which do not count
LEVEL_REQUESTS = 60  # at least, in a level of an open loop
FACTOR = 2.0  # from one level to the next until one misses
BRACKET = 1.3  # ratio of the two levels around the capacity from which on levels near it are repeated
SPREAD = log(4.0)  # log-odds of a miss below and above those of the goal, at which levels are repeated
NEAR = 20.0  # times the share of misses that is asked for: levels nearer than this are fitted
NEAR_LIMIT = 0.6  # share of misses above which no level is near
FEWEST_LEVELS = 4  # near the capacity, for an interval
FAR = 20.0  # in the logarithm of the load: farther away no curve is followed
CLEAR = 2.0  # standard errors by which the highest level must miss before the search closes in
WIDEST = 4.0  # ratio of the ends of an interval above which it says nothing
LIMITED_TRIES = 3  # of a level, before the client counts as its limit
HALVINGS = 6  # of the first level, before the search gives up
NORMAL_95 = 1.96  # standard errors on either side
CAPACITY_MOST = 99_999.0  # requests/s or requests in flight
LATE_S, LATE_SHARE = 0.002, 0.1  # of the tightest limit of a whole request: allowed lateness of a send at p99
UNSURE_SHARE = 0.01  # of the requests, of which the client's timestamps leave open whether they met the SLO
CAPACITY_UNITS: dict[CapacityUnit, str] = {"rate": "requests/s", "concurrency": "requests in flight"}
_PHASE = re.compile(r"capacity-(?P<level>[\d.]+)-\d+")


@dataclass(frozen=True, slots=True)
class CapacitySearch:
    """How a search proceeds: from level `start`, with up to `repeats` levels near the capacity, of `level_s` seconds.

    It ends earlier if the interval is within `within` of the value, as a share of it. Levels before the capacity is
    known roughly last half as long; a level of an open loop lasts at least as long as LEVEL_REQUESTS take to arrive.
    """

    goal: CapacityGoal
    start: float = 1.0
    repeats: int = 12
    within: float = 0.02
    level_s: float = 30.0


@dataclass(frozen=True, slots=True)
class PlannedLevel:
    """A level that is to be measured: requests/s or requests in flight, for so many seconds."""

    level: float
    duration_s: float


def capacity_phase(level: float, number: int) -> str:
    """Return the phase of level `number` (from 1) of a search in the tables."""
    return f"capacity-{level:g}-{number}"


def capacity_level(
    requests: pd.DataFrame, phase: str, slo: Slo, by: CapacityUnit, cpu_share: float | None
) -> CapacityLevel:
    """Return what the requests of one phase of a search say; `cpu_share` is the client's share of one core."""
    found = _PHASE.fullmatch(phase)
    assert found is not None
    rows = measured_rows(requests, phase)
    rows = rows[rows["outcome"] != "cancelled"]
    level = CapacityLevel(phase=phase, level=float(found["level"]), cpu_share=cpu_share)
    times = rows["scheduled_ns"] if by == "rate" else rows["sent_ns"].astype("float64")
    begin_ns, end_ns = times.min(), times.max()
    if not end_ns > begin_ns:
        return level
    start_ns = int(begin_ns + BEGIN_SHARE * (end_ns - begin_ns))
    stop_ns = int(end_ns - END_SHARE * (end_ns - begin_ns))
    rows = rows[(times >= start_ns) & (times <= stop_ns)]
    over = rows["failure"] == "over_limit"
    level.over_limit, rows = int(over.sum()), rows[~over]
    completed = rows[rows["outcome"] == "completed"]
    level.requests, level.failed = len(rows), int((rows["outcome"] == "failed").sum())
    level.met, level.met_low, level.met_high = _met(completed, slo)
    level.request_s = len(completed) / ((stop_ns - start_ns) / NS_PER_S)
    tokens = non_null(completed["completion_tokens"])
    level.tokens = float(tokens.mean()) if len(tokens) else None
    level.late_s = percentile(non_null(rows["client_queue_s"]), 99).value
    idle = slot_idle_share(rows, (start_ns, stop_ns), round(level.level)) if by == "concurrency" else None
    level.limited = list(_limits_of_client(level, slo, idle))
    return level


def capacity_levels(requests: pd.DataFrame, slo: Slo, before: Capacity) -> list[CapacityLevel]:
    """Return the levels of a search from the request table of its run, in their order.

    `before` has the goal, and the client's CPU use of each level, which no table has.
    """
    cpu_shares = {level.phase: level.cpu_share for level in before.levels}
    phases = [str(phase) for phase in requests["phase"].unique() if _PHASE.fullmatch(str(phase))]
    phases.sort(key=lambda phase: int(phase.rpartition("-")[2]))
    return [capacity_level(requests, phase, slo, before.goal.by, cpu_shares.get(phase)) for phase in phases]


def _met(completed: pd.DataFrame, slo: Slo) -> tuple[int, int, int]:
    """Return how many requests meet every limit: by their values, at least and at most by the client's timestamps.

    A value that is unknown, such as a TPOT without running token counts, meets a limit if its upper bound does.
    """
    met = [np.ones(len(completed), dtype=bool) for _ in range(3)]
    for name, limit in slo:
        if limit is not None:
            value, low, high = (completed[f"{name.removesuffix('_s')}{end}_s"] for end in ("", "_low", "_high"))
            ends = (value.fillna(high), high.fillna(value), low.fillna(value))
            met = [which & (times <= limit).to_numpy() for which, times in zip(met, ends, strict=True)]
    by_value, at_least, at_most = (int(which.sum()) for which in met)
    return by_value, at_least, at_most


def _limits_of_client(level: CapacityLevel, slo: Slo, idle: float | None) -> list[str]:
    """Return the reasons why the client may have limited a level."""
    found = []
    tightest = min((limit for limit in (slo.ttft_s, slo.e2e_s) if limit is not None), default=None)
    if level.late_s is not None and tightest is not None and level.late_s > max(LATE_S, LATE_SHARE * tightest):
        found.append(f"requests were sent up to {level.late_s * 1e3:.3g} ms (p99) after they were due")
    if level.cpu_share is not None and level.cpu_share > CLIENT_BOUND_CPU_SHARE:
        found.append(f"the client was busy {level.cpu_share:.0%} of the time")
    if idle is not None and idle > CLIENT_BOUND_IDLE_SHARE:
        found.append(f"its slots idled {idle:.1%} of the time")
    if level.met_high - level.met_low > UNSURE_SHARE * level.requests:
        found.append(
            f"its timestamps leave open for {level.met_high - level.met_low} requests whether they met the SLO"
        )
    return found


def next_level(levels: Sequence[CapacityLevel], search: CapacitySearch) -> PlannedLevel | None:
    """Return the level that is to be measured next; None if the search is over.

    Levels are doubled until one misses, the bracket is halved (of its logarithm) until it is narrow, and then levels
    that should miss a quarter as often and four times as often as the goal are repeated. A level that the client may
    have limited is tried again.
    """
    low, high, limit = _bracket(levels, search.goal)
    top = min(filter(None, (high, limit)), default=None)
    last = levels[-1] if levels else None
    tries = sum(level.level == last.level for level in levels) if last else 0
    if last and client_limits(last, search.goal) and tries < LIMITED_TRIES and last.level != limit:
        return PlannedLevel(last.level, _level_s(last.level, search, near=False))
    near = low is not None and top is not None and _is_narrow(low, top, search.goal)
    highest = max((level.level for level in levels), default=0.0)
    found: float | None
    if high is not None and limit is None and highest < CAPACITY_MOST and not _misses_clearly(levels, search.goal):
        found = highest * FACTOR
        near = False
    elif low is not None and top is not None and near:
        found = None if high is None or top < high else _near_level(levels, search, low, top)
    elif low is not None:
        found = sqrt(low * top) if top is not None else low * FACTOR if low < CAPACITY_MOST else None
    else:
        found = _lower_level(levels, search)
    if found is None:
        return None
    whole = search.goal.by == "concurrency"
    level = min(max(1.0, float(round(found))) if whole else float(f"{found:.3g}"), CAPACITY_MOST)
    return PlannedLevel(level, _level_s(level, search, near=near))


def last_level(at: float, search: CapacitySearch) -> PlannedLevel:
    """Return the load that ends a search, at this level: as long as a level near the capacity."""
    level = float(f"{at:.3g}")
    return PlannedLevel(level, _level_s(level, search, near=True))


def longest_rest_s(levels: Sequence[CapacityLevel], search: CapacitySearch, planned: PlannedLevel) -> float:
    """Return how long the search takes at most from the begin of this level on, in s, with the load at the end.

    It is infinite until the capacity is known roughly: only then the plan limits the number of levels. A level that
    contradicts those before it makes the search longer.
    """
    low, high, limit = _bracket(levels, search.goal)
    fit = _fit(levels, search.goal)
    if fit is None or low is None or high is None or limit is not None or not _is_narrow(low, high, search.goal):
        return inf
    count = search.repeats * (1 if fit.interval() else 2) - len(fit.levels)
    return max(1, count) * planned.duration_s + last_level(planned.level, search).duration_s


def known_levels(found: Capacity) -> str:
    """Return what the levels so far say, such as "holds at 2, fails at 4", "" if they say nothing."""
    low, high, limit = _bracket(found.levels, found.goal)
    parts = [
        *([] if low is None else [f"holds at {low:g}"]),
        *([] if high is None else [f"fails at {high:g}"]),
        *([] if limit is None else [f"limited by the client at {limit:g}"]),
    ]
    return ", ".join(parts)


def _level_s(level: float, search: CapacitySearch, *, near: bool) -> float:
    """Return the duration of a level."""
    shortest_s = LEVEL_REQUESTS / level if search.goal.by == "rate" else 0.0
    return max(search.level_s * (1.0 if near else 0.5), shortest_s)


def _is_narrow(low: float, top: float, goal: CapacityGoal) -> bool:
    return top / low <= BRACKET or (goal.by == "concurrency" and top - low <= 1)


def _lower_level(levels: Sequence[CapacityLevel], search: CapacitySearch) -> float | None:
    """Return the level to begin with, or a lower one where no level was within the SLO; None if it is low enough."""
    if not levels:
        return search.start
    lowest = min(level.level for level in levels)
    least = 1.0 if search.goal.by == "concurrency" else search.start / FACTOR**HALVINGS
    return lowest / FACTOR if lowest > least * 1.01 else None


def _near_level(levels: Sequence[CapacityLevel], search: CapacitySearch, low: float, high: float) -> float | None:
    """Return the next level near the capacity; None if there are enough."""
    fit = _fit(levels, search.goal)
    if fit is None:
        return sqrt(low * high)
    interval, near = fit.interval(), len(fit.levels)
    if near >= search.repeats * (1 if interval else 2):
        return None
    if near > FEWEST_LEVELS and interval and interval[1] / interval[0] <= (1 + search.within) ** 2:
        return None
    odds = SPREAD * (1 if len(levels) % 2 else -1)
    if fit.slope <= 0:
        return float(sqrt(low * high) * (high / low) ** (odds / 2))
    middle = min(max(fit.crossing(), low / BRACKET), high * BRACKET)
    return min(max(fit.crossing(odds), middle / FACTOR), middle * FACTOR)


def _bracket(levels: Sequence[CapacityLevel], goal: CapacityGoal) -> tuple[float | None, float | None, float | None]:
    """Return the highest level within the SLO below the lowest that missed it, that one, and the client's limit.

    The last one is the lowest level that the client may have limited LIMITED_TRIES times. A level that
    missed while a higher one did not is pooled with it (isotonic regression): few misses at a low load are chance.
    """
    usable = sorted((one for one in levels if one.requests and not client_limits(one, goal)), key=lambda one: one.level)
    shares = _falling([one.met / one.requests for one in usable], [one.requests for one in usable])
    high = min((one.level for one, share in zip(usable, shares, strict=True) if share < goal.share), default=None)
    below = [one.level for one in usable if high is None or one.level < high]
    limited = [level.level for level in levels if client_limits(level, goal)]
    limit = min((at for at in limited if limited.count(at) >= LIMITED_TRIES), default=None)
    return max(below, default=None), high, limit


def _falling(shares: Sequence[float], counts: Sequence[int]) -> list[float]:
    """Return the falling shares nearest to these: neighbours that rise are pooled, by their counts."""
    pools: list[tuple[float, int, int]] = []  # share, requests, levels
    for share, count in zip(shares, counts, strict=True):
        pools.append((share, count, 1))
        while len(pools) > 1 and pools[-2][0] < pools[-1][0]:
            (left, left_count, of_left), (right, right_count, of_right) = pools[-2:]
            both = left_count + right_count
            pools[-2:] = [((left * left_count + right * right_count) / both, both, of_left + of_right)]
    return [share for share, _, number in pools for _ in range(number)]


def _misses_clearly(levels: Sequence[CapacityLevel], goal: CapacityGoal) -> bool:
    """Return whether the highest level that the client did not limit misses by more than chance."""
    top = max((one for one in levels if one.requests and not client_limits(one, goal)), key=lambda one: one.level)
    error = sqrt(goal.share * (1 - goal.share) / top.requests)
    return top.met / top.requests < goal.share - CLEAR * error


def _sure_level(levels: Sequence[CapacityLevel], goal: CapacityGoal) -> float | None:
    """Return the highest level that, with those above it, met the SLO by more than chance; None if there is none."""
    met = requests = 0
    for level in sorted(levels, key=lambda one: one.level, reverse=True):
        if not level.requests or client_limits(level, goal):
            continue
        met, requests = met + level.met, requests + level.requests
        if met / requests >= goal.share + CLEAR * sqrt(goal.share * (1 - goal.share) / requests):
            return level.level
    return None


def client_limits(level: CapacityLevel, goal: CapacityGoal) -> list[str]:
    """Return why a level is no evidence: the client was the limit, or requests within the SLO reached the plan's limit.

    Where requests were not sent because too many were in flight and those that were sent missed, the server is the
    limit.
    """
    found = [*level.limited]
    if level.over_limit and (level.share or 0.0) >= goal.share:
        found.append(f"{level.over_limit} requests were due at the limit of requests in flight (--max-in-flight)")
    if not level.requests:
        found.append("no request counts")
    return found


@dataclass(frozen=True, slots=True)
class _Fit:
    """The log-odds of a miss, `at_goal` + `slope` (log level - `centre`) relative to those of the goal."""

    levels: Floats
    centre: float
    at_goal: float
    slope: float
    covariance: npt.NDArray[np.float64]
    dispersion: float

    def crossing(self, odds: float = 0.0) -> float:
        """Return the level at which the log-odds of a miss are those of the goal plus `odds`."""
        return exp(self.centre + max(-FAR, min((odds - self.at_goal) / self.slope, FAR)))

    def interval(self) -> tuple[float, float] | None:
        """Return Fieller's 95 % interval of the crossing; None if the levels do not show where it is."""
        if len(self.levels) < FEWEST_LEVELS or self.slope <= 0:
            return None
        t = t_quantile(len(self.levels) - 2)
        scale = t * t * self.dispersion
        (aa, ab), (_, bb) = self.covariance
        a = self.slope**2 - scale * bb
        b = self.at_goal * self.slope - scale * ab
        c = self.at_goal**2 - scale * aa
        root = b * b - a * c
        if a <= 0 or root < 0:
            return None
        low, high = ((-b + sign * sqrt(root)) / a for sign in (-1, 1))
        return (exp(self.centre + low), exp(self.centre + high)) if high - low <= log(WIDEST) else None


def _fit(levels: Sequence[CapacityLevel], goal: CapacityGoal) -> _Fit | None:
    """Fit the levels near the capacity; None for fewer than two different levels.

    Which levels are near is decided by the fitted curve, not by their own misses, which would choose by chance.
    """
    usable = [level for level in levels if level.requests and not client_limits(level, goal)]
    if len({level.level for level in usable}) < 2:
        return None
    x = np.log([level.level for level in usable])
    n = np.array([level.requests for level in usable], dtype="float64")
    k = n - np.array([level.met for level in usable])
    miss = 1 - goal.share
    goal_odds, chosen = log(miss / goal.share), np.ones(len(x), dtype=bool)
    for _ in range(10):
        fit = _logistic(x[chosen], n[chosen], k[chosen], goal_odds)
        odds = fit.at_goal + fit.slope * (x - fit.centre) + goal_odds
        expected = 1 / (1 + np.exp(-odds.clip(-500, 500)))
        near = (expected >= miss / NEAR) & (expected <= min(NEAR * miss, NEAR_LIMIT))
        if len(set(x[near])) < 2 or near.sum() < FEWEST_LEVELS:
            nearest = np.argsort(np.abs(odds - goal_odds), kind="stable")[:FEWEST_LEVELS]
            near = np.isin(np.arange(len(x)), nearest)
            if len(set(x[near])) < 2:
                break
        if (near == chosen).all():
            break
        chosen = near
    return _logistic(x[chosen], n[chosen], k[chosen], goal_odds)


def _logistic(x: Floats, n: Floats, k: Floats, goal_odds: float) -> _Fit:
    """Fit `k` misses of `n` requests at log levels `x`, with Firth's correction, which also fits levels without any."""
    centre = float(np.average(x, weights=n))
    design = np.column_stack([np.ones(len(x)), x - centre])
    beta, covariance = np.array([goal_odds, 1.0]), np.eye(2)
    for _ in range(100):
        p = 1 / (1 + np.exp(-(design @ beta).clip(-30, 30)))
        weights = n * p * (1 - p)
        information = design.T @ (weights[:, None] * design)
        covariance = np.linalg.pinv(information)
        leverage = weights * np.einsum("ij,jk,ik->i", design, covariance, design)
        step = covariance @ (design.T @ (k - n * p + leverage * (0.5 - p)))
        step /= max(1.0, float(np.abs(step).max()) / 2)
        beta = beta + step
        if np.abs(step).max() < 1e-9:
            break
    p = 1 / (1 + np.exp(-(design @ beta).clip(-30, 30)))
    freedom = len(x) - 2
    pearson = float((((k - n * p) ** 2) / (n * p * (1 - p))).sum())
    dispersion = max(1.0, pearson / freedom) if freedom > 0 else 1.0
    return _Fit(x, centre, float(beta[0] - goal_odds), float(beta[1]), covariance, dispersion)


def evaluate_capacity(levels: Sequence[CapacityLevel], goal: CapacityGoal) -> Capacity:
    """Return what the levels of a search say about the server."""
    found = Capacity(goal=goal, levels=list(levels))
    low, high, limit = _bracket(levels, goal)
    reasons = {level.level: "; ".join(client_limits(level, goal)) for level in levels if client_limits(level, goal)}
    why = (
        f"at {limit:g} {CAPACITY_UNITS[goal.by]} the client, not the server, was the limit: {reasons[limit]}"
        if limit
        else None
    )
    if low is None:
        if high is None or (limit is not None and limit <= high):
            found.why = why or next(iter(reasons.values()), "no level was measured")
        else:
            found.word, found.high, found.why = "less than", high, "the lowest level that was tried missed the SLO"
    elif high is None or (limit is not None and limit < high):
        found.why = why or "the search ended before a level missed the SLO"
        if (sure := _sure_level(levels, goal)) is not None:
            found.word, found.low = "at least", sure
    else:
        fit = _fit(levels, goal)
        interval = fit.interval() if fit else None
        if fit is None or interval is None:
            found.word, found.low, found.high = "between", low, high
            found.why = (
                "the levels are too few, or differ too much, for an interval: make them longer, or search longer"
            )
        else:
            found.word, found.value, (found.low, found.high) = "carries", fit.crossing(), interval
            found.slope, found.dispersion = fit.slope, fit.dispersion
    at = found.value or found.low
    if at is not None:
        _add_rates(found, at)
    return found


def _add_rates(found: Capacity, at: float) -> None:
    """Add completed requests and output tokens per second at a level, from the levels nearest to it."""
    known = [level for level in found.levels if level.request_s and level.tokens and level.requests]
    near = sorted(known, key=lambda level: abs(log(level.level / at)))[:FEWEST_LEVELS]
    if near:
        per_level = float(np.mean([level.request_s / level.level for level in near if level.request_s]))
        found.request_s = at if found.goal.by == "rate" else at * per_level
        weights = [level.requests for level in near]
        found.output_tok_s = found.request_s * float(
            np.average([level.tokens or 0.0 for level in near], weights=weights)
        )


def capacity_curve(found: Capacity, levels: Floats) -> Floats | None:
    """Return the share of requests within the SLO that the fitted curve gives at these levels; None without a curve."""
    if found.value is None or found.slope is None:
        return None
    odds = log((1 - found.goal.share) / found.goal.share) + found.slope * np.log(levels / found.value)
    shares: Floats = 1 / (1 + np.exp(odds))
    return shares


def capacity_table(found: Capacity) -> pd.DataFrame:
    """Return a table of the levels of a search, by load, as texts: what they measured, and why one is no evidence."""
    rows = [
        (
            f"{level.level:g}",
            f"{level.requests}",
            "–" if level.share is None else f"{level.share:.1%}",
            "–" if level.request_s is None else f"{level.request_s:.3g}",
            f"{level.failed}",
            "; ".join(client_limits(level, found.goal)),
        )
        for level in sorted(found.levels, key=lambda level: level.level)
    ]
    measured = ("requests", "within the SLO", "completed/s", "failed")
    return pd.DataFrame(rows, columns=[CAPACITY_UNITS[found.goal.by], *measured, "no evidence, because"])


def level_interval(level: CapacityLevel, found: Capacity) -> tuple[float, float] | None:
    """Return the 95 % interval (Wilson's) of the share of a level within the SLO; None if no request counts.

    At a level near the capacity the requests count as fewer, by the dispersion between the fitted levels. Elsewhere,
    and without a fit, they count as independent samples, which is too narrow where they wait in the same queue.
    """
    if level.share is None:
        return None
    curve, miss = capacity_curve(found, np.array([level.level])), 1 - found.goal.share
    near = curve is not None and miss / NEAR <= 1 - curve[0] <= min(NEAR * miss, NEAR_LIMIT)
    n = level.requests / (found.dispersion or 1.0 if near else 1.0)
    middle = (level.share + NORMAL_95**2 / (2 * n)) / (1 + NORMAL_95**2 / n)
    half = NORMAL_95 / (1 + NORMAL_95**2 / n) * sqrt(level.share * (1 - level.share) / n + (NORMAL_95 / (2 * n)) ** 2)
    return max(0.0, middle - half), min(1.0, middle + half)


def slo_text(slo: Slo) -> str:
    """Return limits as "TTFT ≤ 0.5 s, TPOT ≤ 0.03 s"."""
    return ", ".join(f"{name.removesuffix('_s').upper()} ≤ {limit:g} s" for name, limit in slo if limit is not None)


def capacity_text(found: Capacity, slo: Slo) -> str:
    """Return the result of a search in one sentence, without a final full stop."""
    unit = CAPACITY_UNITS[found.goal.by]
    within = f"within the SLO ({found.goal.share * 100:g} % of requests: {slo_text(slo)})"
    if found.word == "carries" and found.value and found.low and found.high:
        value, low, high = _rounded(found.value, found.low, found.high)
        return f"this server carries {value} [{low}, {high}] {unit} {within}"
    if found.word == "between":
        return f"this server met the SLO at {found.low:g} {unit} and missed it at {found.high:g}; {found.why}"
    if found.word == "at least":
        return f"this server carries at least {found.low:g} {unit} {within}; {found.why}"
    if found.word == "less than":
        return f"this server carries less than {found.high:g} {unit} {within}; {found.why}"
    return f"what this server carries {within} cannot be told: {found.why}"


def _rounded(*values: float) -> list[str]:
    """Return numbers with as many decimals as give the first one three digits."""
    decimals = max(0, 2 - floor(log10(abs(values[0]))))
    return [f"{value:.{decimals}f}" for value in values]


def usd_per_mtok_at(found: Capacity, usd_per_hour: float) -> float | None:
    """Return US dollars per million output tokens at the capacity, or at the highest level within the SLO."""
    return usd_per_hour / (found.output_tok_s * 3600) * 1e6 if found.output_tok_s else None


def price_text(found: Capacity, usd_per_hour: float) -> str:
    """Return the price of a million output tokens in one sentence, with its interval where the capacity has one."""
    usd = usd_per_mtok_at(found, usd_per_hour)
    if usd is None:
        return "the price of tokens is unknown: the server reported none, or no level was within the SLO"
    text = f"{usd:.3g}"
    if found.value and found.low and found.high:
        text += f" [{usd * found.value / found.high:.3g}, {usd * found.value / found.low:.3g}]"
    return f"at {found.output_tok_s:.0f} output tokens/s and {usd_per_hour:g} USD per hour 1 million cost {text} USD"
