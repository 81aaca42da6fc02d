"""Memory of slabs, used again: the system clears every page of fresh memory first, which costs more than a restore.

A slab is a view of a buffer at least as large. What another sequence left in it is written over before it is read: rows
are read only up to those computed.
"""

import math
from collections import OrderedDict

import torch

from backends.local.decoder.base import Decoder

SPARE_BYTES = 256 << 20  # kept for the next ones
FIRST_BYTES = 64 << 20  # written to at the start, so that the first restore does not wait for the system


class Slabs:
    """Hands out slabs and takes them back."""

    def __init__(self, decoder: Decoder, spare_bytes: int = SPARE_BYTES) -> None:
        self._decoder = decoder
        self._spare_bytes = spare_bytes
        self._shape = decoder.new_slab(0).shape
        self._lent: dict[int, torch.Tensor] = {}  # buffers by the address of their slab
        self._spare: OrderedDict[int, torch.Tensor] = OrderedDict()  # given back longest ago first

    @property
    def num_spare_bytes(self) -> int:
        return sum(buffer.nbytes for buffer in self._spare.values())

    def take(self, capacity: int) -> torch.Tensor:
        """Room for `capacity` tokens, not filled: the smallest spare that is large enough, or fresh memory."""
        layers, two, heads, _, dim = self._shape
        shape = (layers, two, heads, capacity, dim)
        size = math.prod(shape)
        fitting = [buffer for buffer in self._spare.values() if buffer.numel() >= size]
        if fitting:
            buffer = min(fitting, key=torch.Tensor.numel)
            del self._spare[buffer.data_ptr()]
        else:
            buffer = self._decoder.new_slab(capacity).view(-1)
        if size:
            self._lent[buffer.data_ptr()] = buffer
        return buffer[:size].view(shape)

    def warm(self, most_tokens: int) -> None:
        """Have memory at hand for a first slab of up to `most_tokens`."""
        token_bytes = self._decoder.new_slab(1).nbytes
        self.give_back(self.take(min(most_tokens, FIRST_BYTES // token_bytes)).zero_())

    def give_back(self, slab: torch.Tensor) -> None:
        """Keep the memory of a slab for another one, within the bound; nobody may use the slab any more."""
        buffer = self._lent.pop(slab.data_ptr(), None)
        if buffer is None:
            return  # it has no memory
        self._spare[buffer.data_ptr()] = buffer
        while self.num_spare_bytes > self._spare_bytes:
            self._spare.popitem(last=False)

    def drop_spare(self) -> None:
        """Give the memory that nobody uses back to the system."""
        self._spare.clear()
