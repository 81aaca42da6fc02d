"""How would-be hits were spread: over the chance of being wrong that their lane gave them, and over their cosine.

A would-be hit is a question with a stored neighbour that no guard refused. What became of it (served, kept back as a
sample, generated) is counted since the start; what labels said of it afterwards comes back with them. Histograms of
fixed size; the chance has a scale of decades, as what matters happens between one in ten and one in a thousand.
"""

from collections import Counter
from dataclasses import dataclass, field
from math import log10
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embeddings.control import Verdict

ACTIONS = ("serve", "shadow", "pass")
PER_DECADE = 6
DECADES = 4
CHANCES = PER_DECADE * DECADES
COSINES = 25
LOWEST_COSINE = 0.5  # neighbours farther than this are not looked at
MOST_REASONS = 64


def chance_bin(probability: float) -> int:
    """Where an answer belongs that is right with this probability."""
    chance = max(1.0 - probability, 10.0**-DECADES)
    return min(CHANCES - 1, int(-log10(chance) * PER_DECADE)) if chance < 1.0 else 0


def cosine_bin(cosine: float) -> int:
    share = (cosine - LOWEST_COSINE) / (1.0 - LOWEST_COSINE)
    return max(0, min(COSINES - 1, int(share * COSINES)))


def _bars(size: int) -> dict[str, list[int]]:
    return {action: [0] * size for action in ACTIONS}


@dataclass(slots=True)
class Tally:
    """Of one lane."""

    chances: dict[str, list[int]] = field(default_factory=lambda: _bars(CHANCES))
    cosines: dict[str, list[int]] = field(default_factory=lambda: _bars(COSINES))
    refused: Counter[str] = field(default_factory=Counter)  # nearest neighbours, by what was in the way

    def note(self, verdict: "Verdict", action: str) -> None:
        """Count what became of a question."""
        if verdict.probability is None:
            if verdict.looked and (len(self.refused) < MOST_REASONS or verdict.reason in self.refused):
                self.refused[verdict.reason] += 1
            return
        self.chances[action][chance_bin(verdict.probability)] += 1
        if verdict.wording is not None:
            return  # nobody computed a cosine
        looked = next((one for one in verdict.looked if one.probability == verdict.probability), None)
        if looked is not None:
            self.cosines[action][cosine_bin(looked.similarity)] += 1


class Known:
    """What labels said, by the chance of being wrong that was believed before."""

    __slots__ = ("right", "wrong")

    def __init__(self) -> None:
        self.right = [0] * CHANCES
        self.wrong = [0] * CHANCES

    def note(self, probability: float, *, is_right: bool, corrects: bool) -> None:
        """Count one; `corrects`: the opposite was counted before."""
        at = chance_bin(probability)
        mine, other = (self.right, self.wrong) if is_right else (self.wrong, self.right)
        mine[at] += 1
        if corrects and other[at]:
            other[at] -= 1


def told(tally: Tally | None, known: Known) -> dict[str, Any]:
    """Both histograms as the API tells them; a bar reaches from its edge to the next."""
    tally = tally or Tally()
    chances = [10.0 ** (-at / PER_DECADE) for at in range(CHANCES + 1)]
    width = (1.0 - LOWEST_COSINE) / COSINES
    cosines = [round(LOWEST_COSINE + at * width, 6) for at in range(COSINES + 1)]
    return {
        "chance_wrong": {"edges": chances, **tally.chances, "right": known.right, "wrong": known.wrong},
        "cosine": {"edges": cosines, **tally.cosines},
        "refused": dict(tally.refused.most_common()),
    }
