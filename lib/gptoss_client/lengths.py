"""Distributions of lengths and times: a text such as "100-1000" is parsed, values are drawn from a seed. Pure."""

import math
import random
import re
from dataclasses import dataclass
from functools import lru_cache

from gptoss_client.errors import UsageError

MOST_LENGTH = 10_000_000
_NUMBER = r"(\d+(?:\.\d+)?)"
_FORMS = {
    "uniform": re.compile(rf"{_NUMBER}(?:-{_NUMBER})?", re.ASCII),
    "lognormal": re.compile(rf"lognormal:{_NUMBER}:{_NUMBER}(?::{_NUMBER})?", re.ASCII),
    "exponential": re.compile(rf"exponential:{_NUMBER}(?::{_NUMBER})?", re.ASCII),
}
_UNIT = re.compile(r"(?<=\d)s(?=$|[-:])", re.ASCII)  # of a time


@dataclass(frozen=True, slots=True)
class Lengths:
    """A distribution from `least` to `most`: uniform, with a `median` lognormal, or with a `mean` exponential.

    `sigma` is the standard deviation of the logarithm. Median and mean are those of the distribution without an end.
    """

    least: float
    most: float
    median: float | None = None
    sigma: float = 0.0
    mean: float | None = None

    def draw(self, seed: str) -> float:
        """Return the value that belongs to a seed."""
        drawn = random.Random(seed)
        if self.median is not None:
            mean = math.log(self.median)
            while (found := drawn.lognormvariate(mean, self.sigma)) > self.most:
                pass  # drawn again: at least half of the values are below the limit
        elif self.mean is not None:
            while (found := drawn.expovariate(1 / self.mean)) > self.most:
                pass  # more than half are below
        else:
            found = drawn.uniform(self.least, self.most)
        return found

    def draw_whole(self, seed: str) -> int:
        """Return the whole number, 1 or more, that belongs to a seed."""
        if self.median is None and self.mean is None:
            return random.Random(seed).randint(math.ceil(self.least), math.floor(self.most))
        return max(1, round(self.draw(seed)))


@lru_cache(maxsize=16)
def parse_lengths(name: str, text: str, least: float = 1) -> Lengths:
    """Parse "512", "100-1000" (uniform), "lognormal:MEDIAN:SIGMA:MOST" or "exponential:MEAN:MOST", also without MOST.

    Raises UsageError, which begins with `name`, for any other text and for values outside `least` and MOST_LENGTH.
    """
    plain = text.replace(" ", "")
    if found := _FORMS["uniform"].fullmatch(plain):
        low = float(found[1])
        made = Lengths(low, float(found[2] or low))
    elif found := _FORMS["lognormal"].fullmatch(plain):
        made = Lengths(least, float(found[3] or MOST_LENGTH), float(found[1]), float(found[2]))
    elif found := _FORMS["exponential"].fullmatch(plain):
        made = Lengths(least, float(found[2] or MOST_LENGTH), mean=float(found[1]))
    else:
        raise UsageError(
            f"{name} {text[:80]!r} is no length: write 512, 100-1000 (any number between these), or "
            "lognormal:MEDIAN:SIGMA:MOST such as lognormal:500:0.8:4000"
        )
    centre = made.mean if made.median is None else made.median
    low = made.least if centre is None else centre
    if not least <= low <= made.most <= MOST_LENGTH or made.sigma > 5 or centre == 0:
        raise UsageError(f"{name} {text[:80]!r} must rise, within {least:g} and {MOST_LENGTH:,}, with a sigma up to 5")
    return made


@lru_cache(maxsize=16)
def parse_seconds(name: str, text: str) -> Lengths:
    """Parse a distribution of times: as `parse_lengths`, in seconds from 0 on, with or without an "s" behind a number.

    Raises UsageError, which begins with `name`.
    """
    try:
        return parse_lengths(name, _UNIT.sub("", text.replace(" ", "")), least=0)
    except UsageError:
        raise UsageError(
            f"{name} {text[:80]!r} is no time in seconds: write 2s, 1-3s (any time between these), "
            f"exponential:MEAN:MOST such as exponential:2s:30s, or lognormal:MEDIAN:SIGMA:MOST (sigma up to 5)"
        ) from None
