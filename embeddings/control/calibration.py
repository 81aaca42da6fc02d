"""How far a lane's probabilities can be trusted, learned from the ones whose outcome is known.

First Platt's curve (1999) over log odds, learned online and moderated like any belief here; it begins as the identity.
A curve of two numbers says little about its end, where hits live. So outcomes are counted there, in bands that halve
the chance of being wrong: what is believed of a band counts as `BELIEVED` labels, what was seen of it as what it is.
And nothing is surer than what looks surer still: a band is never thought better than one above it. The curve is held
close to the identity: left free, its own doubt made 5 % of what was believed to be 0.1 % wrong.
"""

import math
from collections.abc import Sequence

import numpy as np

from embeddings.control.belief import Belief, logit

BELIEVED = 50.0
LEAST = 0.002  # wrong, of what nothing is known about yet, however sure it looks
BANDS = 12  # half, a quarter, ... wrong; the last holds what is wrong less than once in 2,000
_MOST = 10.0  # log odds
_HALVED = tuple(0.5**band for band in range(BANDS))


class Calibration:
    """Learns only from probabilities that were given before the outcome was known."""

    def __init__(self) -> None:
        self._curve = Belief((0.0, 1.0), (0.3, 0.15))
        self._seen = [0.0] * BANDS
        self._wrong = [0.0] * BANDS
        self._surer = self._worst_above()

    def chance_wrong(self, probability: float) -> float:
        return self.chances_wrong([probability])[0]

    def chances_wrong(self, probabilities: Sequence[float]) -> list[float]:
        """The same of many."""
        found: list[float] = []
        for probability in self._on_curve(probabilities):
            believed = 1.0 - probability
            band = _band(believed)
            found.append(max(self._chance_in(band, min(believed, _HALVED[band])), self._surer[band]))
        return found

    def learn(self, probability: float, is_right: bool, *, corrects: bool = False) -> None:
        """Count an outcome; `corrects`: it was counted as the opposite before."""
        band = _band(1.0 - self._on_curve([probability])[0])
        if corrects and (self._wrong[band] if is_right else self._seen[band] - self._wrong[band]) >= 1.0:
            self._seen[band] -= 1.0
            self._wrong[band] -= is_right
        self._seen[band] += 1.0
        self._wrong[band] += not is_right
        self._surer = self._worst_above()
        self._curve.learn((1.0, logit(probability, _MOST)), is_right)

    def _on_curve(self, probabilities: Sequence[float]) -> list[float]:
        return self._curve.each(np.array([(1.0, logit(probability, _MOST)) for probability in probabilities]))

    def _chance_in(self, band: int, believed: float) -> float:
        chance = believed if believed > LEAST else LEAST
        return (self._wrong[band] + BELIEVED * chance) / (self._seen[band] + BELIEVED)

    def _worst_above(self) -> list[float]:
        """Of each band, how bad the worst of those above it is; nothing there is believed to be worse than its edge."""
        worst = [0.0] * BANDS
        for band in range(BANDS - 1, 0, -1):
            worst[band - 1] = max(worst[band], self._chance_in(band, _HALVED[band]))
        return worst


def _band(chance_wrong: float) -> int:
    return BANDS - 1 if chance_wrong <= _HALVED[-1] else int(-math.log2(chance_wrong))
