"""What every embedder is: texts in, unit vectors out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]  # shape (dim,), length 1
Vectors = NDArray[np.float32]  # shape (n, dim), rows of length 1


class EmbedderError(Exception):
    """A text could not be embedded. Whoever asked goes on without similarity."""


class DoesNotFit(EmbedderError):
    """The model would not see the whole text; its vector must not be compared."""


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """A text as the model saw it: its vector, and what it made of every piece. Arrays are shared: do not write."""

    text: str
    vector: Vector
    pieces: tuple[str, ...]  # without the marks a model puts at both ends; may be empty
    states: NDArray[np.float32]  # shape (len(pieces), dim)

    @property
    def size_bytes(self) -> int:
        """What keeping it costs, roughly."""
        return self.states.nbytes + self.vector.nbytes + 64 * len(self.pieces) + 4 * len(self.text) + 256


class Embedder(Protocol):
    """Turns texts into vectors whose inner product is the cosine. Synchronous; the batcher owns the thread."""

    dim: int
    fingerprint: str  # model, revision, precision, dimension, pooling: vectors of two fingerprints never meet

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Vectors of `texts`, float32, shape (len(texts), dim), each of length 1."""

    def read(self, texts: Sequence[str]) -> list[Reading]:
        """The same vectors, with the pieces of every text and their states."""

    def fits(self, text: str) -> bool:
        """Whether the whole text is seen by the model; what does not fit must not be compared. Any thread may ask."""
