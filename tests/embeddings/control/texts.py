"""A little traffic to decide about: readings without a model, and a verifier that reads nothing."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np

from embeddings.base import Reading
from embeddings.control import Label, Lane, Neighbour, label_of

TEXTS = [f"how do I {deed} my {thing}" for deed in ("wash", "sell", "paint", "store", "mend") for thing in
         ("bike", "coat", "boat", "lamp", "kettle", "drum", "ladder", "piano", "tent", "rug")]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Said:
    probability: float
    features: tuple[float, ...]


class Even:
    """Says of every pair what it was told to say."""

    name, family = "even", ""

    def __init__(self, probability: float = 0.9) -> None:
        self.probability = probability

    def compare(self, a: Reading, b: Reading) -> Said:
        return Said(self.probability, (float(len(a.text) == len(b.text)),))

    def comparing(self, a: Reading, others: Sequence[Reading]) -> Generator[None, None, list[Said]]:
        yield from ()
        return [self.compare(a, other) for other in others]


def reading(text: str) -> Reading:
    return Reading(text, np.ones(1, np.float32), (), np.zeros((0, 1), np.float32))


def near(text: str, similarity: float = 0.97, *, answer: bytes = b"", bad: int = 0) -> Neighbour:
    return Neighbour(text, reading(text), similarity, answer or text.encode(), bad=bad)


def taught(lane: Lane, rounds: int, *, wrong_every: int = 0, similarity: float = 0.97) -> list[Label]:
    """Let a lane see what comes of its verdicts; what it serves is not seen."""
    labels = []
    for n in range(rounds):
        stored = TEXTS[n % len(TEXTS)]
        asked = reading(f"{stored} {'please ' * (n % 3)}".strip())
        neighbour = near(stored, similarity)
        verdict = lane.decide(asked, [neighbour])
        is_right = not wrong_every or n % wrong_every != 0
        if verdict.action != "serve":
            label = label_of(verdict, asked.text, neighbour, is_right=is_right, source="shadow")
            assert label is not None
            lane.learn(label)
            labels.append(label)
    return labels
