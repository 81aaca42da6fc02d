"""What each replica is thought to hold: one tree of prefixes for all replicas.

    root --[system prompt]--+--[first conversation]--[its third turn]
                            +--[second conversation]
    every node: a run of chunk keys; who holds how many of its leading ones, and when they were last used there

A key names everything before it, so two runs agree exactly as far as they are equal, and that is found by bisection: a
prompt of 800 chunks costs a dozen looks, and 8 bytes a chunk however many replicas hold it.

Invariant: who holds any of a node holds all of its parent, and used the parent no earlier. A replica forgets its least
recently used leaf first and every run from its far end, so prefixes stay whole, as they do in engines.

Age is measured in tokens that a replica has newly read since: that, and not time, is what pushes blocks out. What is
older than the replica's horizon is remembered and not believed; `affinity.py` moves the horizon by what engines report.
"""

from array import array
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from backends.routing.prompt import Prompt

MANY = 8  # branches behind a prefix, and it is everybody's: a system prompt, not a conversation


@dataclass(slots=True)
class Held:
    """What one replica holds of a node."""

    count: int  # leading chunks
    used: int  # the replica's clock when they were last read there
    is_sure: bool  # False: sent there to be read, and nothing heard yet


class Node:
    """A run of chunks that nothing branches off inside."""

    __slots__ = ("children", "chunks", "held", "parent", "start")

    def __init__(self, parent: "Node | None", start: int, chunks: "array[int]") -> None:
        self.parent = parent
        self.start = start  # chunks before it
        self.chunks = chunks
        self.children: dict[int, Node] = {}  # by their first chunk
        self.held: dict[str, Held] = {}

    @property
    def end(self) -> int:
        return self.start + len(self.chunks)


@dataclass(slots=True)
class _Replica:
    clock: int = 0  # tokens newly read so far
    tokens: int = 0  # remembered
    recent: "OrderedDict[Node, None]" = field(default_factory=OrderedDict)  # least recently used first


class Overlap(NamedTuple):
    """How much of a prompt a replica held last, and how long ago its last used part was used, in tokens read since."""

    chunks: int
    age: int
    is_sure: bool


