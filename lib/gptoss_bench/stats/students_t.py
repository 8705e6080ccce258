"""Compute tail probabilities and quantiles of Student's t distribution, of any number of degrees of freedom. Pure."""

from functools import cache
from math import atan, pi, sqrt

import numpy as np

from gptoss_bench.stats.percentiles import Floats


def t_tail(t: float, df: float) -> float:
    """Return the probability that the absolute value of t is larger than this one; `df` is 1 or more."""
    # t = sqrt(df) · tan(angle), and the density of the angle is proportional to cos(angle)^(df - 1).
    return _integral(atan(abs(t) / sqrt(df)), pi / 2, df) / _integral(0.0, pi / 2, df)


@cache
def t_quantile(df: float, level: float = 0.95) -> float:
    """Return the t that is larger in absolute value with a probability of 1 - `level`: 2.776 for 4 and 95 %."""
    low, high = 0.0, 1e4
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if t_tail(middle, df) > 1 - level else (low, middle)
    return high


def _integral(low: float, high: float, df: float) -> float:
    nodes, weights = _gauss_legendre()
    angles = (high - low) / 2 * nodes + (high + low) / 2
    return float((high - low) / 2 * (weights @ np.cos(angles) ** (df - 1)))


@cache
def _gauss_legendre() -> tuple[Floats, Floats]:
    nodes, weights = np.polynomial.legendre.leggauss(128)
    return nodes, weights
