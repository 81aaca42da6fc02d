"""What a batch of texts becomes: vectors or readings, checked, read-only, each with memory of its own.

A row that was a view would keep its whole batch alive in a memo; and everyone shares what a memo holds.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from embeddings.base import Embedder, EmbedderError, Reading, Vector, Vectors

Outcome = Reading | Vector  # with a reading comes its vector


def outcomes_of(embedder: Embedder, texts: Sequence[str], *, is_read: bool) -> Sequence[Outcome]:
    """One per text, in order. Raises `EmbedderError` when the embedder gave something else than it promises."""
    if not is_read:
        return [_shared(row) for row in _checked(embedder.embed(texts), len(texts), embedder.dim)]
    readings = embedder.read(texts)
    _checked(np.stack([reading.vector for reading in readings]), len(texts), embedder.dim)
    return [_own(reading, embedder.dim) for reading in readings]


def _own(reading: Reading, dim: int) -> Reading:
    states = reading.states
    if states.shape != (len(reading.pieces), dim) or not np.isfinite(states).all():
        raise EmbedderError(f"{len(reading.pieces)} pieces have states of shape {states.shape}, or with NaN")
    return replace(reading, vector=_shared(reading.vector), states=_shared(states))


def _shared(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    copy = np.array(rows, np.float32)
    copy.setflags(write=False)
    return copy


def _checked(vectors: Vectors, count: int, dim: int) -> Vectors:
    if vectors.shape != (count, dim) or not np.isfinite(vectors).all():
        raise EmbedderError(f"{count} texts gave vectors of shape {vectors.shape}, or with NaN; dim is {dim}")
    return vectors.astype(np.float32, copy=False)
