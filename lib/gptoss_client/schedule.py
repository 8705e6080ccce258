"""When the requests of an open loop are due: arrival times that do not depend on the server. Pure.

A load is open if its requests arrive on their own, as those of users do, whether or not earlier ones have been
answered. The times are drawn from a seed, so that the same plan has the same arrivals again.
"""

import math
import random
import re
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gptoss_client.errors import UsageError

ARRIVALS = ("poisson", "constant", "gamma")  # values of LoadPlan.arrivals
MOST_ARRIVALS = 10_000_000
_STEP = re.compile(r"(\d+(?:\.\d+)?)(?:-(\d+(?:\.\d+)?))?(?::(\d+(?:\.\d+)?))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class RateStep:
    """A rate (requests/s) that changes linearly from `begin` to `end` within `seconds`."""

    begin: float
    end: float
    seconds: float

    @property
    def requests(self) -> float:
        """Return the expected number of arrivals."""
        return (self.begin + self.end) / 2 * self.seconds

    def time_of(self, requests: float) -> float:
        """Return after how many seconds so many arrivals are expected: the root of begin t + slope t²/2 = requests."""
        slope = (self.end - self.begin) / self.seconds
        root = math.sqrt(max(self.begin**2 + 2 * slope * requests, 0.0))
        return 2 * requests / (self.begin + root) if requests else 0.0


def parse_rate(text: str) -> tuple[RateStep, ...]:
    """Parse the rate of an open loop: "12", steps "5:30,10:30" (5/s for 30 s, then 10/s), or a ramp "5-50:120".

    The last step goes on for ever: without seconds at its rate, with seconds at the rate at its end.

    Raises UsageError if the text is nothing of that kind.
    """
    steps = []
    parts = text.replace(" ", "").split(",")
    for number, part in enumerate(parts, 1):
        found = _STEP.fullmatch(part)
        begin, end, seconds = (float(group) if group else None for group in found.groups()) if found else (None,) * 3
        ends_itself = seconds is not None or (number == len(parts) and end is None)
        if begin is None or not ends_itself or not 0 < max(begin, end or 0.0) <= 1e6 or seconds == 0:
            raise UsageError(
                f"rate {text[:80]!r} is no rate in requests/s: write 12, steps such as 5:30,10:30 (5 a second for 30 s,"
                " then 10), or a ramp such as 5-50:120"
            )
        steps.append(RateStep(begin, begin if end is None else end, seconds or math.inf))
    last = steps[-1]
    if math.isfinite(last.seconds) and last.end > 0:
        steps.append(RateStep(last.end, last.end, math.inf))
    return tuple(steps)


def rate_seconds(text: str) -> float | None:
    """Return how many seconds the steps of a rate last; None for a rate without an end."""
    steps = parse_rate(text)
    total = sum(step.seconds for step in steps if math.isfinite(step.seconds))
    return total or None


def arrival_offsets(
    rate: str, arrivals: str, burstiness: float, seed: int, *, requests: int | None, duration_s: float | None
) -> Sequence[float]:
    """Return when each request is due, in seconds from the begin of the phase, rising.

    Args:
        rate: Text for `parse_rate`.
        arrivals: "poisson" (independent users), "constant" (equal gaps), or "gamma" (gaps of this burstiness).
        burstiness: Shape of the gamma distribution of the gaps, as in vLLM's benchmark: below 1 the arrivals are
            burstier than Poisson's, 1 is Poisson, above 1 they are more even.
        seed: Seed of the gaps.
        requests: Number of arrivals; None: all within `duration_s`.
        duration_s: End of the arrivals in seconds; None: none.

    Raises UsageError if there are more than MOST_ARRIVALS, none, or fewer than `requests`.
    """
    found = array("d")
    for offset in _offsets(parse_rate(rate), _gaps(arrivals, burstiness, seed)):
        if (duration_s is not None and offset >= duration_s) or len(found) == requests:
            break
        if len(found) == MOST_ARRIVALS:
            raise UsageError(f"rate {rate} gives more than {MOST_ARRIVALS:,} requests: plan fewer, or a shorter load")
        found.append(offset)
    if not found:
        within = "at all" if duration_s is None else f"within {duration_s:g} s"
        raise UsageError(f"no request is due {within} at rate {rate}: plan a longer load")
    if requests is not None and len(found) < requests:
        raise UsageError(f"rate {rate} ends after {len(found)} requests: plan no more than these, not {requests}")
    return found


def replayed_offsets(
    offsets_s: Sequence[float], speed: float, requests: int | None, duration_s: float | None
) -> Sequence[float]:
    """Return the recorded arrivals (s), `speed` times as fast, up to a number of them or an end in seconds.

    Raises UsageError if there are fewer than `requests`.
    """
    if requests is not None and requests > len(offsets_s):
        raise UsageError(f"the trace has {len(offsets_s)} arrivals: plan no more than these, not {requests}")
    found = array("d", (offset / speed for offset in offsets_s[:requests]))
    return found if duration_s is None else found[: bisect_left(found, duration_s)]


def _gaps(arrivals: str, burstiness: float, seed: int) -> Iterator[float]:
    """Yield gaps with a mean of 1; the first arrival comes after the first gap, at constant gaps at once."""
    drawn = random.Random(seed)
    if arrivals == "constant":
        yield 0.0
    while True:
        if arrivals == "constant":
            yield 1.0
        elif arrivals == "gamma":
            yield drawn.gammavariate(burstiness, 1 / burstiness)
        else:
            yield drawn.expovariate(1.0)


def _offsets(steps: Sequence[RateStep], gaps: Iterator[float]) -> Iterator[float]:
    """Yield the time at which the expected number of arrivals reaches the sum of the gaps; end if it never does."""
    begin_s, expected = 0.0, 0.0  # at the begin of a step
    reached = next(gaps)
    for step in steps:
        # A step without end has a constant rate.
        most = math.inf if math.isinf(step.seconds) else step.requests
        while reached - expected <= most:
            within = reached - expected
            yield begin_s + (within / step.begin if math.isinf(step.seconds) else step.time_of(within))
            reached += next(gaps)
        begin_s, expected = begin_s + step.seconds, expected + most
