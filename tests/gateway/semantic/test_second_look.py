"""A second look is taken where the verifier is unsure, is a clue and no verdict, and may fail."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from embeddings.base import EmbedderError
from embeddings.hashing import HashingEmbedder
from embeddings.verifier import conservative
from embeddings.verifier.cross_encoder import SecondLook
from embeddings.verifier.logistic import Numbers
from gateway.semantic.second_look import LooksTwice

A, FAR = HashingEmbedder().read(["How do I reset my lamp?", "Who wrote Faust?"])
_AWAY = FAR.vector - (FAR.vector @ A.vector) * A.vector
NEAR = replace(A, vector=0.967 * A.vector + math.sqrt(1 - 0.967**2) * _AWAY / np.linalg.norm(_AWAY))


class Yes(SecondLook):
    """Says yes to everything, unless it is broken."""

    def __init__(self, *, is_broken: bool = False) -> None:
        super().__init__("yes")
        self.asked: list[tuple[str, str]] = []
        self._is_broken = is_broken

    def probabilities(self, pairs: Sequence[tuple[str, str]]) -> Numbers:
        if self._is_broken:
            raise EmbedderError("broken")
        self.asked += pairs
        return np.ones(len(pairs))


def test_who_is_sure_asks_nobody() -> None:
    look = Yes()
    twice = LooksTwice(conservative(), look)

    assert twice.compare(A, FAR).features[-1] == 0.0
    assert twice.compare(A, A).features[-1] == 0.0
    assert look.asked == []


@pytest.mark.parametrize(("is_broken", "clue"), [(False, 4.0), (True, 0.0)])
def test_who_is_unsure_gets_a_clue_and_keeps_the_probability(is_broken: bool, clue: float) -> None:
    first = conservative()
    found = LooksTwice(first, Yes(is_broken=is_broken)).compare(A, NEAR)

    assert 0.3 < found.probability < 0.97, found.probability
    assert (found.probability, found.features) == (
        first.compare(A, NEAR).probability,
        (*first.compare(A, NEAR).features, clue),
    )
