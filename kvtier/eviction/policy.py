"""Which block goes when room is needed: what a policy is told, and what it is asked.

A policy ranks; it does not decide what may go. The pool shows it a block (`expose`) only while that block is a leaf of
its chain, leased by nobody and not pinned, and takes it from view (`hide`) when one of these ends. So eviction is leaf
first whatever a policy says, and no policy can break a chain or evict what is in use.

Time is logical: one tick per block found or kept, and per letting go. An engine at rest does not age its blocks, a
trace replayed twice as fast is the same trace, and equal operations end in equal states.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a block when it is kept. `sequence` numbers the request that computed it."""

    key: bytes
    parent: int | None = None  # the block before it
    owner: str = ""
    sequence: int = 0
    is_full: bool = True
    depth: int = 0  # tokens before it


class Policy(Protocol):
    """Ranks the blocks of one pool, by block id."""

    def add(self, block: int, facts: Facts) -> None:
        """A block is kept from now on."""

    def hit(self, path: Sequence[int]) -> None:
        """A request found the blocks of a chain, first block first."""

    def settle(self, path: Sequence[int], num_answered: int | None = None) -> None:
        """Somebody lets go of a chain: its blocks were used just now. `num_answered` is told when a request ends: how
        many tokens it was answered with."""

    def expose(self, block: int) -> None:
        """The block may be evicted from now on."""

    def hide(self, block: int) -> None:
        """The block may not be evicted any more."""

    def victim(self, owner: str | None) -> int | None:
        """The exposed block to evict, of one owner or of all; None when there is none."""

    def drop(self, block: int) -> None:
        """The block is kept no longer; it was hidden before."""
