"""Find reported figures that cannot all be true: figures with their rounding go in, contradictions come out. Pure.

A figure stands for every value that rounds to it, so figures contradict each other only if *no* values within their
rounding agree. Names are paths of the summary, such as "ttft_s.p50", and those of `FIGURES`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import combinations, pairwise

from gptoss_bench.stats.consistency import PrintedFigure

# What a figure is called in a sentence; latency is that of `done_s`.
FIGURES = {
    "wall_s": "the wall time",
    "request_s": "the request rate",
    "output_tok_s_total": "the output token rate",
    "total_tok_s": "the rate of all tokens",
    "requests": "the requests",
    "completed": "the completed requests",
    "failed": "the failed requests",
    "prompt_tokens": "all prompt tokens",
    "completion_tokens.sum": "all output tokens",
    "completion_tokens.mean": "the mean output tokens",
    "max_tokens": "the token limit",
    "concurrency_planned": "the concurrency",
}
TIMES = {"ttft_s": "TTFT", "tpot_s": "TPOT", "itl_s": "ITL", "done_s": "latency"}
RISING = ("min", "p50", "p90", "p95", "p99", "max")
FASTEST_S = {"ttft_s": 1e-4, "done_s": 1e-4, "tpot_s": 1e-6, "itl_s": 1e-6}
"""No server is faster than this: a time below it is a placeholder, such as 0. A median gap may be 0, a mean may not."""
PARTS_OF_MEAN = {"p50": 0.40, "p90": 0.09, "p99": 0.01}
"""Half of the requests take p50 or more, a tenth p90 or more, a hundredth p99 or more: a lower bound of the mean."""
ENOUGH_FOR_PARTS = 100
SPAN_SLACK = 0.01
"""Tools end the run at different events: aiperf's rates are of a span that is 0.3 % longer than its duration."""
LITTLE = "Little's law"
FLOATS = 1e-9  # the rounding of floats
MISSING_REQUESTS = "missing requests"
LITTLE_SLACK = 0.05
"""Rate and latency may end at different events, such as the last token and the end of the response."""


@dataclass(frozen=True, slots=True)
class Contradiction:
    """A relation that figures break: its name, the names of the figures, and a sentence with their values."""

    relation: str
    figures: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True)
class _Span:
    """The values that one way of computing a quantity allows; `words` show the way."""

    figures: tuple[str, ...]
    low: float
    high: float
    words: str

    def overlaps(self, other: "_Span", slack: float) -> bool:
        near = slack * max(abs(self.high), abs(other.high))
        return self.low <= other.high + near and other.low <= self.high + near


def as_printed(value: float) -> PrintedFigure:
    """Return a number of unknown rounding as a figure: its last digit, of ten at most, is the last printed place."""
    if value == 0:
        return PrintedFigure(0.0)
    exponent = Decimal(f"{value:.10g}").as_tuple().exponent
    return PrintedFigure(value, 10.0 ** min(exponent, 0) if isinstance(exponent, int) else 0.0)


def find_contradictions(
    figures: Mapping[str, PrintedFigure], *, equal_lengths: bool = False, n: int | None = None
) -> list[Contradiction]:
    """Return every relation that the figures break.

    Args:
        figures: Figures by name, times in seconds; the relations of figures that are missing are not checked.
        equal_lengths: Whether all answers have the same number of tokens, so that means of products can be checked.
        n: Number of requests, None if unknown.
    """
    return [
        *_missing_requests(figures),
        *_placeholders(figures),
        *_out_of_order(figures),
        *_longer_than_the_whole(figures),
        *_disagreeing("the wall time", _walls(figures), SPAN_SLACK),
        *_disagreeing("the output of a request", _lengths(figures), FLOATS),
        *_over_the_cap(figures),
        *_tokens_within_latency(figures, equal_lengths),
        *_little(figures, equal_lengths, n),
    ]


def _missing_requests(figures: Mapping[str, PrintedFigure]) -> Iterator[Contradiction]:
    names = ("requests", "completed", "failed")
    asked, completed, failed = (figures.get(name) for name in names)
    if asked is None or completed is None:
        return
    ended = completed.value + (failed.value if failed else 0.0)
    if ended == asked.value or (failed is None and ended < asked.value):
        return
    told = f"{completed.value:g} completed" + (f" and {failed.value:g} failed" if failed else "")
    what = f"{asked.value - ended:g} are missing" if ended < asked.value else f"{ended - asked.value:g} too many"
    yield Contradiction(MISSING_REQUESTS, names, f"of {asked.value:g} requests {told}: {what}")


