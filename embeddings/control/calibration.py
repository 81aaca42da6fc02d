"""How far a lane's probabilities can be trusted, learned from the ones whose outcome is known.

First Platt's curve (1999) over log odds, learned online and moderated like any belief here; it begins as the identity.
A curve of two numbers says little about its end, where hits live. So outcomes are counted there, in bands that halve
the chance of being wrong: what is believed of a band counts as `BELIEVED` labels, what was seen of it as what it is.
And nothing is surer than what looks surer still: a band is never thought better than one above it. The curve is held
close to the identity: left free, its own doubt made 5 % of what was believed to be 0.1 % wrong.
"""

import math

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

    def chance_wrong(self, probability: float) -> float:
        believed = 1.0 - self._on_curve(probability)
        most = 0.0
        for band in range(_band(believed), BANDS):
            chance = max(LEAST, min(believed, _HALVED[band]))
            most = max(most, (self._wrong[band] + BELIEVED * chance) / (self._seen[band] + BELIEVED))
        return most

    def learn(self, probability: float, is_right: bool, *, corrects: bool = False) -> None:
        """Count an outcome; `corrects`: it was counted as the opposite before."""
        band = _band(1.0 - self._on_curve(probability))
        if corrects and (self._wrong[band] if is_right else self._seen[band] - self._wrong[band]) >= 1.0:
            self._seen[band] -= 1.0
            self._wrong[band] -= is_right
        self._seen[band] += 1.0
        self._wrong[band] += not is_right
        self._curve.learn((1.0, logit(probability, _MOST)), is_right)

    def _on_curve(self, probability: float) -> float:
        return self._curve.probability((1.0, logit(probability, _MOST)))


def _band(chance_wrong: float) -> int:
    return min(BANDS - 1, int(-math.log2(max(chance_wrong, 1e-9))))
