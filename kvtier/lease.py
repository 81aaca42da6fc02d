"""A pinned prefix, and how its rows get out."""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

import torch

from kvtier.stats import MissReason
from kvtier.store import BlockStore


class Lease:
    """`num_tokens` leading tokens, pinned until released; possibly none, and then `miss` says why.

    Release it once its rows are loaded; a `with` block does.
    """

    __slots__ = ("_is_held", "_path", "_store", "miss", "num_tokens")

    def __init__(self, store: BlockStore, path: Sequence[int], num_tokens: int, miss: MissReason | None) -> None:
        store.pin(path)
        self._store = store
        self._path = path
        self._is_held = True
        self.num_tokens = num_tokens
        self.miss = miss

    @property
    def num_full_blocks(self) -> int:
        return self.num_tokens // self._store.geometry.block_tokens

    def load_into(self, slab: torch.Tensor) -> None:
        """Copy rows [0, num_tokens) of all layers into `slab`. Raises ValueError when the slab has another shape."""
        if not self._is_held:
            raise RuntimeError(f"a lease of {self.num_tokens} tokens is read after its release")
        self._store.arena.check_slab(slab, self.num_tokens)
        self._store.arena.load(self._path, slab, self.num_tokens)

    def release(self) -> None:
        """Let go of the blocks; a second call does nothing."""
        if self._is_held:
            self._is_held = False
            self._store.release(self._path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
