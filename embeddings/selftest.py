"""A look at an embedder before anyone trusts it.

A wrong pooling, a missing prefix or a half-loaded model still returns vectors; they say that everything resembles
everything, and a cache on top of them answers every question with the first answer it ever stored.
"""

import numpy as np

from embeddings.base import Embedder, EmbedderError

SAME = (
    ("How do I reset my password?", "How can I reset my password?"),
    ("What is the capital of France?", "Tell me the capital of France."),
)
DIFFERENT = (
    ("How do I reset my password?", "What is the capital of France?"),
    ("Write a poem about the sea.", "Which port does PostgreSQL listen on?"),
    ("What is 21+1?", "Who painted the ceiling of the Sistine Chapel?"),
)
SAME_AT_LEAST = 0.6
DIFFERENT_AT_MOST = 0.9  # some honest models say 0.7 to 0.85 of unrelated texts
MARGIN_AT_LEAST = 0.1  # of the least alike same pair over the most alike different pair
LENGTH_TOLERANCE = 1e-3


def self_test(embedder: Embedder) -> None:
    """Embed a few known pairs; raise `EmbedderError` when no threshold could work on the result."""
    pairs = (*SAME, *DIFFERENT)
    vectors = embedder.embed([text for pair in pairs for text in pair])
    if vectors.shape != (2 * len(pairs), embedder.dim) or vectors.dtype != np.float32:
        raise EmbedderError(f"{2 * len(pairs)} texts gave {vectors.shape} {vectors.dtype}, dim is {embedder.dim}")
    lengths = np.linalg.norm(vectors, axis=1)
    if not np.all(np.abs(lengths - 1.0) <= LENGTH_TOLERANCE):  # NaN fails this too
        raise EmbedderError(f"vectors are not of length 1: {lengths.min():.3f} to {lengths.max():.3f}")
    scores = np.sum(vectors[0::2] * vectors[1::2], axis=1)
    same, different = float(scores[: len(SAME)].min()), float(scores[len(SAME) :].max())
    if same < SAME_AT_LEAST or different > DIFFERENT_AT_MOST or same - different < MARGIN_AT_LEAST:
        raise EmbedderError(f"the embedder cannot tell texts apart: same {same:.3f}, different {different:.3f}")
