"""What is known, by the bytes of a request: the least lately asked goes when a budget of bytes is full.

Invariants: `size_bytes` is the sum of all sizes; `_heads` has every head that a known request begins with, how many do,
and how long their bodies are, which a head says.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from gateway.express.reading import END, MOST_BYTES, MOST_HEAD_BYTES, Known, without_passing

SHARES = 16  # of a budget: more than one is too large for it


class Kept(Protocol):
    """Something under a request."""

    known: Known
    size_bytes: int


Thing = TypeVar("Thing", bound=Kept)


@dataclass(frozen=True, slots=True)
class Wait:
    """What has come in is the beginning of a request that may be known when so much of it is there."""

    num_bytes: int


class Table(Generic[Thing]):
    """Belongs to one event loop."""

    def __init__(self, budget_bytes: int, most_head_bytes: int = MOST_HEAD_BYTES) -> None:
        """`most_head_bytes`: what comes with a longer head is for the whole road to refuse."""
        self.size_bytes = 0
        self._budget_bytes = budget_bytes
        self._most_head_bytes = most_head_bytes
        self._things: OrderedDict[bytes, Thing] = OrderedDict()
        self._heads: dict[bytes, tuple[int, int]] = {}  # how many, bytes of the body

    def __len__(self) -> int:
        return len(self._things)

    def has_room(self, size_bytes: int) -> bool:
        """Whether so much more fits without letting go of anything."""
        return self.size_bytes + size_bytes <= self._budget_bytes

    def __contains__(self, known: Known) -> bool:
        return known.key in self._things

    def get(self, raw: bytes) -> Thing | None:
        """What is under a whole request without passing lines."""
        thing = self._things.get(raw)
        if thing is not None:
            self._things.move_to_end(raw)
        return thing

    def look(self, raw: bytes) -> tuple[Thing, bytes] | Wait | None:
        """Where `get` knows nothing: what is under a request with passing lines, and how it names itself; or whether
        to wait for the rest of one."""
        end = raw.find(END, 0, self._most_head_bytes) + len(END)
        if end < len(END):
            return None
        head, name = raw[:end], b""
        if (found := self._heads.get(head)) is None:
            if (read := without_passing(head)) is None:
                return None
            head, name = read
            if (found := self._heads.get(head)) is None:
                return None
        whole = end + found[1]
        if len(raw) < whole:
            return Wait(whole) if whole <= MOST_BYTES else None
        if len(raw) > whole or len(head) == end:
            return None
        thing = self.get(head + raw[end:])
        return None if thing is None else (thing, name)

    def put(self, thing: Thing) -> None:
        """Keep it, in the place of what its request had, and let go of others."""
        if (before := self._things.get(thing.known.key)) is not None:
            self.drop(before)
        if thing.size_bytes > self._budget_bytes // SHARES:
            return  # all others would have to go for it
        while self.size_bytes + thing.size_bytes > self._budget_bytes:
            self.drop(next(iter(self._things.values())))
        self._things[thing.known.key] = thing
        self.size_bytes += thing.size_bytes
        head = thing.known.head
        count, _ = self._heads.get(head, (0, 0))
        self._heads[head] = count + 1, thing.known.num_body

    def drop(self, thing: Thing) -> None:
        """Know it no more, if it is what is known."""
        key, head = thing.known.key, thing.known.head
        if self._things.get(key) is not thing:
            return
        del self._things[key]
        self.size_bytes -= thing.size_bytes
        count, num_body = self._heads[head]
        if count > 1:
            self._heads[head] = count - 1, num_body
        else:
            del self._heads[head]

    def clear(self) -> list[Thing]:
        """Know nothing; what was known."""
        gone = list(self._things.values())
        self._things.clear()
        self._heads.clear()
        self.size_bytes = 0
        return gone

    def halve(self) -> None:
        """Let go of half, because memory is short."""
        goal = self.size_bytes // 2
        while self.size_bytes > goal:
            self.drop(next(iter(self._things.values())))

    def things(self) -> list[Thing]:
        return list(self._things.values())
