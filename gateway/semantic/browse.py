"""Looking through everything that is stored for what means about the same: for a person who searches, not for a hit.

A hit is looked for inside one (scope, compat); here all vectors of the store are compared, page by page as the store
gives them, for as long as a person likes to wait. Nothing is decided by it.
"""

import asyncio
import heapq
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import numpy as np

from embeddings.base import DoesNotFit, EmbedderError, Vector
from embeddings.batcher import EmbeddingBatcher
from gateway.answers.base import Answers, CacheError, Embedded

BUDGET_S = 5.0  # about 400,000 vectors
TOGETHER = 2048  # compared at once


@dataclass(frozen=True, slots=True)
class Near:
    """A stored question and how near it is."""

    similarity: float
    scope: bytes
    id: str


@dataclass(frozen=True, slots=True)
class Browsed:
    """The nearest first; `searched` of the stored vectors were compared, all of them if `is_whole`."""

    near: list[Near]
    searched: int
    is_whole: bool


async def browse(answers: Answers, batcher: EmbeddingBatcher, text: str, k: int, budget_s: float = BUDGET_S) -> Browsed:
    """The `k` stored questions nearest to `text`. Raises `CacheError`."""
    until_s = time.monotonic() + budget_s
    try:
        embedder = await batcher.ready()
        vector = await batcher.embed(text)
    except DoesNotFit as error:
        raise CacheError("the text is longer than the embedder can see") from error
    except EmbedderError as error:
        raise CacheError(str(error)) from error
    best: list[tuple[float, str, bytes]] = []
    searched = 0
    async for rows in _together(answers.embedded(embedder.fingerprint)):
        best = await asyncio.to_thread(_best, best, rows, vector, k)
        searched += len(rows)
        if time.monotonic() > until_s:
            return Browsed(_sorted(best), searched, is_whole=False)
    return Browsed(_sorted(best), searched, is_whole=True)


async def _together(rows: AsyncIterator[Embedded]) -> AsyncIterator[list[Embedded]]:
    some: list[Embedded] = []
    async for row in rows:
        some.append(row)
        if len(some) == TOGETHER:
            yield some
            some = []
    if some:
        yield some


def _best(
    before: list[tuple[float, str, bytes]], rows: list[Embedded], vector: Vector, k: int
) -> list[tuple[float, str, bytes]]:
    width = vector.nbytes
    rows = [row for row in rows if len(row.vector) == width]
    if not rows:
        return before
    stored = np.frombuffer(b"".join(row.vector for row in rows), dtype="<f4").reshape(len(rows), -1)
    similarities = stored @ vector
    found = ((float(similarities[at]), rows[at].id, rows[at].scope) for at in np.argsort(-similarities)[:k])
    return heapq.nlargest(k, (*before, *found))


def _sorted(best: list[tuple[float, str, bytes]]) -> list[Near]:
    return [Near(min(similarity, 1.0), scope, id) for similarity, id, scope in sorted(best, reverse=True)]
