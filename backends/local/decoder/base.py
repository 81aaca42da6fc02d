"""What the engine asks of a model: rows of sequences in, logits out, keys and values left in slabs.

    # slab     [layers, keys and values, kv heads, capacity, head dim]
    # rows     0 ............ start ......... stop ......... capacity
    #          |  read         |  written,      |  not ours to read  |
    #          |               |  then read     |                    |

`model` computes Llama-like decoders itself; `foreign` lets transformers compute every other one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

TOKEN_DIM = 3


@dataclass(frozen=True, slots=True)
class Span:
    """Rows [start, stop) of one sequence, to be computed into its slab."""

    token_ids: Sequence[int]
    slab: torch.Tensor
    start: int
    num_logits: int = 1  # of the last so many rows the logits are wanted; 0 spares the head

    @property
    def stop(self) -> int:
        return self.start + len(self.token_ids)


class Decoder(Protocol):
    """The forward pass of one model. It holds weights and no state of any sequence."""

    @property
    def alike_rows(self) -> int:
        """In a forward of up to so many rows, each has the bits that it has alone; 0: rows may change each other's."""
        ...

    def new_slab(self, capacity: int) -> torch.Tensor:
        """Room for `capacity` tokens of one sequence, not filled."""
        ...

    def forward(self, spans: Sequence[Span]) -> torch.Tensor:
        """Compute all rows into their slabs; return the logits wanted, span by span, float32 `[logits, vocab]`.

        They lie on the processor, wherever the model is computed.
        """
        ...
