"""Which stored questions have the same answer, as far as anybody knows, and what came of giving it.

Two do when the words of their answers are the same, or when labels link them: a positive label says that the answer of
one question serves another, and so do all that are linked with either. Union-find over digests of texts.
"""

from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b

Node = bytes

MOST = 20_000  # families whose record is known, and links: as many as a tenant's labels, which a start reads anew


@lru_cache(maxsize=4096)
def digest(text: str) -> Node:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class Kinship:
    """A stored question that no positive label links is a family of its own. Bounded: the family noted least lately
    has no record any more, and the oldest link is forgotten, which makes two families of one."""

    def __init__(self) -> None:
        self._parent: dict[Node, Node] = {}
        self._came: dict[Node, tuple[int, int]] = {}  # by root: answers of the family that were right, and wrong

    def link(self, a: str, b: str) -> None:
        first, second = sorted((self._root(digest(a)), self._root(digest(b))))
        if first != second:
            self._parent[second] = first
            if len(self._parent) > MOST:
                del self._parent[next(iter(self._parent))]
            if second in self._came:
                (right, wrong), (more_right, more_wrong) = self.record(a), self._came.pop(second)
                self._keep(first, right + more_right, wrong + more_wrong)

    def note(self, text: str, is_right: bool, *, corrects: bool = False) -> None:
        """The answer of a stored question was, or would have been, given to another; `corrects`: the opposite was noted
        before."""
        right, wrong = self.record(text)
        if corrects:
            right, wrong = max(0, right - (not is_right)), max(0, wrong - is_right)
        self._keep(self._root(digest(text)), right + is_right, wrong + (not is_right))

    def _keep(self, root: Node, right: int, wrong: int) -> None:
        self._came.pop(root, None)  # it goes to the end: whoever was noted least lately stands first
        self._came[root] = right, wrong
        if len(self._came) > MOST:
            del self._came[next(iter(self._came))]

    def record(self, text: str) -> tuple[int, int]:
        """How often answers of its family were right, and wrong."""
        return self.records([text])[0]

    def records(self, texts: Sequence[str]) -> list[tuple[int, int]]:
        """The same of each."""
        if not self._came:
            return [(0, 0)] * len(texts)
        return [self._came.get(self._root(digest(text)), (0, 0)) for text in texts]

    def families(self, texts: Sequence[str], answers: Sequence[bytes]) -> list[int]:
        """A number per text; two have the same when their answers do."""
        numbers: dict[Node, int] = {}
        families: list[int] = []
        for text, answer in zip(texts, answers, strict=True):
            root = self._root(digest(text))
            family = len(families)
            if root in numbers or answer in numbers:
                known = {numbers[key] for key in (root, answer) if key in numbers}
                family = min(known)
                families = [family if other in known else other for other in families]
                numbers = {key: family if other in known else other for key, other in numbers.items()}
            families.append(family)
            numbers[root] = numbers[answer] = family
        return families

    def _root(self, node: Node) -> Node:
        while (parent := self._parent.get(node, node)) != node:
            self._parent[node] = self._parent.get(parent, parent)  # halve the way for whoever comes next
            node = parent
        return node
