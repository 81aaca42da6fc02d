"""What a tier is, and what is said to it: plain values, so that its threads never see a block or a tensor of RAM's."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kvtier.keys import ID_BYTES

Rows = NDArray[np.uint8]  # the bytes of `[layers, keys and values, kv heads, tokens, head dim]`

SEGMENT_BLOCKS = 8  # segments begin at multiples of it, so a chain is always cut in the same places


class TierError(Exception):
    """A tier cannot do what was asked; whoever asked counts it and goes on without."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Blocks of one chain that lie side by side; only the last may be partly filled."""

    parent: bytes  # key of the block before the first; the root of the chain at its head
    keys: tuple[bytes, ...]
    packed: bytes  # token ids
    start: int  # tokens before it
    owner: str = ""  # the mark of whose it is (`kvtier.keys.owner_mark`)

    @property
    def key(self) -> bytes:
        """Names the segment, as it names the whole prefix that ends with it."""
        return self.keys[-1]

    @property
    def num_tokens(self) -> int:
        return len(self.packed) // ID_BYTES


@dataclass(frozen=True, slots=True)
class Wanted:
    """A prompt whose rows [start, stop) are missing: `keys` of its full blocks under `root`, and all its token ids."""

    root: bytes
    keys: Sequence[bytes]
    packed: bytes
    start: int
    stop: int
    block_tokens: int

    @property
    def segment_tokens(self) -> int:
        return self.block_tokens * SEGMENT_BLOCKS

    @property
    def first(self) -> int:
        """Where the segment begins that holds token `start`."""
        return self.start - self.start % self.segment_tokens

    def parent(self, start: int) -> bytes:
        """Key before the segment at token `start`."""
        return self.keys[start // self.block_tokens - 1] if start else self.root

    def ids(self, start: int) -> bytes:
        """Packed ids that the segment at token `start` is to hold; fewer at the end."""
        return self.packed[start * ID_BYTES : min(start + self.segment_tokens, self.stop) * ID_BYTES]


@dataclass(frozen=True, slots=True)
class Found:
    """A segment that a tier has, by name: it holds the rows [start, stop) of what is wanted, and maybe others after."""

    key: bytes
    start: int
    stop: int
    num_bytes: int


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class Restored:
    """Verified rows of `num_tokens` tokens from `start` on, of which those before `stop` are wanted.

    The memory of `rows` is used again when this object is gone.
    """

    tier: str
    start: int
    stop: int
    num_tokens: int
    rows: Rows


class Tier(Protocol):
    """A place for segments. Every method but `holds` may take long and is called from threads of the cache's own."""

    @property
    def name(self) -> str: ...

    @property
    def is_remote(self) -> bool:
        """Whether it may be slow or away, so that a request does not wait long for it."""
        ...

    def find(self, wanted: Wanted) -> Sequence[Found]:
        """The run of segments that holds the rows from `wanted.start` on. Raises `TierError`."""
        ...

    def load(self, wanted: Wanted, run: Sequence[Found]) -> Iterator[Restored]:
        """The verified rows of a run, in order; ends early where one is gone or bad. Raises `TierError`."""
        ...

    def holds(self, segment: Segment) -> bool:
        """Whether the segment, or a longer one, is known to be here. Never waits."""
        ...

    def save(self, segment: Segment, rows: Rows) -> bool:
        """Keep a segment; False when it is refused. Raises `TierError`."""
        ...

    def clear(self) -> None:
        """Forget every segment of this model."""
        ...

    def erase(self, owner: str) -> int:
        """Forget every segment under this mark, of any model that can be told; returns how many. What is of nobody
        that can be told goes, too. Raises `TierError`: then it is to be tried again."""
        ...

    def snapshot(self) -> dict[str, int]:
        """Counters and gauges under flat names."""
        ...

    def close(self) -> None:
        """Let go of threads, files and connections."""
        ...
