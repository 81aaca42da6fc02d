"""Memory of slabs, used again: the next turn of a conversation goes on in the slab of the last one.

    # a spare slab   0 ........... common ........... its rows ........ capacity
    #                |  as wanted   |  written over    |  never read      |

A slab that is given back says which tokens its rows belong to, and is handed to a sequence that begins with them: what
lies there need not be copied. Tokens are compared, under one root: nothing is found under another salt. Every other
sequence gets a slab that holds nothing, or fresh memory, or at last what was not asked for longest. What another one
left is written over before it is read: rows are read only up to those computed.

Fresh memory is made larger than asked for, so that a further turn finds room; the system gives pages as they are
written, and clears every one first, which costs more than a restore: hence a bound and not a free.
"""

import math
from contextlib import suppress
from dataclasses import dataclass

import torch

from backends.local.decoder.base import TOKEN_DIM, Decoder
from kvtier.keys import ID_BYTES, count_common_ids

SPARE_BYTES = 256 << 20  # kept for the next ones
FIRST_BYTES = 64 << 20  # written to at the start, so that the first restore does not wait for the system
ROOM_TOKENS = 256  # for a further turn, or a quarter of the slab


@dataclass(frozen=True, slots=True)
class Rows:
    """Which tokens rows belong to, from the first of a slab on: packed ids under the root of their chain."""

    root: bytes
    packed: bytes

    @property
    def num_tokens(self) -> int:
        return len(self.packed) // ID_BYTES

    def count_common(self, other: "Rows") -> int:
        return count_common_ids(self.packed, other.packed) if self.root == other.root else 0


@dataclass(frozen=True, slots=True, eq=False)
class _Spare:
    slab: torch.Tensor
    rows: Rows | None = None

    @property
    def capacity(self) -> int:
        return self.slab.shape[TOKEN_DIM]


class Slabs:
    """Hands out slabs and takes them back."""

    def __init__(self, decoder: Decoder, spare_bytes: int = SPARE_BYTES) -> None:
        self._decoder = decoder
        self._spare_bytes = spare_bytes
        none = decoder.new_slab(0)
        self._token_bytes = math.prod(none.shape[:TOKEN_DIM] + none.shape[TOKEN_DIM + 1 :]) * none.itemsize
        self._spare: list[_Spare] = []  # given back longest ago first

    @property
    def num_spare_bytes(self) -> int:
        return sum(spare.slab.nbytes for spare in self._spare)

    def take(self, capacity: int, wanted: Rows | None = None) -> tuple[torch.Tensor, int]:
        """A slab for at least `capacity` tokens, and how many of its leading rows are as wanted."""
        fitting = [spare for spare in self._spare if spare.capacity >= capacity]
        spare, common = _nearest(fitting, wanted) if wanted is not None else (None, 0)
        if spare is None:
            spare = self._least_missed(fitting, capacity)
        if spare is None:
            return self._fresh(capacity), 0
        self._spare.remove(spare)
        return spare.slab, common

    def warm(self, most_tokens: int) -> None:
        """Have memory at hand for a first slab of up to `most_tokens`."""
        most_bytes = min(FIRST_BYTES, self._spare_bytes)
        self.give_back(self._decoder.new_slab(min(most_tokens, most_bytes // self._token_bytes)).zero_())

    def give_back(self, slab: torch.Tensor, rows: Rows | None = None) -> None:
        """Keep a slab, and what it holds, within the bound; nobody may use it any more."""
        if not slab.numel() or slab.nbytes > self._spare_bytes:
            return  # all others would go for it, and it too
        self._spare = [_Spare(each.slab) if rows is not None and _is_part(each, rows) else each for each in self._spare]
        self._spare.append(_Spare(slab, rows if rows is not None and rows.packed else None))
        while self.num_spare_bytes > self._spare_bytes:
            self._spare.pop(0)

    def forget(self) -> None:
        """Hand nothing of what lies in the spare slabs to anybody; the memory stays."""
        self._spare = [_Spare(spare.slab) for spare in self._spare]

    def drop_spare(self) -> None:
        """Give the memory that nobody uses back to the system."""
        self._spare.clear()

    def _least_missed(self, fitting: list[_Spare], capacity: int) -> _Spare | None:
        """The smallest that holds nothing, else the oldest where fresh memory would push one out as well."""
        blank = [spare for spare in fitting if spare.rows is None]
        if blank:
            return min(blank, key=lambda spare: spare.capacity)
        has_room = self.num_spare_bytes + capacity * self._token_bytes <= self._spare_bytes
        return None if has_room or not fitting else fitting[0]

    def _fresh(self, capacity: int) -> torch.Tensor:
        most = self._spare_bytes // self._token_bytes  # more would not be kept
        roomy = max(capacity, min(capacity + max(ROOM_TOKENS, capacity // 4), most))
        for size in (roomy if capacity else 0, capacity):
            with suppress(MemoryError, RuntimeError):  # torch raises the latter
                return self._decoder.new_slab(size)
        self.drop_spare()
        return self._decoder.new_slab(capacity)


def _nearest(fitting: list[_Spare], wanted: Rows) -> tuple[_Spare | None, int]:
    """The spare that shares most with what is wanted, unless more would be lost with it than is won."""
    known = [(spare.rows.count_common(wanted), spare) for spare in fitting if spare.rows is not None]
    common, spare = max(known, key=lambda pair: pair[0], default=(0, None))
    if spare is None or spare.rows is None or not common or common * 2 < spare.rows.num_tokens:
        return None, 0
    return spare, common


def _is_part(spare: _Spare, rows: Rows) -> bool:
    """Whether a spare holds nothing that `rows` do not have too."""
    return spare.rows is not None and spare.rows.count_common(rows) == spare.rows.num_tokens
