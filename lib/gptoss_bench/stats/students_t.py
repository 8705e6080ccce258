"""Compute tail probabilities and quantiles of Student's t distribution, of any number of degrees of freedom. Pure."""

from functools import cache
from math import atan, exp, lgamma, pi, sqrt

import numpy as np

NODES, WEIGHTS = np.polynomial.legendre.leggauss(96)


def t_tail(t: float, df: float) -> float:
    """Return the probability that the absolute value of t is larger than this one; `df` is 1 or more."""
    # t = sqrt(df) · tan(angle), and the density of the angle is proportional to cos(angle)^(df - 1).
    low = atan(abs(t) / sqrt(df))
    half = (pi / 2 - low) / 2
    beyond = half * float(WEIGHTS @ np.cos(low + half * (1 + NODES)) ** (df - 1))
    return beyond * 2 / sqrt(pi) * exp(lgamma((df + 1) / 2) - lgamma(df / 2))


@cache
def t_quantile(df: float, level: float = 0.95) -> float:
    """Return the t that is larger in absolute value with a probability of 1 - `level`: 2.776 for 4 and 95 %."""
    low, high = 0.0, 4.0
    while t_tail(high, df) > 1 - level:
        low, high = high, 2 * high
    for _ in range(45):
        middle = (low + high) / 2
        low, high = (middle, high) if t_tail(middle, df) > 1 - level else (low, middle)
    return high