class Shadow:
    """The prefixes of every replica. Bounded: `most_tokens` for each, `most_nodes` for all together."""

    def __init__(self, most_tokens: int, most_nodes: int = 100_000) -> None:
        self._most_tokens, self._most_nodes = most_tokens, most_nodes
        self._root = Node(None, 0, array("Q"))
        self._replicas: dict[str, _Replica] = {}

    def overlaps(self, prompt: Prompt) -> dict[str, list[Overlap]]:
        """Of every replica that holds some of the prompt: the parts that it held, each deeper and older than before."""
        found: dict[str, list[Overlap]] = {}
        replicas = self._replicas
        for node, common in self._path(prompt.chunks):
            start = node.start
            for name, held in node.held.items():
                count = held.count
                part = Overlap(
                    start + (count if count < common else common), replicas[name].clock - held.used, held.is_sure
                )
                if name in found:
                    found[name].append(part)
                else:
                    found[name] = [part]
        return found

    def shared_chunks(self, prompt: Prompt) -> int:
        """How much of a prompt many others begin with."""
        shared = 0
        for node, _ in self._path(prompt.chunks):
            if len(node.children) >= MANY:
                shared = node.end
        return shared

    def hold(self, replica: str, prompt: Prompt, *, is_sure: bool = True, ahead: int = 0) -> None:
        """A replica has read the whole prompt; or, where that is not sure, is about to.

        `ahead`: tokens on the clock that it has not read yet, which therefore push out what is used now.
        """
        state = self._replicas.setdefault(replica, _Replica())
        path = self._made(prompt.chunks)
        size = prompt.chunk_tokens
        fresh = sum(len(node.chunks) - _count(node, replica) for node in path) * size
        state.clock += fresh
        state.tokens += fresh
        used = max(0, state.clock - ahead)
        for node in reversed(path):  # the head last: it is the youngest
            held = node.held.get(replica)
            if held is None:
                node.held[replica] = Held(len(node.chunks), used, is_sure)
            else:
                held.is_sure = is_sure or (held.is_sure and held.count == len(node.chunks))
                held.count, held.used = len(node.chunks), max(used, held.used)
            state.recent[node] = None
            state.recent.move_to_end(node)
        for (
            name,
            other,
        ) in self._replicas.items():  # a split node counts for all who hold it, one replica more for everybody
            self._bound(name, other, size)

    def cut(self, replica: str, prompt: Prompt, num_chunks: int) -> None:
        """A replica holds nothing of this prompt behind its first `num_chunks`, nor what hangs on it."""
        state = self._replicas.get(replica)
        if state is None:
            return
        for node, common in tuple(self._path(prompt.chunks)):
            if replica in node.held and (node.end > num_chunks or common < len(node.chunks)):
                if num_chunks <= node.start:
                    self._drop(replica, state, node, 0, prompt.chunk_tokens)
                elif num_chunks < node.start + common:
                    self._drop(replica, state, node, num_chunks - node.start, prompt.chunk_tokens)
                return

    def forget(self, replica: str) -> None:
        """A replica holds nothing at all."""
        state = self._replicas.pop(replica, None)
        for node in state.recent if state else ():
            del node.held[replica]
            _prune(node)

    def tokens(self, replica: str) -> int:
        """Tokens remembered of a replica."""
        state = self._replicas.get(replica)
        return state.tokens if state else 0

    def nodes(self) -> Iterator[Node]:
        """Every node below the root."""
        rest = [*self._root.children.values()]
        while rest:
            node = rest.pop()
            rest += node.children.values()
            yield node

    def _path(self, chunks: Sequence[int]) -> Iterator[tuple[Node, int]]:
        """The nodes along a chain, and how much of each it goes through: all of it, but for the last."""
        node, at = self._root, 0
        while at < len(chunks):
            child = node.children.get(chunks[at])
            if child is None:
                return
            common = _common(child.chunks, chunks, at)
            yield child, common
            if common < len(child.chunks):
                return
            node, at = child, at + common

    def _made(self, chunks: Sequence[int]) -> list[Node]:
        """The nodes that spell a chain exactly, split and added as needed."""
        path: list[Node] = []
        node, at = self._root, 0
        for found, common in tuple(self._path(chunks)):
            node = found if common == len(found.chunks) else self._split(found, common)
            path.append(node)
            at += common
        if at < len(chunks):
            leaf = Node(node, at, array("Q", chunks[at:]))
            node.children[chunks[at]] = leaf
            path.append(leaf)
        return path

    def _split(self, node: Node, at: int) -> Node:
        """Cut a node in two; the upper half is new, the lower one keeps its children."""
        upper = Node(node.parent, node.start, node.chunks[:at])
        assert node.parent is not None
        node.parent.children[upper.chunks[0]] = upper
        node.parent, node.start, node.chunks = upper, node.start + at, node.chunks[at:]
        upper.children[node.chunks[0]] = node
        for name, held in tuple(node.held.items()):
            recent = self._replicas[name].recent
            upper.held[name] = Held(min(held.count, at), held.used, held.is_sure)
            recent[upper] = None  # younger than it is: there is no room beside `node`
            if held.count > at:
                held.count -= at
            else:
                del node.held[name], recent[node]
        return upper

    def _drop(self, replica: str, state: _Replica, node: Node, keep: int, size: int) -> None:
        """Let a replica hold only `keep` chunks of a node, and nothing below it."""
        rest = [child for child in node.children.values() if replica in child.held]
        while rest:
            below = rest.pop()
            rest += (child for child in below.children.values() if replica in child.held)
            state.tokens -= below.held.pop(replica).count * size
            del state.recent[below]
            if not below.held and not below.children:
                _prune(below)
        state.tokens -= (node.held[replica].count - keep) * size
        if keep:
            node.held[replica].count = keep
        else:
            del node.held[replica], state.recent[node]
        if not node.children:
            del node.chunks[max((held.count for held in node.held.values()), default=len(node.chunks)) :]
        _prune(node)

    def _bound(self, replica: str, state: _Replica, size: int) -> None:
        """Forget the least recently used until a replica is within its bounds."""
        most_nodes = max(1, self._most_nodes // len(self._replicas))
        while state.tokens > self._most_tokens or len(state.recent) > most_nodes:
            oldest = next(iter(state.recent))
            if any(replica in child.held for child in oldest.children.values()):
                state.recent.move_to_end(oldest)  # a parent that a split has put out of order
                continue
            over = -(-(state.tokens - self._most_tokens) // size)
            keep = 0 if len(state.recent) > most_nodes else max(0, oldest.held[replica].count - over)
            self._drop(replica, state, oldest, keep, size)


def _count(node: Node, replica: str) -> int:
    held = node.held.get(replica)
    return held.count if held else 0


def _common(run: "array[int]", chunks: Sequence[int], at: int) -> int:
    """How many leading chunks of a run the chain has from `at` on; the first is known to be equal."""
    low, high = 1, min(len(run), len(chunks) - at)
    if run[high - 1] == chunks[at + high - 1]:
        return high
    while high - low > 1:  # equal at low - 1, different at high - 1
        middle = (low + high) // 2
        low, high = (middle, high) if run[middle - 1] == chunks[at + middle - 1] else (low, middle)
    return low


def _prune(node: Node) -> None:
    """Take a node out of the tree when nobody holds it, and its parents likewise."""
    while not node.held and not node.children and node.parent is not None:
        parent = node.parent
        if parent.children.get(node.chunks[0]) is node:
            del parent.children[node.chunks[0]]
        node = parent
