"""Which prefixes are shared most: the kept blocks that requests found, as a tree of few nodes.

    system prompt, 640 tokens, found 90 times
    |- question one, 40 tokens, found 60 times
    '- question two, 35 tokens, found 30 times

A node is a run of blocks that the very same requests found, so a chain without a branch is one node. Blocks that
nobody has found yet are counted and not drawn. A survey works on a copy of what it needs, made when it begins (6 ms of
100,000 blocks), and then in slices as short as its driver likes: nothing else has to wait for it, and what is kept or
evicted meanwhile changes nothing in it. Every salt has trees of its own; a survey says which nodes are of one salt, and
not what it is.
"""

import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from heapq import heappop, heappush
from itertools import islice
from typing import Any

from kvtier.eviction.policy import Facts
from kvtier.keys import ID_BYTES, count_common_ids, unpack
from kvtier.prefix import Node
from kvtier.uses import Uses

AT_ONCE = 64  # blocks between two looks at the clock
HEAD_TOKENS = 48  # of a node that are told
LEAST_SKIPPED = 8  # fewer may be read twice
MOST_BESIDE = 100  # blocks that one is compared with


@dataclass(frozen=True, slots=True)
class Prefix:
    """A run of blocks that were found together. `saved` counts tokens that were not computed, summed over all hits."""

    parent: int | None  # the node before it, by its place in the list
    salt: str  # equal for nodes under one salt
    owner: str
    start: int  # tokens before it
    tokens: int
    blocks: int
    pinned: int  # blocks
    hits: int
    saved: int
    saved_below: int  # its own and what its descendants saved
    hidden: int  # blocks below it that were found, and have no node for want of room
    unused_tokens: int  # that are kept below it and that nobody has found
    skipped: int  # its first tokens, as far as a sibling has the same: blocks part at their borders, texts do not
    head: list[int] = field(default_factory=list)  # its first tokens behind those


