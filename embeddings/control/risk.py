"""Bounds on a rate of wrong hits, from few labels.

`clopper_pearson` is the exact binomial bound (Clopper and Pearson 1934): with `wrong` of `n` labels wrong, the true
rate is above `upper` with at most `1 - confidence` chance. Counts need not be whole: what is known beforehand enters
as labels that nobody gave.
"""

import math


def clopper_pearson(wrong: float, n: float, confidence: float) -> tuple[float, float]:
    """Lower and upper one-sided bounds of the rate, each at `confidence`."""
    if not 0 <= wrong <= n:
        raise ValueError(f"{wrong} wrong of {n}")
    tail = 1.0 - confidence
    lower = 0.0 if wrong <= 0 else _beta_quantile(tail, wrong, n - wrong + 1.0)
    upper = 1.0 if wrong >= n else _beta_quantile(1.0 - tail, wrong + 1.0, n - wrong)
    return lower, upper


def _beta_quantile(p: float, a: float, b: float) -> float:
    """The x below which a Beta(a, b) lies with chance `p`, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if beta_cdf(middle, a, b) < p:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def beta_cdf(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function, by its continued fraction (DLMF 8.17.22), modified Lentz."""
    if x <= 0.0 or x >= 1.0:
        return 0.0 if x <= 0.0 else 1.0
    if x > (a + 1.0) / (a + b + 2.0):  # the fraction converges fast on the other side
        return 1.0 - beta_cdf(1.0 - x, b, a)
    front = a * math.log(x) + b * math.log1p(-x) + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) - math.log(a)
    tiny = 1e-300
    c, d = 1.0, 1.0 / _off_zero(1.0 - (a + b) * x / (a + 1.0), tiny)
    value = d
    for m in range(1, 300):
        step = 1.0
        for numerator in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1.0 / _off_zero(1.0 + numerator * d, tiny)
            c = _off_zero(1.0 + numerator / c, tiny)
            step = d * c
            value *= step
        if abs(step - 1.0) < 1e-12:
            break
    return math.exp(front) * value


def _off_zero(value: float, tiny: float) -> float:
    return value if abs(value) > tiny else tiny


GRID = tuple(1.0 - 0.5 * 0.9**step for step in range(60, -1, -1))  # from strict to loose
STRICT = 0.98  # serves while labels are few


class Evidence:
    """Labels of would-be hits, and the threshold they allow."""

    def __init__(self, target: float, confidence: float) -> None:
        self._target, self._confidence = target, confidence
        self._seen: list[tuple[float, bool]] = []
        self._threshold: float | None = STRICT

    @property
    def threshold(self) -> float:
        if self._threshold is None:
            self._threshold = self._chosen()
        return self._threshold

    def add(self, probability: float, is_right: bool) -> None:
        self._seen.append((probability, is_right))
        self._threshold = None

    def estimate(self) -> tuple[float | None, float]:
        n, wrong = self._counts(self.threshold)
        return (wrong / n if n else None), clopper_pearson(wrong, n, self._confidence)[1]

    def _counts(self, threshold: float) -> tuple[int, int]:
        above = [is_right for probability, is_right in self._seen if probability >= threshold]
        return len(above), len(above) - sum(above)

    def _chosen(self) -> float:
        """Fixed sequence testing (Angelopoulos et al. 2021): from strict to loose, until one fails."""
        chosen = STRICT
        for threshold in GRID:
            n, wrong = self._counts(threshold)
            if clopper_pearson(wrong, n, self._confidence)[1] > self._target:
                if threshold < STRICT:
                    break
                continue
            chosen = min(chosen, threshold)
        return chosen
