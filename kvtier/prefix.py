"""Which prefixes are known, and in which block each one ends.

A node is one block under its chain key. Full blocks are found by key; a block that agrees only in its first rows is
found among the children of the last full match, which gives token granularity without a radix tree. The children of a
node are kept sorted by their packed ids, so the one sharing most rows with a prompt is a neighbour of the place where
the prompt would stand.

A partly filled block is a child like any other, but has no children itself. Among the children of one node none is the
beginning of another: the longer one replaces it.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from kvtier.keys import ID_BYTES, count_common_ids


@dataclass(frozen=True, slots=True)
class Node:
    """A kept block: its key, the key before it, its place in the chain, and its packed token ids."""

    block: int
    key: bytes
    parent: bytes
    depth: int
    packed: bytes


class PrefixIndex:
    """Keys to blocks, and parents to children. Closed under prefixes: a node's parent is known or is a root."""

    def __init__(self) -> None:
        self._by_key: dict[bytes, Node] = {}
        self._by_block: dict[int, Node] = {}
        self._children: dict[bytes, list[tuple[bytes, int]]] = {}  # packed ids and block, sorted by the ids

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[Node]:
        return iter(self._by_key.values())

    def node(self, block: int) -> Node:
        return self._by_block[block]

    def find(self, key: bytes) -> int | None:
        """The block of this key; None for a root, and for what is not kept."""
        node = self._by_key.get(key)
        return None if node is None else node.block

    def longest_run(self, keys: Sequence[bytes], packed: bytes, block_bytes: int) -> list[int]:
        """Blocks of the leading keys that are known, each compared by its token ids too."""
        run = []
        for i, key in enumerate(keys):
            node = self._by_key.get(key)
            if node is None or node.packed != packed[i * block_bytes : (i + 1) * block_bytes]:
                break
            run.append(node.block)
        return run

    def nearest_child(self, parent: bytes, packed: bytes) -> tuple[int, int] | None:
        """The child of `parent` sharing most leading ids with `packed`, and how many; None when no child shares one."""
        siblings = self._children.get(parent, [])
        at = bisect_left(siblings, (packed,))
        best = max(
            ((count_common_ids(ids, packed), block) for ids, block in siblings[max(at - 1, 0) : at + 1]),
            default=(0, -1),
        )
        return (best[1], best[0]) if best[0] else None

    def beginning_of(self, parent: bytes, packed: bytes) -> int | None:
        """The child of `parent` that is a true beginning of `packed`: the one that `packed` would replace."""
        found = self.nearest_child(parent, packed)
        if (
            found is None
            or len(self.node(found[0]).packed) != found[1] * ID_BYTES
            or found[1] * ID_BYTES == len(packed)
        ):
            return None
        return found[0]

    def add(self, node: Node) -> None:
        """Remember a block. Raises RuntimeError when its key or its block is already known."""
        if node.key in self._by_key or node.block in self._by_block:
            raise RuntimeError(f"block {node.block} at depth {node.depth} is indexed twice")
        self._by_key[node.key] = self._by_block[node.block] = node
        insort(self._children.setdefault(node.parent, []), (node.packed, node.block))

    def remove(self, block: int) -> Node:
        """Forget a leaf. Raises RuntimeError when the block has children: what follows it would be lost."""
        node = self._by_block[block]
        if node.key in self._children:
            raise RuntimeError(f"block {block} at depth {node.depth} has children")
        del self._by_key[node.key], self._by_block[block]
        siblings = self._children[node.parent]
        del siblings[bisect_left(siblings, (node.packed, block))]
        if not siblings:
            del self._children[node.parent]
        return node

    def clear(self) -> list[int]:
        """Forget everything; returns the blocks that were known."""
        blocks = list(self._by_block)
        self._by_key.clear()
        self._by_block.clear()
        self._children.clear()
        return blocks

    def check(self) -> None:
        """Raise RuntimeError when a chain is broken in the middle, or a block is the beginning of its sibling."""
        for node in self:
            if node.depth and node.parent not in self._by_key:
                raise RuntimeError(f"block {node.block} at depth {node.depth} lost its parent")
        for siblings in self._children.values():
            for (ids, block), (after, longer) in pairwise(siblings):
                if after.startswith(ids):
                    raise RuntimeError(f"block {block} is the beginning of block {longer}")
        listed = sum(map(len, self._children.values()))
        if not len(self._by_key) == len(self._by_block) == listed:
            raise RuntimeError(f"keys {len(self._by_key)}, blocks {len(self._by_block)}, children {listed} differ")
