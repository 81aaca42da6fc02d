"""Whether a runtime computes what the reference computes, on a few texts, before anyone trusts it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from embeddings.base import Embedder, Reading

TEXTS = (
    "How do I reset my password?",
    "How can I reset my password?",
    "What is the capital of France, and since when?",
    "List 3 HTTP status codes (404, 500, ...) as JSON.",
    "hi",
    "Don't turn off the lights in room 12B before 18:30, please: the cleaners come at six.",
    "The quick brown fox jumps over the lazy dog. " * 8,
)


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far a runtime may stray from the reference.

    MiniLM's float32 is off by 6e-7 and 2e-6, its bfloat16 by 0.004 and 0.02; another form of gelu shows.
    """

    score: float  # of any cosine between two of the texts
    state: float  # of the length of a token's state


TOLERANCES = {"float32": Tolerance(2e-5, 1e-4), "bfloat16": Tolerance(0.02, 0.06)}


def disagreement(runtime: Embedder, theirs: Sequence[Reading], tolerance: Tolerance) -> str:
    """What differs too much from a reference's readings of `TEXTS`, in words; empty when nothing does. Their states may
    have been kept in part."""
    ours = runtime.read(TEXTS)
    if [reading.pieces for reading in ours] != [reading.pieces for reading in theirs]:
        return "texts are cut into other pieces"
    scores, right = (np.stack([one.vector for one in readings]) for readings in (ours, theirs))
    off = float(np.abs(scores @ scores.T - right @ right.T).max())
    if not off <= tolerance.score:  # NaN fails this too
        return f"cosines are off by up to {off:.2g}, more than {tolerance.score:g}"
    if not (least := float(np.sum(scores * right, axis=1).min())) >= 1.0 - tolerance.score:
        return f"a vector is turned: its cosine with the right one is {least:.4f}"
    pairs = [(a.states[:, : b.states.shape[1]], b.states) for a, b in zip(ours, theirs, strict=True)]
    states = [np.linalg.norm(a - b, axis=1) for a, b in pairs]
    lengths = [np.linalg.norm(reading.states, axis=1) for reading in theirs]
    strays = float(np.max(np.concatenate(states) / np.maximum(np.concatenate(lengths), 1e-9)))
    return "" if strays <= tolerance.state else f"states of tokens are off by up to {strays:.2g} of their length"
