"""The vectors of one partition: ids and rows in blocks that never move, without holes.

    blocks    [ 512 rows ][ 512 rows ][ 130 of 512 ]      slot = place in this line
    remove    the last row goes into the hole, and the line is one shorter

A row is float32, or, when memory is short, 16-bit integers with a scale of its own: half the size, and cosines that
differ by less than 1e-5. A block that is full size is never reallocated, so a thread may read one while its owner
writes: what it reads may be torn, and whoever lets it read writes down which slots changed meanwhile.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

BLOCK_ROWS = 512
ID_BYTES = 200  # an id, its places in two containers, and its mark: about what Python takes

Floats = NDArray[np.float32]


@dataclass(slots=True)
class Block:
    """Rows and their ids. `scales` belong to rows of 16-bit integers."""

    values: NDArray[np.float32] | NDArray[np.int16]
    scales: Floats | None = None
    ids: list[str] = field(default_factory=list)

    @property
    def nbytes(self) -> int:
        return self.values.nbytes + (self.scales.nbytes if self.scales is not None else 0)

    def read(self, rows: slice | Sequence[int]) -> Floats:
        """Rows as float32; a view where that is what they are."""
        if self.scales is None:
            return self.values[rows]  # type: ignore[return-value]
        wide = self.values[rows].astype(np.float32)
        wide *= self.scales[rows][:, None]
        return wide

    def write(self, row: int, vector: Floats) -> None:
        if self.scales is None:
            self.values[row] = vector
        else:
            narrow, scales = _narrow(vector[None])
            self.values[row], self.scales[row] = narrow[0], scales[0]

    def resized(self, capacity: int) -> "Block":
        kept = len(self.ids)
        values = np.empty((capacity, self.values.shape[1]), self.values.dtype)
        values[:kept] = self.values[:kept]
        scales = None
        if self.scales is not None:
            scales = np.empty(capacity, np.float32)
            scales[:kept] = self.scales[:kept]
        return Block(values, scales, self.ids)

    def narrowed(self) -> "Block":
        capacity, kept = len(self.values), len(self.ids)
        values, scales = np.zeros((capacity, self.values.shape[1]), np.int16), np.zeros(capacity, np.float32)
        values[:kept], scales[:kept] = _narrow(self.read(slice(kept)))
        return Block(values, scales, self.ids)


class Rows:
    """Vectors by id. One thread writes and searches."""

    __slots__ = ("_hand", "_slots", "_used", "blocks", "dim", "is_narrow", "nbytes")

    def __init__(self, dim: int, *, is_narrow: bool = False) -> None:
        self.dim = dim
        self.is_narrow = is_narrow  # whether new blocks are of 16-bit integers
        self.blocks: list[Block] = []
        self.nbytes = 0
        self._slots: dict[str, int] = {}
        self._used = bytearray()  # by slot: whether it was found since the hand went by
        self._hand = 0

    def __len__(self) -> int:
        return len(self._slots)

    def slot_of(self, id: str) -> int | None:
        return self._slots.get(id)

    def id_at(self, slot: int) -> str:
        return self.blocks[slot // BLOCK_ROWS].ids[slot % BLOCK_ROWS]

    def ids(self) -> Iterator[str]:
        return iter(tuple(self._slots))

    # -- writing -----------------------------------------------------------------------------------------------------

    def put(self, id: str, vector: Floats) -> int:
        """Keep `vector` under `id`, in the place of what was; returns its slot."""
        slot = self._slots.get(id)
        if slot is None:
            slot = self._append(id)
        self.blocks[slot // BLOCK_ROWS].write(slot % BLOCK_ROWS, vector)
        return slot

    def _append(self, id: str) -> int:
        slot = len(self._slots)
        if slot // BLOCK_ROWS == len(self.blocks):
            capacity = BLOCK_ROWS if self.blocks else 1  # most partitions hold one to ten rows
            values = np.empty((capacity, self.dim), np.int16 if self.is_narrow else np.float32)
            block = Block(values, np.empty(capacity, np.float32) if self.is_narrow else None)
            self.blocks.append(block)
            self.nbytes += block.nbytes
        elif slot % BLOCK_ROWS == len(self.blocks[-1].values):
            self._resize_last(min(BLOCK_ROWS, 2 * len(self.blocks[-1].values)))
        self.blocks[-1].ids.append(id)
        self._slots[id] = slot
        self._used.append(0)
        self.nbytes += ID_BYTES
        return slot

    def remove(self, id: str) -> tuple[int, int] | None:
        """Forget `id`. Returns the slot that was freed and the last one, whose row is in it now; None when not here."""
        hole = self._slots.pop(id, None)
        if hole is None:
            return None
        last = len(self._slots)
        tail = self.blocks[-1]
        mark, last_id = self._used.pop(), tail.ids.pop()
        if hole != last:
            block = self.blocks[hole // BLOCK_ROWS]
            row = hole % BLOCK_ROWS
            if block.scales is not None and tail.scales is not None:  # as they are: narrowing again would wear them
                block.values[row], block.scales[row] = tail.values[last % BLOCK_ROWS], tail.scales[last % BLOCK_ROWS]
            else:
                block.write(row, tail.read([last % BLOCK_ROWS])[0])
            block.ids[row] = last_id
            self._slots[last_id], self._used[hole] = hole, mark
        self.nbytes -= ID_BYTES
        if not tail.ids:
            self.nbytes -= self.blocks.pop().nbytes
        elif len(self.blocks) == 1 and len(tail.ids) <= len(tail.values) // 4:
            self._resize_last(len(tail.values) // 2)
        return hole, last

    def _resize_last(self, capacity: int) -> None:
        self._replace(len(self.blocks) - 1, self.blocks[-1].resized(capacity))

    def _replace(self, at: int, block: Block) -> None:
        self.nbytes += block.nbytes - self.blocks[at].nbytes
        self.blocks[at] = block

    def narrow_one(self) -> bool:
        """Halve a block; False when all are narrow. New rows are narrow from now on."""
        self.is_narrow = True
        for at, block in enumerate(self.blocks):
            if block.scales is None:
                self._replace(at, block.narrowed())
                return True
        return False

    # -- reading -----------------------------------------------------------------------------------------------------

    def similarities(self, query: Floats) -> Floats:
        """The inner product of every row with `query`, by slot."""
        found = np.empty(len(self), np.float32)
        at = 0
        for block in self.blocks:
            size = len(block.ids)
            _products(query, block.read(slice(size)), found[at : at + size])
            at += size
        return found

    def similarities_at(self, query: Floats, slots: Sequence[int]) -> Floats:
        """The inner product of some rows with `query`: the same numbers, to the bit."""
        found = np.empty(len(slots), np.float32)
        _products(query, self.gather(slots), found)
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
        one, row = blocks[place // BLOCK_ROWS], place % BLOCK_ROWS
        if one.scales is None:
            found[at] = one.values[row]
        else:
            np.multiply(one.values[row], one.scales[row], out=found[at], dtype=np.float32)
    return found


def nearest(similarities: Floats, k: int) -> list[int]:
    """Places of the `k` greatest and of all that equal the least of these, in no order."""
    if k >= len(similarities):
        return list(range(len(similarities)))
    least = np.partition(similarities, len(similarities) - k)[len(similarities) - k]
    found: list[int] = np.flatnonzero(similarities >= least).tolist()
    return found


def _products(query: Floats, rows: Floats, out: Floats) -> None:
    """Row by row, in one order of summation: no row's product depends on its neighbours, or on threads."""
    count, dim = rows.shape
    products: Any = faiss.fvec_inner_products_ny  # type: ignore[attr-defined]  # made by SWIG
    products(faiss.swig_ptr(out), faiss.swig_ptr(query), faiss.swig_ptr(rows), dim, count)


def _narrow(rows: Floats) -> tuple[NDArray[np.int16], Floats]:
    scales = np.maximum(np.abs(rows).max(axis=1), np.float32(1e-30)) / np.float32(32767)
    narrow = rows / scales[:, None]
    return np.rint(narrow, out=narrow).astype(np.int16), scales.astype(np.float32)
