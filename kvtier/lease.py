"""A pinned prefix, and how its rows get out.

# tokens   0 ........ num_ram_tokens ........ num_tokens
#          |  blocks, pinned  |  restored from a tier  |
"""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

import torch

from kvtier.arena import DTYPES, TOKEN_DIM
from kvtier.stats import MissReason
from kvtier.store import BlockStore
from kvtier.tiers.base import Restored


class Lease:
    """`num_tokens` leading tokens, pinned until released; possibly none, and then `miss` says why.

    Release it once its rows are loaded; a `with` block does.
    """

    __slots__ = ("_is_held", "_path", "_restored", "_store", "miss", "num_ram_tokens", "num_tokens")

    def __init__(
        self,
        store: BlockStore,
        path: Sequence[int],
        num_tokens: int,
        miss: MissReason | None,
        *,
        num_ram_tokens: int | None = None,
        restored: Sequence[Restored] = (),
    ) -> None:
        store.lease(path)
        self._store = store
        self._path = path
        self._restored = restored
        self._is_held = True
        self.num_tokens = num_tokens
        self.num_ram_tokens = num_tokens if num_ram_tokens is None else num_ram_tokens
        self.miss = miss

    @property
    def num_full_blocks(self) -> int:
        return self.num_tokens // self._store.geometry.block_tokens

    @property
    def by_tier(self) -> dict[str, int]:
        """How many of the tokens each tier gave."""
        tokens = {"ram": self.num_ram_tokens} if self.num_ram_tokens else {}
        for restored, start, stop in self._pieces():
            tokens[restored.tier] = tokens.get(restored.tier, 0) + stop - start
        return tokens

    def load_into(self, slab: torch.Tensor, *, start: int = 0) -> None:
        """Copy rows [0, num_tokens) of all layers into `slab`, where the first `start` lie already.

        Raises ValueError when the slab has another shape.
        """
        if not self._is_held:
            raise RuntimeError(f"a lease of {self.num_tokens} tokens is read after its release")
        self._store.arena.check_slab(slab, self.num_tokens)
        self._store.arena.load(self._path, slab, self.num_ram_tokens, start=start)
        self._load_restored(slab, start)

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

    def _pieces(self) -> list[tuple[Restored, int, int]]:
        """Which tokens [start, stop) are taken from which restored segment."""
        pieces, at = [], self.num_ram_tokens
        for restored in self._restored:
            stop = min(restored.stop, self.num_tokens)
            if restored.start <= at < stop:
                pieces.append((restored, at, stop))
                at = stop
        return pieces

    @torch.inference_mode()
    def _load_restored(self, slab: torch.Tensor, lying: int) -> None:
        geometry = self._store.geometry
        layers, two, heads, _, dim = geometry.block_shape
        for restored, first, stop in self._pieces():
            start = max(first, lying)
            if start >= stop:
                continue
            rows = torch.from_numpy(restored.rows).view(DTYPES[geometry.dtype])
            rows = rows.view(layers, two, heads, restored.num_tokens, dim)
            slab.narrow(TOKEN_DIM, start, stop - start).copy_(
                rows.narrow(TOKEN_DIM, start - restored.start, stop - start)
            )