class Survey:
    """A tree in the making."""

    def __init__(
        self,
        nodes: Sequence[Node],
        facts: Sequence[Facts | None],
        pins: Collection[int],
        uses: Uses,
        block_tokens: int,
        most_nodes: int,
    ) -> None:
        """All that is given must be nobody else's."""
        self._nodes, self._facts, self._pins, self._uses = nodes, facts, pins, uses
        self._block_tokens = block_tokens
        self._most_nodes = most_nodes
        self._children: dict[int, list[Node]] = {}
        self._roots: list[Node] = []
        self._hits = [0] * len(facts)
        self._saved = [0] * len(facts)  # with what is below
        self._tokens = [0] * len(facts)  # with what is below
        self._found = [0] * len(facts)  # blocks that were found, with those below
        self._prefixes: list[Prefix] = []
        self._work = self._all()

    def step(self, budget_s: float) -> bool:
        """Go on for about so long; returns whether it is done."""
        until = time.perf_counter() + budget_s
        return all(time.perf_counter() < until for _ in self._work)

    def report(self) -> dict[str, Any]:
        """What came of it, once it is done: the nodes that saved most, parents first, and sums over all."""
        return {
            "nodes": self._prefixes,
            "blocks": len(self._nodes),
            "tokens": sum(self._tokens[root.block] for root in self._roots),
            "found_blocks": sum(self._found[root.block] for root in self._roots),
            "saved": sum(self._saved[root.block] for root in self._roots),
            "salts": len({root.parent for root in self._roots}),
        }

    def _all(self) -> Iterator[None]:
        levels: list[list[Node]] = []
        yield from self._link(levels)
        yield from self._add_up(levels)
        yield from self._choose()

    def _link(self, levels: list[list[Node]]) -> Iterator[None]:
        for count, node in enumerate(self._nodes):
            if not count % AT_ONCE:
                yield
            while len(levels) <= node.depth:
                levels.append([])
            levels[node.depth].append(node)
            facts = self._facts[node.block]
            if facts is None or facts.parent is None:
                self._roots.append(node)
            else:
                self._children.setdefault(facts.parent, []).append(node)

    def _add_up(self, levels: list[list[Node]]) -> Iterator[None]:
        """From the leaves to the roots."""
        hits, saved, tokens, found = self._hits, self._saved, self._tokens, self._found
        for count, node in enumerate(node for level in reversed(levels) for node in level):
            if not count % AT_ONCE:
                yield
            block = node.block
            went_on = hits[block]  # of the children
            hits[block] += self._uses.ended[block]
            saved[block] += went_on * self._block_tokens + self._uses.rows[block]
            tokens[block] += len(node.packed) // ID_BYTES
            found[block] += hits[block] > 0
            facts = self._facts[block]
            if facts is not None and facts.parent is not None:
                for sums in (hits, saved, tokens, found):
                    sums[facts.parent] += sums[block]

    def _choose(self) -> Iterator[None]:
        """Nodes by what they and those below them saved, the most first: a parent comes before its children."""
        heap: list[tuple[int, int, Node, int | None]] = []
        for root in self._roots:
            self._offer(heap, root, None)
        while heap and len(self._prefixes) < self._most_nodes:
            _, _, head, parent = heappop(heap)
            run = [head]
            for count, node in enumerate(self._run(head)):
                if not count % AT_ONCE:
                    yield
                run.append(node)
            place = len(self._prefixes)
            self._prefixes.append(self._prefix(run, parent))
            for child in self._children.get(run[-1].block, ()):
                self._offer(heap, child, place)
        self._hide(heap)

    def _offer(self, heap: list[tuple[int, int, Node, int | None]], node: Node, parent: int | None) -> None:
        if self._hits[node.block]:
            heappush(heap, (-self._saved[node.block], node.block, node, parent))

    def _run(self, node: Node) -> Iterator[Node]:
        """The blocks behind one that were found as often as it was."""
        while True:
            used = [child for child in self._children.get(node.block, ()) if self._hits[child.block]]
            if len(used) != 1 or self._hits[used[0].block] != self._hits[node.block]:
                return
            node = used[0]
            yield node

    def _prefix(self, run: list[Node], parent: int | None) -> Prefix:
        first, last = run[0], run[-1]
        facts = self._facts[first.block]
        below = self._children.get(last.block, ())
        saved_behind = sum(self._saved[child.block] for child in below)
        idle = (child for node in run for child in self._children.get(node.block, ()) if not self._hits[child.block])
        skipped = self._skipped(first)
        head = b"".join(node.packed for node in run[: 2 + HEAD_TOKENS // self._block_tokens])
        return Prefix(
            parent=parent,
            salt=self._prefixes[parent].salt if parent is not None else _short(first.parent),
            owner=facts.owner if facts is not None else "",
            start=first.depth * self._block_tokens,
            tokens=sum(len(node.packed) for node in run) // ID_BYTES,
            blocks=len(run),
            pinned=sum(node.block in self._pins for node in run),
            hits=self._hits[first.block],
            saved=self._saved[first.block] - saved_behind,
            saved_below=self._saved[first.block],
            hidden=0,
            unused_tokens=sum(self._tokens[child.block] for child in idle),
            skipped=skipped,
            head=unpack(head[skipped * ID_BYTES : (skipped + HEAD_TOKENS) * ID_BYTES]),
        )

    def _skipped(self, node: Node) -> int:
        """How many tokens a block shares with the nearest of the blocks beside it that were found, too."""
        facts = self._facts[node.block]
        beside = self._roots if facts is None or facts.parent is None else self._children[facts.parent]
        used = (one for one in beside if one is not node and one.parent == node.parent and self._hits[one.block])
        most = max((count_common_ids(one.packed, node.packed) for one in islice(used, MOST_BESIDE)), default=0)
        return most if LEAST_SKIPPED <= most < len(node.packed) // ID_BYTES else 0

    def _hide(self, heap: list[tuple[int, int, Node, int | None]]) -> None:
        """Count what found no room under the nodes that did."""
        hidden: dict[int, int] = {}
        for _, _, node, parent in heap:
            if parent is not None:
                hidden[parent] = hidden.get(parent, 0) + self._found[node.block]
        for place, count in hidden.items():
            self._prefixes[place] = replace(self._prefixes[place], hidden=count)


def _short(root: bytes) -> str:
    """A name for a salt that says nothing of it."""
    return blake2b(root, digest_size=4, person=b"kv-salt-name").hexdigest()
