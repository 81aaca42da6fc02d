"""Writing behind: which segments RAM holds and a colder tier does not, and when each is handed to its writer.

A segment is admitted when a second request uses it, when it is pinned, when the engine has nothing else to do, and at
the end. The engine's thread copies the rows out (0.7 ms for the 6 MB of 256 tokens at the 135M shape) and the tier's
thread does everything else: pinning the blocks instead would save the copy and take up to a queue's worth of blocks
out of the hands of eviction. Only filled rows are copied: behind them a block may still hold another tenant's.
"""

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from kvtier.arena import DTYPES
from kvtier.prefix import Node
from kvtier.store import BlockStore
from kvtier.tiers.base import SEGMENT_BLOCKS, Rows, Segment
from kvtier.tiers.buffers import Buffers
from kvtier.tiers.writer import Writer

SEGMENTS_PER_CALL = 2
ROOM_WAIT_S = 0.002  # how long an idle engine waits for a full queue


@dataclass(frozen=True, slots=True)
class Candidate:
    """A segment in RAM that some tier may lack, by the blocks that held it when it was last seen."""

    segment: Segment
    blocks: tuple[int, ...]
    uses: int

    @property
    def is_complete(self) -> bool:
        return len(self.blocks) == SEGMENT_BLOCKS


class WriteBehind:
    """Belongs to the engine's thread; the writers' threads only see copies."""

    def __init__(
        self, store: BlockStore, writers: Sequence[Writer], queue_bytes: int, mark: Callable[[str], str] = str
    ) -> None:
        """`mark` says what stands for an owner in a segment."""
        self._store = store
        self._mark = mark
        self._writers = writers
        self._candidates: OrderedDict[bytes, Candidate] = OrderedDict()  # used longest ago first
        self._admitted: deque[bytes] = deque()
        self._buffers = Buffers(store.geometry.block_bytes * SEGMENT_BLOCKS, queue_bytes)

    def note(self, path: Sequence[int], *, since: int = 0, is_hit: bool = False, admit: bool = False) -> None:
        """A chain of blocks was published from block `since` on, used by a request (`is_hit`), or pinned (`admit`)."""
        if not self._writers:
            return
        for at in range(since - since % SEGMENT_BLOCKS, len(path), SEGMENT_BLOCKS):
            nodes = [self._store.index.node(block) for block in path[at : at + SEGMENT_BLOCKS]]
            if len(nodes) == SEGMENT_BLOCKS or not is_hit or nodes[-1].key in self._candidates:
                self._note(nodes, is_hit=is_hit, admit=admit)
        while len(self._candidates) > max(1, self._store.occupancy.total):
            self._candidates.popitem(last=False)

    def pump(self) -> None:
        """Hand a few admitted segments to the writers."""
        for _ in range(SEGMENTS_PER_CALL):
            if not self._admitted:
                return
            candidate = self._candidates.get(self._admitted[0])
            if candidate is not None and not self._offer(candidate):
                return  # no room; later
            self._admitted.popleft()

    def idle(self) -> bool:
        """Hand over a few more, most recently used chains first; returns whether any are left."""
        self.pump()
        for _ in range(SEGMENTS_PER_CALL):
            newest = next(reversed(self._candidates.values()), None)
            if newest is None:
                return False
            candidate = self._head_of(newest)
            if not self._wait_for_room(candidate, ROOM_WAIT_S):
                return True
            self._offer(candidate)
        return bool(self._candidates)

    def drain(self, until: float) -> None:
        """Hand over everything that finds room before the time `until`."""
        while self._candidates and time.monotonic() < until:
            candidate = self._head_of(next(reversed(self._candidates.values())))
            if not self._wait_for_room(candidate, until - time.monotonic()):
                return
            self._offer(candidate)

    def clear(self) -> None:
        self._candidates.clear()
        self._admitted.clear()

    def erase(self, mark: str) -> None:
        """Hand nothing to the writers of what is under a mark."""
        for key in [key for key, one in self._candidates.items() if one.segment.owner == mark]:
            del self._candidates[key]

    def _note(self, nodes: Sequence[Node], *, is_hit: bool, admit: bool) -> None:
        keys = tuple(node.key for node in nodes)
        old = self._candidates.pop(keys[-1], None)
        uses = (old.uses if old is not None else 0) + is_hit
        for key in keys[:-1]:  # what it was before it grew
            self._candidates.pop(key, None)
        packed = b"".join(node.packed for node in nodes)
        start = nodes[0].depth * self._store.geometry.block_tokens
        segment = Segment(nodes[0].parent, keys, packed, start, self._mark(self._store.owner(nodes[-1].block)))
        if all(writer.holds(segment) for writer in self._writers):
            return
        candidate = Candidate(segment, tuple(node.block for node in nodes), uses)
        self._candidates[segment.key] = candidate
        if admit or (candidate.is_complete and is_hit and uses == 1):
            self._admitted.append(segment.key)

    def _head_of(self, candidate: Candidate) -> Candidate:
        """The first segment of the same chain that is not written yet."""
        while (before := self._candidates.get(candidate.segment.parent)) is not None:
            candidate = before
        return candidate

    def _wait_for_room(self, candidate: Candidate, timeout_s: float) -> bool:
        size = candidate.segment.num_tokens * self._store.geometry.bytes_per_token
        return all(writer.wait_for_room(size, timeout_s) for writer in self._writers)

    def _offer(self, candidate: Candidate) -> bool:
        """Copy the rows out and queue them for every tier that lacks them; False when no queue has room."""
        segment = candidate.segment
        lacking = [writer for writer in self._writers if not writer.holds(segment)]
        if lacking and self._is_here(candidate):
            size = segment.num_tokens * self._store.geometry.bytes_per_token
            if not any(writer.has_room(size) for writer in lacking):
                return False
            rows = self._copy(candidate)
            for writer in lacking:
                writer.offer(segment, rows)  # counts what it has no room for
        self._candidates.pop(segment.key, None)
        return True

    def _is_here(self, candidate: Candidate) -> bool:
        """Whether the blocks still hold what they held."""
        for block, key in zip(candidate.blocks, candidate.segment.keys, strict=True):
            try:
                if self._store.index.node(block).key != key:
                    return False
            except KeyError:
                return False
        return True

    @torch.inference_mode()
    def _copy(self, candidate: Candidate) -> Rows:
        layers, two, heads, _, dim = self._store.geometry.block_shape
        num_tokens = candidate.segment.num_tokens
        num_bytes = num_tokens * self._store.geometry.bytes_per_token
        memory = self._buffers.take(num_bytes)
        rows = memory[:num_bytes]
        slab = torch.from_numpy(rows).view(DTYPES[self._store.geometry.dtype])
        self._store.arena.load(candidate.blocks, slab.view(layers, two, heads, num_tokens, dim), num_tokens)
        self._buffers.give_back_after(rows, memory)
        return rows
