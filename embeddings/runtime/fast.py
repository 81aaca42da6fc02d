"""An embedder over a forward of ours."""

from collections.abc import Iterator, Sequence

import numpy as np

from embeddings.base import EmbedderError, Reading, Vectors
from embeddings.runtime.forward import Computed, Forward
from embeddings.runtime.tokens import Tokenized, Tokens
from embeddings.wording import VERSION as WORDING
from embeddings.wording import settled

VERSION = "bert1"  # part of the fingerprint: changes when the same weights give other numbers, more than 1e-6 apart
TOKENS_TOGETHER = 128  # of one forward: more are hardly faster, and their memory stays


class FastEmbedder:
    """Embed by our own forward; the texts of a batch by length, without padding. Any thread may call it."""

    def __init__(self, forward: Forward, tokens: Tokens, *, name: str, dim: int, fingerprint: str) -> None:
        self.name = name
        self.dim = dim
        self.fingerprint = fingerprint
        self.max_tokens = tokens.max_tokens
        self._forward = forward
        self._tokens = tokens

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Vectors of `texts`, float32, shape (len(texts), dim), each of length 1."""
        vectors = np.empty((len(texts), self.dim), np.float32)
        for places, _, computed in self._computed(texts):
            vectors[places] = computed.pooled
        return vectors

    def read(self, texts: Sequence[str]) -> list[Reading]:
        """The same vectors, with the word pieces of every text and their last hidden states."""
        found: dict[int, Reading] = {}
        for places, tokenized, computed in self._computed(texts):
            for place, tokens, vector, states in zip(places, tokenized, computed.pooled, computed.states, strict=True):
                found[place] = Reading(texts[place], vector, tokens.pieces, states[tokens.places])
        return [found[place] for place in range(len(texts))]

    def fits(self, text: str) -> bool:
        """Whether the model sees the whole text: not too long, and no letter or digit unknown to it."""
        return len(text) <= 32 * self.max_tokens and self._tokens.fits(settled(text))

    def num_tokens(self, text: str) -> int:
        """How many tokens the model reads of a text."""
        return len(self._tokens.encode(settled(text)).ids)

    def _computed(self, texts: Sequence[str]) -> Iterator[tuple[list[int], list[Tokenized], Computed]]:
        """Some texts at a time, those of like lengths together."""
        tokenized = [self._tokens.encode(settled(text)) for text in texts]
        for places in together([len(tokens.ids) for tokens in tokenized], TOKENS_TOGETHER):
            some = [tokenized[place] for place in places]
            try:
                yield places, some, self._forward([tokens.ids for tokens in some])
            except (RuntimeError, IndexError) as exc:
                raise EmbedderError(f"{self.name} failed on {len(some)} texts: {exc}") from exc


def together(lengths: Sequence[int], most: int) -> Iterator[list[int]]:
    """Where texts of these lengths stand, shortest first, in parts of up to `most` tokens or of one text."""
    part: list[int] = []
    total = 0
    for place in sorted(range(len(lengths)), key=lambda n: lengths[n]):
        if part and total + lengths[place] > most:
            yield part
            part, total = [], 0
        part.append(place)
        total += lengths[place]
    if part:
        yield part


def fingerprint_of(name: str, digest: str, arithmetic: str, dim: int, pooling: str, max_tokens: int) -> str:
    """Vectors of two fingerprints never meet."""
    return f"{name}:{digest}:{arithmetic}:{dim}:{pooling}:{max_tokens}:{WORDING}"
