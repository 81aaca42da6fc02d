"""The semantic tier: has this question been answered in other words?

    embed -> search inside (scope, compat) -> threshold -> guards -> the stored entry

Candidates are tried from the nearest on; a refused one gives way to the next. When none may be served, the answer of
a near one may still be of use: as a draft, which the model checks and which so cannot change what it says.

The store is the truth: the index is rebuilt from it at start, and an id the store no longer knows is dropped from the
index when it is met. An entry is stored first and learned behind it, in the time that lookups leave; `catch_up` learns
what a crash, a failure, a start or another embedder left without a vector.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import numpy as np

from embeddings.base import DoesNotFit, EmbedderError, Vector
from embeddings.batcher import EmbeddingBatcher
from embeddings.guards import first_refusal
from embeddings.index import VectorIndex
from gateway.answers.base import Answers, CacheError, Entry, Unembedded
from gateway.canonical import Fingerprints

log = logging.getLogger(__name__)

CANDIDATES = 8
NEAR_ENOUGH = 0.75  # similarity from which an answer that may not be served is worth drafting from
CATCH_UP_TOGETHER = 64  # questions on their way at once: a few batches ahead of the embedder


@dataclass(frozen=True, slots=True)
class Match:
    """A stored answer to other words that may be served."""

    entry: Entry
    similarity: float


@dataclass(frozen=True, slots=True)
class NoMatch:
    """Why nothing may be served; `similarity` of the nearest candidate if there was one, and a near one's answer."""

    reason: str
    similarity: float | None = None
    near_answer: str = ""


class Semantic:
    """Finds and remembers questions. Index and searches belong to the event loop; the embedder has its own thread."""

    def __init__(self, answers: Answers, batcher: EmbeddingBatcher, new_index: Callable[[int], VectorIndex]) -> None:
        self._answers = answers
        self._batcher = batcher
        self._new_index = new_index
        self._index: VectorIndex | None = None
        self._fingerprint = ""
        self._is_behind = False  # something in the store may lack a vector

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
        self._is_behind = True  # nobody knows what was left behind before this start
        log.info("semantic index ready: %d vectors of %s", len(index), embedder.fingerprint)

    async def find(
        self, fp: Fingerprints, question: str, *, min_similarity: float, is_usable: Callable[[Entry], bool]
    ) -> Match | NoMatch:
        """The nearest stored question that may share its answer. Raises `CacheError` when the embedder fails."""
        if self._index is None:
            return NoMatch("index_loading")
        if self._index.is_empty(fp.partition):
            return NoMatch("no_candidates")
        vector = await self._embed(question, is_patient=False)
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
        reason, near_answer = "no_candidates", ""
        for candidate in self._index.search(fp.partition, vector, CANDIDATES):
            best = candidate.similarity if best is None else best
            is_too_far = candidate.similarity < min_similarity
            if is_too_far and (near_answer or candidate.similarity < NEAR_ENOUGH):
                return NoMatch("below_threshold" if reason == "no_candidates" else reason, best, near_answer)
            entry = await self._answers.by_id(fp.scope, candidate.id)
            if entry is None or entry.compat != fp.compat or entry.question is None:
                self._index.remove(fp.partition, candidate.id)  # evicted or replaced behind the index's back
                continue
            if candidate.similarity >= NEAR_ENOUGH:
                near_answer = near_answer or entry.completion.text
            if is_too_far:
                return NoMatch("below_threshold" if reason == "no_candidates" else reason, best, near_answer)
            refusal = "expired" if not is_usable(entry) else _refusal(question, entry.question)
            if refusal is None:
                return Match(entry, candidate.similarity)
            reason = refusal
        return NoMatch(reason, best, near_answer)

    async def learn(self, row: Unembedded) -> None:
        """Let other wordings of a stored entry's question find it. Raises `CacheError`; `catch_up` tries again then."""
        if self._index is None:
            return  # whatever is in the store by the time there is an index, `catch_up` will find
        try:
            await self._learn(self._index, row)
        except CacheError:
            self._is_behind = True
            raise

    async def catch_up(self) -> None:
        """Learn what is stored without a vector of this embedder. Raises `CacheError` when the store cannot be read.

        Costs nothing when nothing was left behind since the last time.
        """
        if self._index is None or not self._is_behind:
            return
        self._is_behind = False
        learned = failed = 0
        try:
            async for rows in _batched(self._answers.unembedded(self._fingerprint), CATCH_UP_TOGETHER):
                outcomes = await asyncio.gather(*(self._relearn(self._index, row) for row in rows))
                learned, failed = learned + sum(outcomes), failed + len(rows) - sum(outcomes)
        except CacheError:
            self._is_behind = True
            raise
        if learned or failed:
            log.info("%d questions learned that had no vector of this embedder, %d failed", learned, failed)

    async def _relearn(self, index: VectorIndex, row: Unembedded) -> bool:
        """What fails again is left to the next start: a text the model chokes on must not be tried for ever."""
        try:
            await self._learn(index, row)
        except CacheError as error:
            log.debug("entry %s still lacks a vector: %s", row.id, error)
            return False
        return True

    async def _learn(self, index: VectorIndex, row: Unembedded) -> None:
        vector = await self._embed(row.question, is_patient=True)
        if vector is not None:
            index.add(row.scope + row.compat, row.id, vector)  # before the store: it is served although that fails
        raw = b"" if vector is None else vector.astype("<f4").tobytes()
        await self._answers.set_vector(row, self._fingerprint, raw)

    async def _embed(self, question: str, *, is_patient: bool) -> Vector | None:
        try:
            return await self._batcher.embed(question, is_patient=is_patient)
        except DoesNotFit:
            return None
        except EmbedderError as error:
            raise CacheError(str(error)) from error

    async def close(self) -> None:
        await self._batcher.close()


def _refusal(question: str, stored: str) -> str | None:
    guard = first_refusal(question, stored)
    return None if guard is None else f"guard_{guard}"


async def _batched(rows: AsyncIterator[Unembedded], size: int) -> AsyncIterator[list[Unembedded]]:
    """Rows that are still of use, `size` at a time."""
    batch: list[Unembedded] = []
    async for row in rows:
        if row.expires_s is None or time.time() < row.expires_s:
            batch.append(row)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
