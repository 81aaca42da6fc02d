"""An embedder without a model: character n-grams, hashed. For tests and for installs without torch."""

import unicodedata
from collections.abc import Iterator, Sequence
from hashlib import blake2b

import numpy as np

from embeddings.base import Reading, Vector, Vectors

NGRAMS = (2, 3, 4)


class HashingEmbedder:
    """Embed by counting hashed character n-grams: sees spelling, not meaning. The same everywhere, for ever."""

    def __init__(self, dim: int = 256) -> None:
        if dim < 8:
            raise ValueError(f"dim {dim} is under 8")
        self.dim = dim
        self.fingerprint = f"hashing-v1:{'-'.join(map(str, NGRAMS))}grams:float32:{dim}"

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Vectors of `texts`, float32, shape (len(texts), dim), each of length 1."""
        if not texts:
            return np.empty((0, self.dim), np.float32)
        return np.stack([self._one(text) for text in texts])

    def read(self, texts: Sequence[str]) -> list[Reading]:
        """The same vectors, with the words of every text and the vector of each."""
        return [self._read(text) for text in texts]

    def fits(self, text: str) -> bool:  # noqa: ARG002
        """Every text fits."""
        return True

    def _read(self, text: str) -> Reading:
        words = tuple(_words(text))
        states = np.stack([self._one(word) for word in words]) if words else np.empty((0, self.dim), np.float32)
        return Reading(text, self._one(text), words, states)

    def _one(self, text: str) -> Vector:
        counts = np.zeros(self.dim, np.float32)
        for gram in _grams(text):
            number = int.from_bytes(blake2b(gram.encode(), digest_size=8).digest(), "little")
            counts[(number >> 1) % self.dim] += 1.0 if number & 1 else -1.0
        if not counts.any():
            counts[0] = 1.0  # signs may cancel; a unit vector is promised all the same
        return counts / np.linalg.norm(counts)


def _grams(text: str) -> Iterator[str]:
    """N-grams of every word with its edges marked; an empty text has one of its own."""
    for word in _words(text) or [""]:
        marked = f"\x02{word}\x03"
        for n in NGRAMS:
            yield from (marked[i : i + n] for i in range(len(marked) - n + 1))


def _words(text: str) -> list[str]:
    return unicodedata.normalize("NFKC", text).casefold().encode("utf-8", "replace").decode().split()
