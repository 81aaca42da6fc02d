"""The memory of the blocks, and the copies between blocks and slabs.

A block is `[L, 2, H, block_tokens, D]`, all layers together; a slab is what a running sequence owns,
`[L, 2, H, capacity, D]`, one token after the other. Rows move in as few copies as the block ids allow: neighbouring ids
go in one.
"""

from collections.abc import Iterator, Sequence

import torch

from kvtier.geometry import KVGeometry

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
TOKEN_DIM = 3


class KVArena:
    """One tensor `[num_blocks, L, 2, H, block_tokens, D]` in RAM; it takes memory only as blocks are written."""

    def __init__(self, geometry: KVGeometry, num_blocks: int) -> None:
        self.geometry = geometry
        self._blocks = torch.empty((num_blocks, *geometry.block_shape), dtype=DTYPES[geometry.dtype])

    def check_slab(self, slab: torch.Tensor, num_rows: int) -> None:
        """Raise ValueError when `slab` cannot hold `num_rows` rows of this geometry."""
        layers, two, heads, _, dim = self.geometry.block_shape
        if slab.ndim != 5 or (*slab.shape[:TOKEN_DIM], slab.shape[-1]) != (layers, two, heads, dim):
            raise ValueError(f"slab {tuple(slab.shape)} is not [{layers}, {two}, {heads}, capacity, {dim}]")
        if slab.dtype != self._blocks.dtype:
            raise ValueError(f"slab is {slab.dtype}, blocks are {self._blocks.dtype}")
        if not 0 <= num_rows <= slab.shape[TOKEN_DIM]:
            raise ValueError(f"slab holds {slab.shape[TOKEN_DIM]} rows, not {num_rows}")

    # Slabs are often inference tensors, which may only be written in inference mode.
    @torch.inference_mode()
    def load(self, blocks: Sequence[int], slab: torch.Tensor, num_rows: int, *, start: int = 0) -> None:
        """Copy the first `num_rows` rows of the blocks into rows [0, num_rows) of `slab`.

        Blocks that end before row `start` are left out.
        """
        left_out = start // self.geometry.block_tokens
        at = left_out * self.geometry.block_tokens
        for ours, theirs in self._pairs(blocks[left_out:], slab, at, max(0, num_rows - at)):
            theirs.copy_(ours)

    @torch.inference_mode()
    def store(self, blocks: Sequence[int], slab: torch.Tensor, start: int, num_rows: int) -> None:
        """Copy rows [start, start + num_rows) of `slab` into the blocks; the last one may stay partly filled."""
        for ours, theirs in self._pairs(blocks, slab, start, num_rows):
            ours.copy_(theirs)

    @torch.inference_mode()
    def poison(self, block: int) -> None:
        """Fill a block with NaN, so that a row read after its time shows."""
        self._blocks[block].fill_(float("nan"))

    @torch.inference_mode()
    def blank(self, block: int) -> None:
        """Leave nothing of what a block held."""
        self._blocks[block].zero_()

    def _pairs(
        self, blocks: Sequence[int], slab: torch.Tensor, start: int, num_rows: int
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Views of equal shape: rows in the arena, and the same rows in the slab."""
        size = self.geometry.block_tokens
        full, rest = divmod(num_rows, size)
        for first, count in _runs(blocks[:full]):
            ours = self._blocks.narrow(0, first, count).permute(1, 2, 3, 0, 4, 5)
            yield ours, slab.narrow(TOKEN_DIM, start, count * size).view(ours.shape)
            start += count * size
        if rest:
            yield self._blocks[blocks[full]].narrow(TOKEN_DIM, 0, rest), slab.narrow(TOKEN_DIM, start, rest)


def _runs(blocks: Sequence[int]) -> Iterator[tuple[int, int]]:
    """First id and length of every stretch of neighbouring ids."""
    begin = 0
    for i in range(1, len(blocks) + 1):
        if i == len(blocks) or blocks[i] != blocks[i - 1] + 1:
            yield blocks[begin], i - begin
            begin = i
