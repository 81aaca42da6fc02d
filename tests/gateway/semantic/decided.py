"""What a whole lane makes of labels and questions, as JSON: `python -m tests.gateway.semantic.decided`."""

import json
import sys

from embeddings.base import Reading
from embeddings.control import Lane, Neighbour, Verdict, label_of
from embeddings.hashing import HashingEmbedder
from embeddings.verifier import load_verifier
from gateway.semantic.minds import TwoMinds
from tests.gateway.semantic.pairs import WISHES, pairs

NEAR = 5


def verdicts() -> list[dict[str, object]]:
    """Every question among those before it, by a lane that hears what came of each."""
    embedder = HashingEmbedder()
    lane = Lane(TwoMinds(load_verifier(embedder.fingerprint)), target=0.05, shadow_rate=0.2, seed=b"s")
    known: list[Neighbour] = []
    said = []
    for number, (a, b, is_right) in enumerate(pairs(120)):
        question, stored = embedder.read([a, b])
        known.append(Neighbour(f"e_{number}", stored, 0.0, answer_of(b)))
        near = nearest(question, known)
        verdict = lane.decide(question, near)
        said.append(_told(verdict))
        label = label_of(verdict, a, verdict.neighbour or near[0], is_right=is_right, source="shadow")
        if label is not None:
            lane.learn(label)
    return said


def answer_of(question: str) -> bytes:
    """One for each wish."""
    return next(wish for wish in WISHES if wish in question).encode()


def nearest(question: Reading, known: list[Neighbour]) -> list[Neighbour]:
    """Those most similar, the surest first."""
    found = [Neighbour(one.id, one.reading, float(question.vector @ one.reading.vector), one.answer) for one in known]
    return sorted(found, key=lambda one: (-one.similarity, one.id))[:NEAR]


def _told(verdict: Verdict) -> dict[str, object]:
    looked = [(one.id, one.refusal, one.probability, one.features) for one in verdict.looked]
    return {"action": verdict.action, "chosen": verdict.chosen, "threshold": verdict.threshold, "looked": looked}


if __name__ == "__main__":
    json.dump(verdicts(), sys.stdout)