def _placeholders(figures: Mapping[str, PrintedFigure]) -> Iterator[Contradiction]:
    completed = figures.get("completed")
    if completed is not None and completed.value == 0:
        return
    for name, figure in figures.items():
        quantity, _, statistic = name.partition(".")
        if quantity in TIMES:
            shortest = FASTEST_S[quantity]
            gaps = quantity in ("itl_s", "tpot_s")
            below = figure.high < 0 or (not gaps and figure.value == 0 and figure.step <= 1.1e-3)
            below = below or (figure.high < shortest and not (gaps and statistic not in ("", "mean", "max")))
        else:
            below = name in ("wall_s", "request_s", "output_tok_s_total", "total_tok_s") and figure.high <= 0
        if below:
            yield Contradiction("zero or negative", (name,), f"{_named(name)} is {_shown(name, figure)}")


def _out_of_order(figures: Mapping[str, PrintedFigure]) -> Iterator[Contradiction]:
    for quantity in TIMES:
        known = [f"{quantity}.{at}" for at in RISING if f"{quantity}.{at}" in figures]
        pairs = [*pairwise(known), *_around(f"{quantity}.mean", f"{quantity}.min", f"{quantity}.max", figures)]
        for lower, higher in pairs:
            if figures[lower].low > figures[higher].high:
                text = f"{_with_value(lower, figures)} is above {_with_value(higher, figures)}"
                yield Contradiction("order of percentiles", (lower, higher), text)


def _around(mean: str, least: str, most: str, figures: Mapping[str, PrintedFigure]) -> list[tuple[str, str]]:
    if mean not in figures:
        return []
    return [pair for pair in ((least, mean), (mean, most)) if all(name in figures for name in pair)]


def _longer_than_the_whole(figures: Mapping[str, PrintedFigure]) -> Iterator[Contradiction]:
    """A part of each request is at most the request, so its percentiles are too; no request outlasts the run."""
    for at in ("mean", *RISING):
        for part in ("ttft_s", "tpot_s"):
            yield from _above(f"{part}.{at}", f"done_s.{at}", figures, "a part is longer than the whole")
        yield from _above(f"done_s.{at}", "wall_s", figures, "a request is longer than the run")
    yield from _above("output_tok_s_total", "total_tok_s", figures, "a part is larger than the sum")


def _above(part: str, whole: str, figures: Mapping[str, PrintedFigure], relation: str) -> Iterator[Contradiction]:
    if part in figures and whole in figures and figures[part].low > figures[whole].high:
        text = f"{_with_value(part, figures)} is above {_with_value(whole, figures)}"
        yield Contradiction(relation, (part, whole), text)


def _walls(figures: Mapping[str, PrintedFigure]) -> Iterator[list[_Span]]:
    """Yield each way to the wall time, as the choices that it leaves open."""
    if "wall_s" in figures:
        wall = figures["wall_s"]
        yield [_Span(("wall_s",), wall.low, wall.high, f"the wall time is {wall.value:g} s")]
    # Some tools count every request in the rate, some only those that completed.
    yield [
        span
        for count in ("completed", "requests")
        for span in _divided(count, "request_s", figures, f"{{0:g}} {count} at {{1:g}}/s take {{2:.4g}} s")
    ]
    yield [*_divided("completion_tokens.sum", "output_tok_s_total", figures, "{0:g} tokens at {1:g}/s take {2:.4g} s")]
    if "prompt_tokens" in figures and "completion_tokens.sum" in figures:
        every = PrintedFigure(figures["prompt_tokens"].value + figures["completion_tokens.sum"].value)
        words = "{0:g} tokens of prompts and answers at {1:g}/s take {2:.4g} s"
        yield [*_divided("all tokens", "total_tok_s", {**figures, "all tokens": every}, words)]


def _lengths(figures: Mapping[str, PrintedFigure]) -> Iterator[list[_Span]]:
    """Yield each way to the mean number of output tokens of a request."""
    if "completion_tokens.mean" in figures:
        mean = figures["completion_tokens.mean"]
        yield [_Span(("completion_tokens.mean",), mean.low, mean.high, f"the mean answer has {mean.value:g} tokens")]
    yield [*_divided("completion_tokens.sum", "completed", figures, "{0:g} tokens of {1:g} requests are {2:.4g} each")]
    yield [*_divided("output_tok_s_total", "request_s", figures, "{0:g} tokens/s at {1:g} requests/s are {2:.4g} each")]
    if "wall_s" in figures and "output_tok_s_total" in figures:
        rate, wall = figures["output_tok_s_total"], figures["wall_s"]
        low, high = rate.low * wall.low * (1 - SPAN_SLACK), rate.high * wall.high * (1 + SPAN_SLACK)
        made = PrintedFigure(rate.value * wall.value, high - low)
        words = f"{rate.value:g} tokens/s over {wall.value:g} s and {{1:g}} requests are {{2:.4g}} each"
        yield [*_divided("tokens made", "completed", {**figures, "tokens made": made}, words)]


def _divided(above: str, below: str, figures: Mapping[str, PrintedFigure], words: str) -> Iterator[_Span]:
    if above in figures and below in figures and figures[below].low > 0 and figures[above].low >= 0:
        top, bottom = figures[above], figures[below]
        shown = words.format(top.value, bottom.value, top.value / bottom.value)
        yield _Span((above, below), top.low / bottom.high, top.high / bottom.low, shown)


