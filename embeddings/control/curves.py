"""Two distribution functions, so that a bound needs no library of statistics."""

import math

_TINY = 1e-300
_STEPS = 500


def beta_cdf(x: float, a: float, b: float) -> float:
    """Regularised incomplete beta function, by its continued fraction (DLMF 8.17.22, Lentz's method)."""
    if x <= 0.0 or x >= 1.0:
        return 0.0 if x <= 0.0 else 1.0
    if x > (a + 1.0) / (a + b + 2.0):  # the fraction converges fast on the other side
        return 1.0 - beta_cdf(1.0 - x, b, a)
    front = a * math.log(x) + b * math.log1p(-x) + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) - math.log(a)
    c, d = 1.0, 1.0 / _off_zero(1.0 - (a + b) * x / (a + 1.0))
    value = d
    for m in range(1, _STEPS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1.0 / _off_zero(1.0 + term * d)
            c = _off_zero(1.0 + term / c)
            value *= d * c
        if abs(d * c - 1.0) < 1e-12:
            break
    return math.exp(front) * value


def gamma_cdf(x: float, a: float) -> float:
    """Regularised lower incomplete gamma function, by its series (DLMF 8.11.4); meant for x up to about a."""
    if x <= 0.0:
        return 0.0
    term = total = 1.0 / a
    for n in range(1, _STEPS):
        term *= x / (a + n)
        total += term
        if term < total * 1e-13:
            break
    return math.exp(a * math.log(x) - x - math.lgamma(a)) * total


def _off_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
