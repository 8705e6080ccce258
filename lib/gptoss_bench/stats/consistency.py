"""Check printed figures against each other: figures as printed go in, one ConsistencyCheck with its steps comes out.

No published number is in this module. A printed figure stands for every value that rounds to it, so a check holds if
*some* values within the rounding satisfy the relation, even if the printed digits do not.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PrintedFigure:
    """A figure as printed. `step` is the last printed place (0.001 for 8.835); 0 means exact, for a setting."""

    value: float
    step: float = 0.0

    @property
    def low(self) -> float:
        """The least value that rounds to this figure."""
        return self.value - self.step / 2

    @property
    def high(self) -> float:
        """The greatest value that rounds to this figure."""
        return self.value + self.step / 2

    def overlaps(self, low: float, high: float) -> bool:
        """Return whether some value that rounds to this figure lies in [low, high]."""
        return self.low <= high and low <= self.high


@dataclass(frozen=True, slots=True)
class ConsistencyCheck:
    """The result of a check.

    `computed` follows from the printed digits, `low` to `high` is its range within the rounding, all in `unit`. `steps`
    show the calculation, one line each. `fails` says which figures would have failed the check: its power.
    """

    holds: bool
    unit: str
    computed: float
    low: float
    high: float
    steps: tuple[str, ...]
    fails: str


def rate(*, requests: PrintedFigure, wall: PrintedFigure, printed: PrintedFigure) -> ConsistencyCheck:
    """Check that requests per second is requests over wall time (s)."""
    low, high = requests.low / wall.high, requests.high / wall.low
    computed = requests.value / wall.value
    step = f"{requests.value:g} requests / {wall.value:g} s = {computed:.3f} a second; printed {printed.value:g}"
    fails = f"a printed rate outside {low:.3f} to {high:.3f}"
    return ConsistencyCheck(printed.overlaps(low, high), "1/s", computed, low, high, (step,), fails)


def token_rate(
    *, prompt: PrintedFigure, output: PrintedFigure, wall: PrintedFigure, printed: PrintedFigure
) -> ConsistencyCheck:
    """Check that the rate of all tokens is prompt and output tokens over wall time (s)."""
    tokens = prompt.value + output.value
    low, high = (prompt.low + output.low) / wall.high, (prompt.high + output.high) / wall.low
    computed = tokens / wall.value
    step = f"{tokens:g} tokens / {wall.value:g} s = {computed:.2f} tokens/s; printed {printed.value:g}"
    fails = f"a printed rate outside {low:.2f} to {high:.2f} tokens/s"
    return ConsistencyCheck(printed.overlaps(low, high), "tokens/s", computed, low, high, (step,), fails)


def request_count(*, rate: PrintedFigure, wall: PrintedFigure, printed: PrintedFigure) -> ConsistencyCheck:
    """Check that rate times wall time (s) is the number of requests that ended."""
    low, high = rate.low * wall.low, rate.high * wall.high
    computed = rate.value * wall.value
    step = f"{rate.value:g} a second x {wall.value:g} s = {computed:.1f} requests; stated {printed.value:g}"
    fails = f"a number of requests outside {low:.1f} to {high:.1f}"
    return ConsistencyCheck(printed.overlaps(low, high), "requests", computed, low, high, (step,), fails)


def none_failed(*, requests: PrintedFigure, finished: PrintedFigure, printed: PrintedFigure) -> ConsistencyCheck:
    """Check that the requests that did not finish are the printed number of failures."""
    missing = requests.value - finished.value
    step = f"{finished.value:g} of {requests.value:g} requests finished: {missing:g} did not; stated {printed.value:g}"
    fails = f"a count of finished requests other than {requests.value - printed.value:g}"
    return ConsistencyCheck(printed.overlaps(missing, missing), "requests", missing, missing, missing, (step,), fails)


def tokens_per_request(
    *,
    token_rate: PrintedFigure,
    wall: PrintedFigure,
    requests: PrintedFigure,
    cap: PrintedFigure,
    printed: PrintedFigure,
) -> ConsistencyCheck:
    """Check the mean output tokens per request, and bound the share of answers that were cut at the cap.

    An answer that ended by itself has at least one token less than the cap.
    """
    low = token_rate.low * wall.low / requests.high
    high = token_rate.high * wall.high / requests.low
    computed = token_rate.value * wall.value / requests.value
    missing = requests.value * cap.value - token_rate.value * wall.value
    most_early = requests.high * (cap.high - low)
    at_cap = max(0.0, 1 - most_early / requests.value)
    steps = (
        f"{token_rate.value:g} tokens/s x {wall.value:g} s / {requests.value:g} = {computed:.3f} tokens a request",
        f"all at the cap of {cap.value:g} would be {requests.value * cap.value:g} tokens; {missing:.0f} are missing",
        f"so at least {at_cap:.0%} of the answers were cut at the cap",
    )
    fails = f"a mean outside {low:.2f} to {high:.2f} tokens, or above the cap of {cap.value:g}"
    return ConsistencyCheck(
        printed.overlaps(low, high) and low <= cap.high, "tokens", computed, low, high, steps, fails
    )


def token_cap(
    *, token_rate: PrintedFigure, wall: PrintedFigure, requests: PrintedFigure, cap: PrintedFigure
) -> ConsistencyCheck:
    """Check that the mean output tokens per request do not exceed the cap."""
    mean = tokens_per_request(token_rate=token_rate, wall=wall, requests=requests, cap=cap, printed=cap)
    step = f"{mean.computed:.3f} tokens a request, at most {cap.value:g} allowed"
    fails = f"a cap below {math.ceil(mean.low):g}; any larger one would have passed, so {cap.value:g} is not confirmed"
    return ConsistencyCheck(mean.low <= cap.high, "tokens", mean.computed, mean.low, mean.high, (step,), fails)


def progress_rate(
    *, requests: PrintedFigure, wall: PrintedFigure, printed: PrintedFigure, tolerance: float
) -> ConsistencyCheck:
    """Check the rate of a progress bar, which runs inside the timed span.

    Its time may be shorter than the wall time by the share `tolerance`, but never longer.
    """
    shortest, longest = requests.low / printed.high, requests.high / printed.low
    computed = requests.value / wall.value
    steps = (
        f"{requests.value:g} / {printed.value:g} a second = {requests.value / printed.value:.2f} s by the bar",
        f"wall time {wall.value:g} s, {1 - requests.value / printed.value / wall.value:.2%} longer",
    )
    holds = shortest <= wall.high and longest >= wall.low * (1 - tolerance)
    ends = requests.low / wall.high, requests.high / wall.low
    fails = f"a rate below {ends[0]:.2f} or above {ends[1] / (1 - tolerance):.2f} a second"
    return ConsistencyCheck(holds, "1/s", computed, *ends, steps, fails)


def progress_elapsed(*, requests: PrintedFigure, bar: PrintedFigure, printed: PrintedFigure) -> ConsistencyCheck:
    """Check the elapsed time of a progress bar, which truncates to whole seconds."""
    low, high = requests.low / bar.high, requests.high / bar.low
    step = (
        f"{requests.value:g} / {bar.value:g} a second = {requests.value / bar.value:.2f} s; shown {printed.value:g} s"
    )
    holds = math.floor(low) <= printed.value <= math.floor(high)
    fails = f"a time other than {math.floor(low)} to {math.floor(high)} s"
    return ConsistencyCheck(holds, "s", requests.value / bar.value, low, high, (step,), fails)


def little(
    *, concurrency: PrintedFigure, rate: PrintedFigure, p50: PrintedFigure, p90: PrintedFigure, p99: PrintedFigure
) -> ConsistencyCheck:
    """Check three percentiles of latency by Little's law: mean in flight = rate x mean latency.

    At most `concurrency` requests are in flight, so concurrency / rate is an upper bound of the mean. Half of the
    requests took p50 or more, a tenth p90 or more, a hundredth p99 or more: that gives a lower bound. `computed` is the
    upper bound.
    """
    low, high = concurrency.low / rate.high, concurrency.high / rate.low
    bound = concurrency.value / rate.value
    floor = 0.40 * p50.low + 0.09 * p90.low + 0.01 * p99.low
    beyond = p50.value / bound - 1
    steps = (
        f"{concurrency.value:g} in flight / {rate.value:g} a second = {bound:.3f} s: the mean latency is at most this",
        f"0.40 x {p50.value:g} + 0.09 x {p90.value:g} + 0.01 x {p99.value:g} = {floor:.2f} s: at least this",
        f"the median {p50.value:g} s is {abs(beyond):.1%} {'above' if beyond > 0 else 'below'} the upper bound"
        + (", so a good part of the requests was clearly quicker than that" if beyond > 0 else ""),
    )
    least = math.ceil(floor * rate.low - concurrency.step / 2)
    fails = (
        f"fewer than {least} requests in flight; any larger number would have passed, so {concurrency.value:g} is not"
        " confirmed"
    )
    return ConsistencyCheck(floor <= high, "s", bound, low, high, steps, fails)


def prompt_share(
    *,
    ttft_p50: PrintedFigure,
    latency_p50: PrintedFigure,
    ttft_p90: PrintedFigure,
    latency_p90: PrintedFigure,
    ttft_p99: PrintedFigure,
    latency_p99: PrintedFigure,
    prompt: PrintedFigure,
    cap: PrintedFigure,
) -> ConsistencyCheck:
    """Check that TTFT is the fixed share prompt / (prompt + cap) of the latency, at p90 and at p99.

    At p50 some answers ended before the cap, so the share there is reported, not checked.
    """
    share = prompt.value / (prompt.value + cap.value)
    ratios = [_ratio(ttft_p90, latency_p90), _ratio(ttft_p99, latency_p99)]
    median = _ratio(ttft_p50, latency_p50)
    steps = (
        f"p90: {ttft_p90.value:g} / {latency_p90.value:g} = {ratios[0].value:.5f}",
        f"p99: {ttft_p99.value:g} / {latency_p99.value:g} = {ratios[1].value:.5f}",
        f"{prompt.value:g} / ({prompt.value:g} + {cap.value:g}) = {share:.5f}",
        f"p50: {ttft_p50.value:g} / {latency_p50.value:g} = {median.value:.5f}, as if the answer had"
        f" {prompt.value / median.value - prompt.value:.1f} tokens: an answer that ended before the cap has a larger"
        " share, and the two medians need not be of one request",
    )
    holds = all(ratio.low <= share <= ratio.high for ratio in ratios)
    low, high = max(r.low for r in ratios), min(r.high for r in ratios)
    fails = "a share outside " + " or ".join(
        f"{ratio.low:.5f} to {ratio.high:.5f} ({name})" for name, ratio in zip(("p90", "p99"), ratios, strict=True)
    )
    return ConsistencyCheck(holds, "", share, low, high, steps, fails)


def prompt_tokens(
    *,
    ttft_p90: PrintedFigure,
    latency_p90: PrintedFigure,
    ttft_p99: PrintedFigure,
    latency_p99: PrintedFigure,
    cap: PrintedFigure,
    printed: PrintedFigure,
) -> ConsistencyCheck:
    """Check that `printed` is the only whole prompt length that the TTFT formula allows for answers of `cap` tokens."""
    lengths = [_length(_ratio(ttft_p90, latency_p90), cap), _length(_ratio(ttft_p99, latency_p99), cap)]
    low, high = max(n.low for n in lengths), min(n.high for n in lengths)
    possible = range(math.ceil(low), math.floor(high) + 1)
    listed = ", ".join(map(str, possible[:10])) + (f", … {possible[-1]}" if possible[10:] else "")
    steps = (
        f"p90: {lengths[0].low:.2f} to {lengths[0].high:.2f} tokens within the rounding",
        f"p99: {lengths[1].low:.2f} to {lengths[1].high:.2f} tokens",
        f"whole numbers in both: {listed or 'none'}",
    )
    only = not possible[1:] and printed.value in possible
    fails = "any other whole number of tokens"
    return ConsistencyCheck(only, "tokens", lengths[0].value, low, high, steps, fails)


@dataclass(frozen=True, slots=True)
class _Range:
    value: float
    low: float
    high: float


def _ratio(part: PrintedFigure, whole: PrintedFigure) -> _Range:
    return _Range(part.value / whole.value, part.low / whole.high, part.high / whole.low)


def _length(share: _Range, cap: PrintedFigure) -> _Range:
    # share = p / (p + cap), solved for p, which rises with the share
    values = [cap.value * s / (1 - s) for s in (share.value, share.low, share.high)]
    return _Range(*values)


CONSISTENCY_CHECKS: dict[str, Callable[..., ConsistencyCheck]] = {
    check.__name__: check
    for check in (
        rate,
        token_rate,
        request_count,
        none_failed,
        tokens_per_request,
        token_cap,
        progress_rate,
        progress_elapsed,
        little,
        prompt_share,
        prompt_tokens,
    )
}