def _disagreeing(quantity: str, ways: Iterator[list[_Span]], slack: float) -> Iterator[Contradiction]:
    known = [choices for choices in ways if choices]
    for one, other in combinations(known, 2):
        if not any(a.overlaps(b, slack) for a in one for b in other):
            named = tuple(dict.fromkeys((*one[0].figures, *other[0].figures)))
            yield Contradiction(f"two values of {quantity}", named, f"{one[0].words}, but {other[0].words}")


def _over_the_cap(figures: Mapping[str, PrintedFigure]) -> Iterator[Contradiction]:
    if "max_tokens" not in figures:
        return
    cap = figures["max_tokens"]
    over = [span for choices in _lengths(figures) for span in choices if span.low > cap.high]
    if over:
        named = (*over[0].figures, "max_tokens")
        yield Contradiction("tokens above the limit", named, f"{over[0].words}, with at most {cap.value:g} allowed")


def _tokens_within_latency(figures: Mapping[str, PrintedFigure], equal_lengths: bool) -> Iterator[Contradiction]:
    """TTFT + TPOT × (N - 1) is at most the latency, or TPOT × N where a tool counts TTFT in its TPOT."""
    names = ("ttft_s.mean", "tpot_s.mean", "done_s.mean", "completion_tokens.mean")
    if not equal_lengths or any(name not in figures for name in names):
        return
    ttft, tpot, latency, tokens = (figures[name] for name in names)
    least = min(ttft.low + tpot.low * (tokens.low - 1), tpot.low * tokens.low)
    if least > latency.high:
        text = (
            f"TTFT {ttft.value:.4g} s + TPOT {tpot.value:.4g} s × {tokens.value - 1:g} is"
            f" {ttft.value + tpot.value * (tokens.value - 1):.4g} s, above the latency {latency.value:.4g} s"
        )
        yield Contradiction("parts of the latency", names, text)


def _little(figures: Mapping[str, PrintedFigure], equal_lengths: bool, n: int | None) -> Iterator[Contradiction]:
    """Rate × mean latency is at most the concurrency, with the latency or a lower bound of it."""
    slots = figures.get("concurrency_planned")
    if slots is None:
        return
    rate = figures.get("request_s")
    if rate is not None and (least := _least_mean(figures, n)) is not None:
        names, least_s, words = least
        if rate.low * least_s > slots.high * (1 + LITTLE_SLACK):
            text = f"{rate.value:g} requests/s × {words} are {rate.value * least_s:.4g} in flight"
            yield Contradiction(LITTLE, ("request_s", *names), f"{text}, with at most {slots.value:g} planned")
    tokens, gap = figures.get("output_tok_s_total"), figures.get("tpot_s.mean")
    if equal_lengths and tokens is not None and gap is not None and gap.low > 0 and "done_s.mean" not in figures:
        length = figures.get("completion_tokens.mean")
        share = (length.high / (length.high - 1)) if length is not None and length.high > 2 else 2.0
        most = slots.high / gap.low * share
        if tokens.low > most * (1 + LITTLE_SLACK):
            text = (
                f"{slots.value:g} streams with a token every {gap.value * 1e3:.4g} ms make at most {most:.4g} tokens/s,"
                f" not {tokens.value:g}"
            )
            yield Contradiction(LITTLE, ("output_tok_s_total", "tpot_s.mean", "concurrency_planned"), text)


def _least_mean(figures: Mapping[str, PrintedFigure], n: int | None) -> tuple[tuple[str, ...], float, str] | None:
    """Return the figures, the value (s) and the words of the mean latency, or of a lower bound of it."""
    if "done_s.mean" in figures:
        mean = figures["done_s.mean"]
        return ("done_s.mean",), mean.low, f"a mean latency of {mean.value:.4g} s"
    names = tuple(f"done_s.{at}" for at in PARTS_OF_MEAN)
    if any(name not in figures for name in names) or (n or 0) < ENOUGH_FOR_PARTS:
        return None
    least = sum(share * figures[f"done_s.{at}"].low for at, share in PARTS_OF_MEAN.items())
    return names, least, f"at least {least:.4g} s by the percentiles of latency"


def _named(name: str) -> str:
    quantity, _, statistic = name.partition(".")
    return f"{TIMES[quantity]} {statistic}".strip() if quantity in TIMES else FIGURES.get(name, name)


def _shown(name: str, figure: PrintedFigure) -> str:
    quantity = name.partition(".")[0]
    return f"{figure.value:.6g} s" if quantity in TIMES or name == "wall_s" else f"{figure.value:.6g}"


def _with_value(name: str, figures: Mapping[str, PrintedFigure]) -> str:
    return f"{_named(name)} {_shown(name, figures[name])}"
