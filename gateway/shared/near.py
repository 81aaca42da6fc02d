"""What a replica holds near, and how it changes by what others do: memory, vectors, bare forms, looser lane.

Memory forgets first, for all that is told at once and without waiting; then the store is asked about what is new.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, Protocol

from gateway.answers.base import Entry, Gone, unembedded_of
from gateway.answers.redis.removals import selection_of
from gateway.answers.selection import Selection
from gateway.answers.tiered import TieredAnswers
from gateway.ledger import Ledger
from gateway.policy import Rules
from gateway.seal import NO_SEAL, Seal
from gateway.shared.feed import News, Removed

if TYPE_CHECKING:
    from gateway.semantic.tier import Semantic

TOGETHER = 64  # entries that are asked for at once


class Source(Protocol):
    """The common store."""

    def many(self, keys: Sequence[tuple[bytes, bytes]]) -> Awaitable[list[Entry | None]]:
        """The entries under these (scope, exact); None also for one that takes a second look."""

    def peek(self, scope: bytes, exact: bytes) -> Awaitable[Entry | None]: ...

    def heard(self, place: bytes, selection: Selection) -> None:
        """Somebody else removed this, at this place among removals."""


class NearStores:
    """Belongs to one event loop."""

    def __init__(
        self,
        answers: TieredAnswers,
        source: Source,
        semantic: "Semantic | None",
        rules: Rules,
        ledger: Ledger,
        seal: Seal = NO_SEAL,
    ) -> None:
        self._answers = answers
        self._source = source
        self._semantic = semantic
        self._rules = rules
        self._ledger = ledger
        self._seal = seal

    def clear(self) -> None:
        """Keep nothing in memory that others may have changed."""
        self._answers.clear_near()

    async def renew(self) -> None:
        """Compare all that was made from the store with it. Raises `CacheError`."""
        if self._semantic is not None:
            await self._semantic.renew()

    async def forget(self, removed: Sequence[Removed]) -> None:
        """Forget what others remove, whether the store has it or not. All of memory first."""
        gone: list[Gone] = []
        for one in removed:
            selection = selection_of(one.selection, self._seal)
            gone += self._answers.forget_all_near(selection)
            self._source.heard(one.place, selection)
        if self._semantic is not None:
            await self._blank(self._semantic, gone)

    async def apply(self, news: Sequence[News]) -> None:
        """Do as the others did. Raises `CacheError` when the store cannot be asked; memory has forgotten by then."""
        for one in news:
            if one.is_stale:
                is_gone = one.was_removed and not one.is_there  # what was let go may be made anew at any moment
                self._answers.forget_near(one.scope, one.exact, one.id, is_gone=is_gone)
        if self._semantic is None or not news:
            return
        await self._forget(self._semantic, news)
        there = [one for one in news if one.is_there]
        for start in range(0, len(there), TOGETHER):
            some = there[start : start + TOGETHER]
            entries = await self._source.many([(one.scope, one.exact) for one in some])
            for one, found in zip(some, entries, strict=True):
                entry = found or await self._source.peek(one.scope, one.exact)
                if entry is not None:
                    await self._learn(self._semantic, one, entry)

    async def _forget(self, semantic: "Semantic", news: Sequence[News]) -> None:
        semantic.drop(Gone(one.id, one.scope, one.compat) for one in news if one.was_let_go or one.was_removed)
        await self._blank(semantic, [Gone(one.id, one.scope, one.compat) for one in news if one.was_removed])

    async def _blank(self, semantic: "Semantic", removed: Sequence[Gone]) -> None:
        """What was removed on purpose: of labels the words go, too."""
        for start in range(0, len(removed), TOGETHER):
            some = removed[start : start + TOGETHER]
            with self._ledger.best_effort("forget"):
                await asyncio.gather(*(semantic.forget(one.scope, one.compat, one.id) for one in some))

    async def _learn(self, semantic: "Semantic", news: News, entry: Entry) -> None:
        rules = self._rules.of(entry.tenant, entry.model, entry.namespace)
        with self._ledger.best_effort("feed_learn"):
            await semantic.hear(entry, rules, is_new=news.is_stale)
        row = unembedded_of(entry)
        if row is not None and entry.embedder is not None and entry.vector is not None:
            self._answers.set_vector_near(row, entry.embedder, entry.vector)
