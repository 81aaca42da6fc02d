"""The semantic tier: has this question been answered in other words?

    embed -> search inside (scope, compat) -> threshold -> guards -> the stored entry

Candidates are tried from the nearest on; a refused one gives way to the next. The store is the truth: the index is
rebuilt from it at start, and an id the store no longer knows is dropped from the index when it is met.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from embeddings.base import DoesNotFit, EmbedderError, Vector
from embeddings.batcher import EmbeddingBatcher
from embeddings.guards import first_refusal
from embeddings.index import VectorIndex
from gateway.answers.base import Answers, CacheError, Entry
from gateway.canonical import Fingerprints

log = logging.getLogger(__name__)

CANDIDATES = 8


@dataclass(frozen=True, slots=True)
class Match:
    """A stored answer to other words that may be served."""

    entry: Entry
    similarity: float


@dataclass(frozen=True, slots=True)
class NoMatch:
    """Why nothing may be served; `similarity` of the nearest candidate if there was one."""

    reason: str
    similarity: float | None = None


class Semantic:
    """Finds and remembers questions. Index and searches belong to the event loop; the embedder has its own thread."""

    def __init__(self, answers: Answers, batcher: EmbeddingBatcher, new_index: Callable[[int], VectorIndex]) -> None:
        self._answers = answers
        self._batcher = batcher
        self._new_index = new_index
        self._index: VectorIndex | None = None
        self._fingerprint = ""

    @property
    def is_ready(self) -> bool:
        return self._index is not None

    @property
    def num_vectors(self) -> int:
        return len(self._index) if self._index is not None else 0

    async def open(self) -> None:
        """Load the embedder and rebuild the index. Raises `CacheError` when there is no embedder to be had."""
        try:
            embedder = await self._batcher.ready()
        except EmbedderError as error:
            raise CacheError(str(error)) from error
        index = self._new_index(embedder.dim)
        now_s = time.time()
        async for row in self._answers.embedded(embedder.fingerprint):
            if row.expires_s is None or now_s < row.expires_s:
                index.add(row.scope + row.compat, row.id, np.frombuffer(row.vector, dtype="<f4"))
        self._fingerprint = embedder.fingerprint
        self._index = index
        log.info("semantic index ready: %d vectors of %s", len(index), embedder.fingerprint)

    async def find(
        self, fp: Fingerprints, question: str, *, min_similarity: float, is_usable: Callable[[Entry], bool]
    ) -> Match | NoMatch:
        """The nearest stored question that may share its answer. Raises `CacheError` when the embedder fails."""
        if self._index is None:
            return NoMatch("index_loading")
        if self._index.is_empty(fp.partition):
            return NoMatch("no_candidates")
        vector = await self._embed(question)
        if vector is None:
            return NoMatch("question_too_long")
        return await self._choose(fp, question, vector, min_similarity, is_usable)

    async def _choose(
        self,
        fp: Fingerprints,
        question: str,
        vector: Vector,
        min_similarity: float,
        is_usable: Callable[[Entry], bool],
    ) -> Match | NoMatch:
        assert self._index is not None
        best: float | None = None
        reason = "no_candidates"
        for candidate in self._index.search(fp.partition, vector, CANDIDATES):
            best = candidate.similarity if best is None else best
            if candidate.similarity < min_similarity:
                return NoMatch("below_threshold" if reason == "no_candidates" else reason, best)
            entry = await self._answers.by_id(fp.scope, candidate.id)
            if entry is None or entry.compat != fp.compat or entry.question is None:
                self._index.remove(fp.partition, candidate.id)  # evicted or replaced behind the index's back
                continue
            refusal = "expired" if not is_usable(entry) else _refusal(question, entry.question)
            if refusal is None:
                return Match(entry, candidate.similarity)
            reason = refusal
        return NoMatch(reason, best)

    async def vector_of(self, question: str) -> tuple[str, bytes] | None:
        """Embedder fingerprint and vector to store with an entry; None when the text cannot be compared."""
        if self._index is None:
            return None
        vector = await self._embed(question)
        return None if vector is None else (self._fingerprint, vector.astype("<f4").tobytes())

    def remember(self, entry: Entry) -> None:
        """Let other wordings of this entry's question find it."""
        if self._index is None or entry.vector is None or entry.embedder != self._fingerprint:
            return
        self._index.add(entry.scope + entry.compat, entry.id, np.frombuffer(entry.vector, dtype="<f4"))

    async def _embed(self, question: str) -> Vector | None:
        try:
            return await self._batcher.embed(question)
        except DoesNotFit:
            return None
        except EmbedderError as error:
            raise CacheError(str(error)) from error

    async def close(self) -> None:
        await self._batcher.close()


def _refusal(question: str, stored: str) -> str | None:
    guard = first_refusal(question, stored)
    return None if guard is None else f"guard_{guard}"
