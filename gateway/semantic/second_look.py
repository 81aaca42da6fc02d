"""A second look by a cross-encoder, where the verifier is unsure: what it says is one more clue for the lane.

The verifier's probability stays as it is. A lane learns from its labels how much the clue is worth, and that is
nothing at first: no model is trusted for its name.
"""

import logging
from collections.abc import Generator, Sequence

from embeddings.base import EmbedderError, Reading
from embeddings.verifier import Comparison, Verifier
from embeddings.verifier.cross_encoder import SecondLook
from gateway.semantic.minds import clue_of

log = logging.getLogger(__name__)

UNSURE = (0.3, 0.97)  # probabilities of the verifier between which a second look is worth its time


class LooksTwice:
    """A verifier with a cross-encoder behind it, which should be loaded already; one that fails is done without."""

    def __init__(self, first: Verifier, look: SecondLook) -> None:
        self.name = f"{first.name}+{look.name}"
        self.family = first.family
        self._first = first
        self._look = look
        self._has_warned = False

    def compare(self, a: Reading, b: Reading, /) -> Comparison:
        """As the verifier says, with the clue at the end of its features; 0 where nothing was looked at."""
        return self._with_clue(self._first.compare(a, b), a, b)

    def comparing(self, a: Reading, others: Sequence[Reading], /) -> Generator[None, None, list[Comparison]]:
        """The same of many, in steps."""
        found = yield from self._first.comparing(a, others)
        return [self._with_clue(one, a, other) for one, other in zip(found, others, strict=True)]

    def _with_clue(self, found: Comparison, a: Reading, b: Reading) -> Comparison:
        is_unsure = UNSURE[0] < found.probability < UNSURE[1]
        clue = self._clue(a.text, b.text) if is_unsure else 0.0
        return Comparison(found.probability, (*found.features, clue))

    def _clue(self, a: str, b: str) -> float:
        try:
            chance = float(self._look.probabilities([(a, b)])[0])
        except EmbedderError as error:
            log.log(logging.DEBUG if self._has_warned else logging.WARNING, "no second look: %s", error)
            self._has_warned = True
            return 0.0
        return clue_of(chance)
