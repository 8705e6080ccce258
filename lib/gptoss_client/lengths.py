"""Distributions of lengths: a text such as "100-1000" is parsed, and values are drawn from a seed. Pure."""

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
}


@dataclass(frozen=True, slots=True)
class Lengths:
    """A uniform distribution from `least` to `most`, or with a `median` a lognormal one that ends at `most`.

    `sigma` is the standard deviation of the logarithm.
    """

    least: float
    most: float
    median: float | None = None
    sigma: float = 0.0

    def draw(self, seed: str) -> float:
        """Return the value that belongs to a seed."""
        drawn = random.Random(seed)
        if self.median is None:
            return drawn.uniform(self.least, self.most)
        while (found := drawn.lognormvariate(math.log(self.median), self.sigma)) > self.most:
            pass  # drawn again: at least half of the values are below the limit
        return found

    def draw_whole(self, seed: str) -> int:
        """Return the whole number, 1 or more, that belongs to a seed."""
        if self.median is None:
            return random.Random(seed).randint(math.ceil(self.least), math.floor(self.most))
        return max(1, round(self.draw(seed)))


@lru_cache(maxsize=16)
def parse_lengths(name: str, text: str, least: float = 1) -> Lengths:
    """Parse "512", "100-1000" (uniform), "lognormal:MEDIAN:SIGMA" or "lognormal:MEDIAN:SIGMA:MOST".

    Raises UsageError, which begins with `name`, for any other text and for values outside `least` and MOST_LENGTH.
    """
    plain = text.replace(" ", "")
    if found := _FORMS["uniform"].fullmatch(plain):
        low = float(found[1])
        made = Lengths(low, float(found[2] or low))
    elif found := _FORMS["lognormal"].fullmatch(plain):
        made = Lengths(least, float(found[3] or MOST_LENGTH), float(found[1]), float(found[2]))
    else:
        raise UsageError(
            f"{name} {text[:80]!r} is no length: write 512, 100-1000 (any number between these), or "
            "lognormal:MEDIAN:SIGMA:MOST such as lognormal:500:0.8:4000"
        )
    low = made.least if made.median is None else made.median
    if not least <= low <= made.most <= MOST_LENGTH or made.sigma > 5:
        raise UsageError(f"{name} {text[:80]!r} must rise, within {least:g} and {MOST_LENGTH:,}, with a sigma up to 5")
    return made
