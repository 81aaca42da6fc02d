"""How far a lane's probabilities can be trusted, learned from the ones whose outcome is known.

Platt's curve (1999) over log odds, learned online, moderated like any belief here; it begins as the identity. A curve
of two numbers says little about its end, where a hit lives, and some traffic has a floor there: two questions that read
the same and have different answers all the same. So the wrong among those that looked certain are counted, too, and
their share is added to every chance of being wrong: it begins at one in ten thousand, worth a thousand labels.
"""

from embeddings.control.belief import Belief, logit

CERTAIN = 0.995
_FLOOR_WRONG, _FLOOR_SEEN = 0.1, 1000.0
_MOST = 10.0  # log odds


class Calibration:
    """Learns only from probabilities that were given before the outcome was known."""

    def __init__(self) -> None:
        self._curve = Belief((0.0, 1.0), (1.0, 0.5))
        self._wrong, self._seen = _FLOOR_WRONG, _FLOOR_SEEN

    def chance_wrong(self, probability: float) -> float:
        return min(1.0, 1.0 - self._on_curve(probability) + self._wrong / self._seen)

    def learn(self, probability: float, is_right: bool) -> None:
        if self._on_curve(probability) >= CERTAIN:
            self._seen += 1.0
            self._wrong += not is_right
        self._curve.learn((1.0, logit(probability, _MOST)), is_right)

    def _on_curve(self, probability: float) -> float:
        return self._curve.probability((1.0, logit(probability, _MOST)))
