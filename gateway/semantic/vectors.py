"""The index of stored questions, kept true to the store.

The store is the truth: the index is rebuilt from it at start (`filling.py`), and an id the store no longer knows is
dropped from the index when it is met. An entry is stored first and learned behind it, in the time that lookups leave;
`catch_up` learns what a crash, a failure, a start or another embedder left without a vector, and goes on with an index
that could not be filled.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Protocol

import numpy as np

from embeddings.base import DoesNotFit, EmbedderError, Reading, Vector
from embeddings.batcher import EmbeddingBatcher
from embeddings.index import Candidate, VectorIndex
from gateway.answers.base import Answers, CacheError, Embedded, Unembedded
from gateway.metrics import Sample
from gateway.semantic.agreement import Agreement
from gateway.semantic.filling import Filling
from gateway.semantic.orphans import Orphans

log = logging.getLogger(__name__)

CATCH_UP_TOGETHER = 64  # questions on their way at once: a few batches ahead of the embedder
MOST_EARLY = 4096  # vectors of others that are kept until there is an index; past them all are compared


class Beyond(Protocol):
    """Where vectors are searched that have no room in memory."""

    def open(self, fingerprint: str, dim: int) -> None:
        """Take vectors of this embedder from now on."""

    async def close(self) -> None: ...

    def keep(self, partition: bytes, id: str, vector: Vector) -> bool:
        """Take a vector; False when it is not wanted."""

    def drop(self, partition: bytes, id: str) -> None: ...

    def has(self, partition: bytes) -> bool:
        """Whether a search of the partition has to look here, too."""

    async def search(self, partition: bytes, vector: Vector, k: int) -> list[Candidate]:
        """The nearest, by a similarity that is about right. Raises `CacheError`."""

    def samples(self) -> Sequence[Sample]: ...


class Vectors:
    """Vectors of stored questions. Belongs to the event loop; the embedder has its own thread."""

    def __init__(
        self,
        answers: Answers,
        batcher: EmbeddingBatcher,
        new_index: Callable[[int], VectorIndex],
        beyond: Beyond | None = None,
        orphans: Orphans | None = None,
        keep: Callable[[bytes, str, Reading], None] | None = None,
    ) -> None:
        """`keep` is given the reading of every question that gets a vector here, with its scope and its name."""
        self.fingerprint = ""  # of the embedder, once there is one
        self.opening = "not begun"  # how far it is with what has to be done before anything can be found
        self.lacking = ""  # why the index has not all that the store has; empty: it has, or is being filled
        self.num_slow = 0  # large partitions where nothing is looked for until their lists are made
        self._answers = answers
        self._batcher = batcher
        self._new_index = new_index
        self._beyond = beyond
        self._keep = keep
        self._index: VectorIndex | None = None
        self._filling: Filling | None = None
        self._is_whole = False  # all that the store held at the start was read: what is not here is nowhere
        self._agreement: Agreement | None = None
        self._is_behind = False  # something in the store may lack a vector
        self._is_doubtful = False  # the index may lack what the store has
        self._orphans = Orphans() if orphans is None else orphans  # heard of, and without a vector yet
        self._early: list[tuple[Embedded, str]] = []  # heard of before there was an index

    def __len__(self) -> int:
        return len(self._index) if self._index is not None else 0

    @property
    def is_ready(self) -> bool:
        return self._index is not None

    async def open(self, loaded: Callable[[], None] | None = None) -> None:
        """Load the embedder and fill the index; what is read is found at once. `loaded` does what has to be done before
        anything can be. Raises `CacheError` when there is no embedder to be had."""
        self.opening, began_s = "the embedder is being loaded", time.monotonic()
        try:
            embedder = await self._batcher.ready()
        except EmbedderError as error:
            raise CacheError(str(error)) from error
        index = self._new_index(embedder.dim)
        if self._beyond is not None:
            self._beyond.open(embedder.fingerprint, embedder.dim)
            index.pass_on = self._beyond.keep
        self.fingerprint = embedder.fingerprint
        filling = Filling(index, self._answers, embedder.fingerprint, self._tell)
        await filling.open()
        if loaded is not None:
            loaded()
        self._take(index, filling)
        try:
            await self._fill(filling)
        except CacheError as error:
            log.warning("the semantic index is not whole, %d vectors are there: %s", len(index), error)
        self._agreement = Agreement(self._answers, index, embedder.fingerprint)
        self._is_behind = True  # nobody knows what was left behind before this start
        took_s = time.monotonic() - began_s
        self._settle(index)
        log.info("semantic index ready after %.1f s: %d vectors of %s", took_s, len(index), embedder.fingerprint)

    async def _fill(self, filling: Filling) -> None:
        """Read what the index lacks. Raises `CacheError` when the store fails; `catch_up` tries again then."""
        try:
            await filling.run()
        except CacheError as error:
            self.lacking = str(error)
            raise
        self.lacking, self._is_whole = "", True

    def _take(self, index: VectorIndex, filling: Filling) -> None:
        """Let what is in it be found, and put into it what was heard of before."""
        self._index, self._filling = index, filling
        early, self._early = self._early, []
        for row, fingerprint in early:
            self.hear(row, fingerprint)

    async def _complete(self, index: VectorIndex, agreement: Agreement) -> None:
        """Go on with an index that could not be filled. Raises `CacheError` when the store fails again."""
        if self._filling is None or self._is_whole:
            return
        await self._fill(self._filling)
        agreement.live_rows = len(index)
        self._settle(index)
        log.info("the semantic index is whole: %d vectors", len(index))

    def _tell(self, opening: str) -> None:
        self.opening = opening

    def _settle(self, index: VectorIndex) -> None:
        """Take over what the background has made; say where much is still to come."""
        before = self.num_slow
        index.settle()
        self.num_slow = index.num_slow
        if self.num_slow and not before:  # of a million rows, when nothing is kept of their lists, for a minute
            log.warning(
                "%d large partitions have no lists yet: until then there are exact hits, and hits by bare form, only",
                self.num_slow,
            )
        elif before and not self.num_slow:
            log.info("the lists of all large partitions are made")

    async def close(self) -> None:
        """Keep what the index was trained to."""
        index, self._index = self._index, None
        if self._beyond is not None:
            await self._beyond.close()
        if index is not None:
            await asyncio.to_thread(index.close)

    def samples(self) -> Iterator[Sample]:
        """What the index holds, for Prometheus."""
        if self._index is None or self._agreement is None:
            return
        live = self._agreement.live_rows
        yield Sample(
            "twicetold_index_live_rows",
            "Vectors the store holds: as last compared with the index, and known since",
            live,
        )
        help_ = "Large partitions whose first lists are being made: exact hits, and hits by bare form, only"
        yield Sample("twicetold_index_slow_partitions", help_, self.num_slow)
        yield Sample("twicetold_index_bytes", "Memory the vector index takes, about", self._index.nbytes)
        help_ = (
            "Vectors let go for want of memory: their answers are found by exact requests only, or in the shared Redis"
        )
        yield Sample("twicetold_index_let_go", help_, self._index.num_let_go, (), True)
        if self._beyond is not None:
            yield from self._beyond.samples()

    def is_empty(self, partition: bytes) -> bool:
        """Whether nothing can be found there: then a question need not be embedded to be looked for."""
        is_known = self._index is None or (self._is_whole and self._index.is_empty(partition))
        return is_known and not self.is_beyond(partition)

    def is_beyond(self, partition: bytes) -> bool:
        """Whether memory had no room for some of it, and it is searched elsewhere, too."""
        return self._beyond is not None and self._beyond.has(partition)

    def is_slow(self, partition: bytes) -> bool:
        """Whether nothing can be found there yet: it was not read so far, or is large and its lists are being made."""
        if self._index is None:
            return False
        if not self._is_whole and self._index.is_empty(partition) and not self.is_beyond(partition):
            return True
        return self._index.is_slow(partition)

    def search(self, partition: bytes, vector: Vector, k: int) -> list[Candidate]:
        """The up to `k` nearest of the partition, nearest first."""
        return self._index.search(partition, vector, k) if self._index is not None else []

    async def search_beyond(self, partition: bytes, vector: Vector, k: int) -> list[Candidate]:
        """The nearest of what memory had no room for; their similarities are about right. Raises `CacheError`."""
        return await self._beyond.search(partition, vector, k) if self._beyond is not None else []

    def drop(self, partition: bytes, entry_id: str) -> None:
        """Forget what the store no longer knows."""
        if self._beyond is not None:
            self._beyond.drop(partition, entry_id)
        if self._index is not None and self._index.remove(partition, entry_id):
            self._count(-1)

    async def remember(self, row: Unembedded) -> Vector | None:
        """Let other wordings of a stored entry's question find it; its vector, if the embedder sees it whole. Raises
        `CacheError`; `catch_up` tries again then."""
        if self._index is None:
            return None  # whatever is in the store by the time there is an index, `catch_up` will find
        try:
            return await self._remember(self._index, row)
        except CacheError:
            self._is_behind = True
            raise

    def expect(self, scope: bytes, entry_id: str) -> None:
        """Somebody else stored a question, and will give it a vector; if not, `catch_up` does."""
        self._orphans.expect(scope, entry_id)

    def settle(self, scope: bytes, entry_id: str) -> None:
        """It has one, or the embedder cannot see it, or it is gone."""
        self._orphans.settle(scope, entry_id)

    def hear(self, row: Embedded, embedder: str) -> Vector | None:
        """Somebody else gave an entry its vector: find it here, too. The vector, if it is one of this embedder."""
        if self._index is None:
            self._is_doubtful |= len(self._early) >= MOST_EARLY
            if not self._is_doubtful:
                self._early.append((row, embedder))
            return None
        if embedder != self.fingerprint or (row.expires_s is not None and row.expires_s <= time.time()):
            return None
        partition, vector = row.scope + row.compat, np.frombuffer(row.vector, dtype="<f4")
        self._count(not self._index.has(partition, row.id))
        self._index.add(partition, row.id, vector)
        return vector

    async def renew(self) -> None:
        """Compare the whole index with the store, and put it right. Raises `CacheError`."""
        if self._index is None or self._agreement is None:
            self._is_doubtful = True
            return
        await self._complete(self._index, self._agreement)
        await self._agreement.look(is_thorough=True)
        self._is_doubtful, self._is_behind = False, True

    async def catch_up(self) -> None:
        """Learn what is stored without a vector of this embedder. Raises `CacheError` when the store cannot be read.

        Costs nothing when nothing was left behind since the last time, and it is not yet time to look at all again.
        """
        if self._index is None or self._agreement is None:
            return
        self._settle(self._index)
        await self._complete(self._index, self._agreement)
        await (self.renew() if self._is_doubtful else self._agreement.look_when_due())
        if not self._orphans.are_overdue() and not self._is_behind:
            return
        self._is_behind = False
        learned = failed = 0
        try:
            async for rows in _batched(self._answers.unembedded(self.fingerprint), CATCH_UP_TOGETHER):
                outcomes = await asyncio.gather(*(self._try(self._index, row) for row in rows))
                learned, failed = learned + sum(outcomes), failed + len(rows) - sum(outcomes)
        except CacheError:
            self._is_behind = True
            raise
        if learned or failed:
            log.info("%d questions learned that had no vector of this embedder, %d failed", learned, failed)

    async def _try(self, index: VectorIndex, row: Unembedded) -> bool:
        """What fails again is left to the next start: a text the model chokes on must not be tried for ever."""
        try:
            await self._remember(index, row)
        except CacheError as error:
            log.debug("entry %s still lacks a vector: %s", row.id, error)
            return False
        return True

    async def _remember(self, index: VectorIndex, row: Unembedded) -> Vector | None:
        partition = row.scope + row.compat
        try:
            reading = await self._reading(row)
        except DoesNotFit:
            reading = None
        except EmbedderError as error:
            raise CacheError(str(error)) from error
        vector = None if reading is None else reading.vector
        if vector is not None:
            self._count(not index.has(partition, row.id))
            index.add(partition, row.id, vector)  # before the store: it is served although that fails
        raw = b"" if vector is None else vector.astype("<f4").tobytes()
        if not await self._answers.set_vector(row, self.fingerprint, raw):
            self.drop(partition, row.id)  # it was removed while the embedder was at work
        elif reading is not None and self._keep is not None:
            self._keep(row.scope, row.id, reading)
        return vector

    async def _reading(self, row: Unembedded) -> Reading:
        """A stored question as the embedder sees it: what it makes of the pieces comes with the vector."""
        (reading,) = await self._batcher.read([row.question], is_patient=True)
        return reading

    def _count(self, rows: int) -> None:
        if self._agreement is not None:
            self._agreement.live_rows = max(0, self._agreement.live_rows + rows)


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
