"""The hands of the engine: slabs, the KV cache and the decoder. It does what a plan says and decides nothing.

The last bits of a product depend on how many rows it has. That seldom changes a greedy token in float32, and now and
then does in bfloat16. In exact mode every row is computed in the same company, hit or no hit, alone or under load:
only whole chunks of prompts are kept, hits end at chunks, and sequences decode together only where the decoder says
that this changes no bit.
"""

from collections.abc import Iterator
from collections.abc import Sequence as Many
from contextlib import contextmanager

import torch

from backends.local.decoder.base import TOKEN_DIM, Decoder, Span
from backends.local.engine.scheduler import Chunk
from backends.local.engine.sequence import Sequence
from backends.local.engine.slabs import SPARE_BYTES, Rows, Slabs
from backends.local.memory import is_out_of_memory
from kvtier.cache import Erasing, KVCache
from kvtier.keys import pack

WARM_ROWS = (64, 1)  # a short chunk of a prompt, a decode step


class Runner:
    """Owns the slabs of the running sequences and the blocks of past ones."""

    def __init__(
        self,
        decoder: Decoder,
        cache: KVCache,
        *,
        exact_chunk: int | None = None,
        warm_tokens: int = 0,
        spare_bytes: int = SPARE_BYTES,
    ) -> None:
        """`exact_chunk` is the size of prefill chunks when bits must not depend on hits, else None.

        For a first sequence of up to `warm_tokens` everything is made ready now. Slabs of up to `spare_bytes` are kept.
        """
        self.cache = cache
        self._decoder = decoder
        self._exact_chunk = exact_chunk
        self._memory = Slabs(decoder, spare_bytes)
        self._slabs: dict[Sequence, torch.Tensor] = {}
        self._warm(warm_tokens)

    def _warm(self, num_tokens: int) -> None:
        """Touch memory and weights, and have products compiled: the first forward takes up to seven times as long."""
        self._memory.warm(num_tokens)
        slab, _ = self._memory.take(num_tokens and 1)
        for rows in WARM_ROWS:
            if rows <= slab.shape[TOKEN_DIM]:
                self._decoder.forward([Span([0] * rows, slab, 0)])
        self._memory.give_back(slab)

    def prefetch(self, sequence: Sequence, *, limit: int | None = None) -> None:
        """Begin to load from slower tiers what RAM does not hold of a sequence's prefix."""
        if sequence.chain is not None:
            sequence.prefetched = self.cache.prefetch(
                sequence.chain,
                sequence.token_ids,
                limit=self._limit(sequence) if limit is None else limit,
                multiple_of=self._exact_chunk or 1,
            )

    def hydrate(self, sequence: Sequence, capacity: int, *, limit: int | None = None) -> None:
        """Give a sequence a slab with the longest kept prefix, of `limit` tokens or all but the last."""
        sequence.num_computed = sequence.num_published = 0
        if sequence.chain is not None:
            self._load(sequence, capacity, self._limit(sequence) if limit is None else limit)
        else:
            self._slabs[sequence], _ = self._memory.take(capacity)
        sequence.capacity = capacity
        if sequence.num_cached is None:
            sequence.num_cached = sequence.num_computed

    def _limit(self, sequence: Sequence) -> int:
        """Up to where a hit may reach. In exact mode what was decoded is not to be had from a prompt."""
        known = sequence.num_tokens - 1
        return known if self._exact_chunk is None else min(known, sequence.num_prompt)

    def _load(self, sequence: Sequence, capacity: int, limit: int) -> None:
        """Take a slab and copy in what is kept and does not lie there already.

        A hit is what the cache says, wherever its rows lie. What slower tiers gave is published with the rest.
        """
        assert sequence.chain is not None
        is_first = sequence.num_cached is None
        with self.cache.match(
            sequence.chain,
            sequence.token_ids,
            limit=limit,
            multiple_of=self._exact_chunk or 1,
            count=is_first,
            is_asked=not sequence.is_ahead,
            prefetched=sequence.prefetched,
        ) as lease:
            wanted = Rows(sequence.chain.root, pack(sequence.token_ids[: lease.num_tokens]))
            slab, common = self._memory.take(capacity, wanted)
            self._slabs[sequence] = slab
            in_place = common - common % (self._exact_chunk or 1)  # rows of one chunk keep company
            lease.load_into(slab, start=in_place)
            self.cache.stats.in_place_tokens += in_place
            sequence.num_computed = lease.num_tokens
            sequence.num_published = lease.num_ram_tokens // self.cache.geometry.block_tokens
            if is_first:
                sequence.by_tier = lease.by_tier
        sequence.prefetched = None  # its rows take memory

    def grow(self, sequence: Sequence, capacity: int) -> None:
        """Let a sequence have more of its slab, or move it to a larger one."""
        old = self._slabs[sequence]
        if old.shape[TOKEN_DIM] < capacity:
            new, _ = self._memory.take(capacity)
            computed = sequence.num_computed
            with torch.inference_mode():
                new.narrow(TOKEN_DIM, 0, computed).copy_(old.narrow(TOKEN_DIM, 0, computed))
            self._memory.give_back(old)
            self._slabs[sequence] = new
        sequence.capacity = capacity

    def compute(self, chunks: Many[Chunk]) -> torch.Tensor:
        """Compute what chunks hold; returns the logits wanted after each, `[logits, vocab]`.

        That these rows are computed now is for the caller to note, when it has made something of the logits.
        The rows of drafts lie in the slab behind the computed ones, and count for nothing until they are accepted.
        """
        spans = [
            Span(
                [*c.sequence.token_ids[c.start : c.stop], *c.drafts],
                self._slabs[c.sequence],
                c.start,
                c.num_logits,
            )
            for c in chunks
        ]
        if self._exact_chunk is None:
            logits = self._decoder.forward(spans)
        else:
            logits = torch.cat([self._decoder.forward(group) for group in self._alike(spans)])
        return logits

    def publish(self) -> None:
        """Keep the blocks that have become full: between two steps, when what the last one said is on its way."""
        for sequence in self._slabs:
            self._publish(sequence)

    def _alike(self, spans: Many[Span]) -> list[list[Span]]:
        """The spans in groups whose forward gives each the bits that it has alone."""
        groups: list[list[Span]] = []
        num_rows = 0
        for span in spans:
            num_rows += len(span.token_ids)
            if not groups or num_rows > self._decoder.alike_rows:
                groups.append([])
                num_rows = len(span.token_ids)
            groups[-1].append(span)
        return groups

    def release(self, sequence: Sequence, *, keep_tail: bool = False) -> None:
        """Take the slab back with what it holds; `keep_tail` also keeps the last, partly filled block."""
        if sequence.prefetched is not None:
            sequence.prefetched.cancel()
            sequence.prefetched = None
        if sequence in self._slabs:
            self._publish(sequence)
        slab = self._slabs.pop(sequence, None)
        if keep_tail and slab is not None and sequence.chain is not None and sequence.publishes:
            publish = self.cache.publish_tail if self._exact_chunk is None else self.cache.publish
            num_answered = sequence.num_tokens - sequence.num_prompt or None  # None: it was only warmed
            num_rows = self._num_reusable(sequence)
            with self._as_a_miss():
                publish(sequence.chain, sequence.token_ids, slab, num_rows, num_answered=num_answered)
        if slab is not None:
            self._memory.give_back(slab, self._left_in(sequence))
        sequence.capacity = 0
        sequence.num_computed = 0

    def drop_spare(self) -> None:
        """Give memory back that no sequence uses."""
        self._memory.drop_spare()

    def clear(self) -> None:
        """Forget every kept prefix; what lies in slabs now is published no more."""
        self.cache.clear()
        self._memory.forget()
        for sequence in self._slabs:
            sequence.publishes = False

    def erase(self, owner: str) -> Erasing:
        """Forget what is kept for one owner; what lies in its slabs now is published no more. Of memory nobody uses it
        is not known who used it last: all of it goes."""
        erasing = self.cache.erase(owner)
        self._memory.drop_spare()
        for sequence in self._slabs:
            if sequence.owner == owner:
                sequence.publishes = False
        return erasing

    def pin(self, sequence: Sequence) -> int:
        """Keep the blocks of a prompt from eviction, and have them outlive the process; returns how many tokens."""
        if sequence.chain is None:
            return 0
        self.cache.persist(sequence.chain, sequence.token_ids)
        return self.cache.pin(sequence.chain, sequence.token_ids)

    def _publish(self, sequence: Sequence) -> None:
        num_rows = self._num_reusable(sequence)
        num_full = num_rows // self.cache.geometry.block_tokens
        if num_full > sequence.num_published and sequence.chain is not None and sequence.publishes:
            sequence.num_published = num_full  # whether it finds room or not: nothing is tried twice
            with self._as_a_miss():
                self.cache.publish(sequence.chain, sequence.token_ids, self._slabs[sequence], num_rows)

    @contextmanager
    def _as_a_miss(self) -> Iterator[None]:
        """Count what memory was too short to keep: that is no fault of the request that was answered."""
        try:
            yield
        except (MemoryError, RuntimeError) as exc:
            if not is_out_of_memory(exc):
                raise
            self.cache.stats.failed_publishes += 1

    def _num_reusable(self, sequence: Sequence) -> int:
        """Up to where others may use what was computed. In exact mode, whole chunks of the prompt."""
        if self._exact_chunk is None:
            return sequence.num_computed
        return min(sequence.num_computed, sequence.num_prompt) // self._exact_chunk * self._exact_chunk

    def _left_in(self, sequence: Sequence) -> Rows | None:
        """What a sequence leaves in its slab for others."""
        if sequence.chain is None or not sequence.publishes:
            return None
        return Rows(sequence.chain.root, pack(sequence.token_ids[: self._num_reusable(sequence)]))
