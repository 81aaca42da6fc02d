"""The vectors of one partition: ids and rows in blocks that never move, without holes.

    blocks    [ 512 rows ][ 512 rows ][ 130 of 512 ]      slot = place in this line
    remove    the last row goes into the hole, and the line is one shorter

A row is 16-bit integers and a scale of its own: half of what float32 takes, and cosines that differ by less than 1e-5.
A block that is full size is never reallocated, so a thread may read one while its owner writes: what it reads may be
torn, and whoever lets it read writes down which slots changed meanwhile. Ids lie beside the rows as bytes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from embeddings.index.slots import SLOT_BYTES, Slots

BLOCK_ROWS = 512
TOGETHER = 256  # rows that are made float32 to be multiplied: they stay in the processor's cache
MOST = 32767.0
GROWTH = 1.1  # of a first block: most partitions hold one to ten rows, and there are very many of them
NO_BYTE = b"\xff"  # after an id: no text has such a byte

Floats = NDArray[np.float32]
_pointer: Any = faiss.swig_ptr  # made by SWIG, as the next
# Of out, query, rows, dim, count: row by row in one order of summation, so no product depends on neighbours or threads.
_PRODUCTS: Any = faiss.fvec_inner_products_ny  # type: ignore[attr-defined]


@dataclass(slots=True)
class Block:
    """Rows, their scales and their ids."""

    values: NDArray[np.int16]
    scales: Floats
    ids: bytearray
    width: int  # of an id
    count: int = 0

    @property
    def nbytes(self) -> int:
        return self.values.nbytes + self.scales.nbytes + len(self.ids)

    @property
    def capacity(self) -> int:
        return len(self.values)

    def read(self, rows: slice | Sequence[int] | NDArray[np.int64]) -> Floats:
        """Rows as float32."""
        wide = self.values[rows].astype(np.float32)
        wide *= self.scales[rows][:, None]
        return wide

    def write(self, row: int, vector: Floats) -> None:
        scale = max(float(vector.max()), -float(vector.min()), 1e-30) / MOST
        np.rint(vector * np.float32(1 / scale), out=self.values[row], casting="unsafe")
        self.scales[row] = scale

    def id_at(self, row: int) -> str:
        start = row * self.width
        raw = bytes(self.ids[start : start + self.width])
        return raw.rstrip(NO_BYTE).decode("utf-8", "surrogatepass")

    def names(self, count: int) -> list[str]:
        """The ids of the first rows."""
        return [self.id_at(row) for row in range(min(count, self.count))]

    def digests(self, count: int) -> NDArray[np.uint64]:
        """Eight bytes that stand for each of the first ids, at other times too."""
        names = (_spelled(id) for id in self.names(count))
        return np.frombuffer(b"".join(blake2b(name, digest_size=8).digest() for name in names), np.uint64)

    def name(self, row: int, id: bytes) -> None:
        start = row * self.width
        self.ids[start : start + self.width] = id.ljust(self.width, NO_BYTE)

    def resized(self, capacity: int, width: int) -> "Block":
        """A copy with room for so many rows and ids so wide; one of the same capacity shares the rows."""
        values, scales = self.values, self.scales
        if capacity != len(values):
            values, scales = np.empty((capacity, values.shape[1]), np.int16), np.empty(capacity, np.float32)
            values[: self.count], scales[: self.count] = self.values[: self.count], self.scales[: self.count]
        if width == self.width:
            ids = self.ids[: self.count * width]
        else:
            raw = (bytes(self.ids[at : at + self.width]) for at in range(0, self.count * self.width, self.width))
            ids = bytearray(b"".join(id.ljust(width, NO_BYTE) for id in raw))
        return Block(values, scales, ids.ljust(capacity * width, NO_BYTE), width, self.count)


class Rows:
    """Vectors by id. One thread writes and searches."""

    __slots__ = ("_hand", "_slots", "_used", "_width", "blocks", "dim", "nbytes")

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self.blocks: list[Block] = []
        self.nbytes = 0
        self._width = 1  # of the longest id there was
        self._slots = Slots()
        self._used = bytearray()  # by slot: whether it was found since the hand went by
        self._hand = 0

    def __len__(self) -> int:
        return len(self._slots)

    def slot_of(self, id: str) -> int | None:
        raw = _spelled(id)
        return self._find(raw, hash(raw))

    def _find(self, raw: bytes, hashed: int) -> int | None:
        if len(raw) > self._width:
            return None
        padded = raw.ljust(self._width, NO_BYTE)
        for slot in self._slots.find(hashed):
            block, start = self.blocks[slot // BLOCK_ROWS], slot % BLOCK_ROWS * self._width
            if block.ids[start : start + self._width] == padded:
                return slot
        return None

    def id_at(self, slot: int) -> str:
        return self.blocks[slot // BLOCK_ROWS].id_at(slot % BLOCK_ROWS)

    def ids_at(self, slots: Sequence[int]) -> list[str]:
        """As `id_at` of each."""
        width, blocks = self._width, self.blocks
        places = [(blocks[slot // BLOCK_ROWS].ids, slot % BLOCK_ROWS * width) for slot in slots]
        return [ids[at : at + width].rstrip(NO_BYTE).decode("utf-8", "surrogatepass") for ids, at in places]

    def ids(self) -> Iterator[str]:
        return iter([id for block in self.blocks for id in block.names(BLOCK_ROWS)])

    # -- writing -----------------------------------------------------------------------------------------------------

    def put(self, id: str, vector: Floats) -> int:
        """Keep `vector` under `id`, in the place of what was; returns its slot."""
        raw = _spelled(id)
        hashed = hash(raw)
        slot = self._find(raw, hashed)
        if slot is None:
            slot = self._append(raw, hashed)
        self.blocks[slot // BLOCK_ROWS].write(slot % BLOCK_ROWS, vector)
        return slot

    def _append(self, raw: bytes, hashed: int) -> int:
        if len(raw) > self._width:
            self._widen(len(raw))
        slot = len(self._slots)
        if slot // BLOCK_ROWS == len(self.blocks):
            capacity = BLOCK_ROWS if self.blocks else 1
            values, scales = np.empty((capacity, self.dim), np.int16), np.empty(capacity, np.float32)
            block = Block(values, scales, bytearray(NO_BYTE * (capacity * self._width)), self._width)
            self.blocks.append(block)
            self.nbytes += block.nbytes
        elif slot % BLOCK_ROWS == self.blocks[-1].capacity:
            self._resize_last(min(BLOCK_ROWS, max(slot + 1, int(GROWTH * slot))))
        last = self.blocks[-1]
        last.name(last.count, raw)
        last.count += 1
        self._slots.add(hashed, slot)
        self._used.append(0)
        self.nbytes += SLOT_BYTES
        return slot

    def remove(self, id: str) -> tuple[int, int] | None:
        """Forget `id`. Returns the slot that was freed and the last one, whose row is in it now; None when not here."""
        raw = _spelled(id)
        hole = self._find(raw, hash(raw))
        if hole is None:
            return None
        self._slots.remove(hash(raw), hole)
        last, tail = len(self._slots), self.blocks[-1]
        mark = self._used.pop()
        if hole != last:
            last_id = _spelled(tail.id_at(tail.count - 1))
            block, row = self.blocks[hole // BLOCK_ROWS], hole % BLOCK_ROWS
            block.values[row], block.scales[row] = tail.values[tail.count - 1], tail.scales[tail.count - 1]
            block.name(row, last_id)
            self._slots.move(hash(last_id), last, hole)
            self._used[hole] = mark
        tail.count -= 1
        self.nbytes -= SLOT_BYTES
        if not tail.count:
            self.nbytes -= self.blocks.pop().nbytes
        elif len(self.blocks) == 1 and tail.count <= tail.capacity // 4:
            self._resize_last(tail.capacity // 2)
        return hole, last

    def _resize_last(self, capacity: int) -> None:
        self._replace(len(self.blocks) - 1, self.blocks[-1].resized(capacity, self._width))

    def _widen(self, width: int) -> None:
        """Make room for longer ids: seldom more than once."""
        self._width = width
        for at, block in enumerate(self.blocks):
            self._replace(at, block.resized(block.capacity, width))

    def _replace(self, at: int, block: Block) -> None:
        self.nbytes += block.nbytes - self.blocks[at].nbytes
        self.blocks[at] = block

    # -- reading -----------------------------------------------------------------------------------------------------

    def similarities(self, query: Floats) -> Floats:
        """The inner product of every row with `query`, by slot."""
        count, dim, products = len(self._slots), self.dim, _PRODUCTS
        found = np.empty(count, np.float32)
        wide = np.empty((min(TOGETHER, count), dim), np.float32)
        some = np.empty(len(wide), np.float32)
        pointers = _pointer(some), _pointer(query), _pointer(wide), dim
        at = 0
        for block in self.blocks:
            for start in range(0, block.count, TOGETHER):
                size = min(TOGETHER, block.count - start)
                wide[:size] = block.values[start : start + size]
                products(*pointers, size)
                np.multiply(some[:size], block.scales[start : start + size], out=found[at : at + size])
                at += size
        return found

    def similarities_at(self, query: Floats, slots: Sequence[int]) -> Floats:
        """The inner product of some rows with `query`: the same numbers, to the bit."""
        found, wide = np.empty(len(slots), np.float32), np.empty((len(slots), self.dim), np.float32)
        scales = np.empty(len(slots), np.float32)
        for at, slot in enumerate(slots):
            block, row = self.blocks[slot // BLOCK_ROWS], slot % BLOCK_ROWS
            wide[at], scales[at] = block.values[row], block.scales[row]
        _PRODUCTS(_pointer(found), _pointer(query), _pointer(wide), self.dim, len(slots))
        found *= scales
        return found

    def gather(self, slots: Sequence[int]) -> Floats:
        """A copy of some rows."""
        return gather(self.blocks, slots, self.dim)

    def mark(self, slot: int) -> None:
        """Note that a row was of use."""
        self._used[slot] = 1

    def least_useful(self) -> str:
        """An id that nobody found for long: the hand of a clock passes by what was found, once."""
        while True:
            at = self._hand % len(self)
            self._hand = at + 1  # past it: when it goes, the newest row comes to lie there
            if not self._used[at]:
                return self.id_at(at)
            self._used[at] = 0


def gather(blocks: Sequence[Block], slots: Sequence[int], dim: int) -> Floats:
    """A copy of the rows in `slots`."""
    found = np.empty((len(slots), dim), np.float32)
    for at, place in enumerate(slots):
        block, row = blocks[place // BLOCK_ROWS], place % BLOCK_ROWS
        np.multiply(block.values[row], block.scales[row], out=found[at], dtype=np.float32)
    return found


def digests_of(blocks: Sequence[Block]) -> NDArray[np.uint64]:
    """Of the ids of all rows."""
    return np.concatenate([np.empty(0, np.uint64), *(block.digests(BLOCK_ROWS) for block in blocks)])


def nearest(similarities: Floats, k: int) -> list[int]:
    """Places of the `k` greatest and of all that equal the least of these, in no order."""
    if k >= len(similarities):
        return list(range(len(similarities)))
    parted = similarities.copy()
    parted.partition(len(parted) - k)
    least = parted[len(parted) - k]
    found: list[int] = (similarities >= least).nonzero()[0].tolist()
    return found


def _spelled(id: str) -> bytes:
    return id.encode("utf-8", "surrogatepass")
