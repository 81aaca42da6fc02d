"""The feed: what replicas of the gateway tell each other of their common store. Pure.

    k   put    an entry was kept, in the place of what had its key             r   the replica that did it
        vec    it got its vector                                               s   scope     c   compat
        gone   it was removed on purpose: no replica may serve it any more     x   exact     i   id of the entry
        out    it was let go: it ended, or there was no room
        chg    something small of it changed: verdicts, its end

A removal of many, or of one, begins with `all`: where it stands among removals (`i`), and what it selects (`b`), for
memories that hold what the store does not, and for answers that are being made.

Any other event says which entry, never what is in it: who is concerned asks the store, which is the truth. So events
may come twice, or be put together, and what is applied late is applied as things are then.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

from gateway.answers.base import DIGEST_BYTES

Kind = Literal["put", "vec", "gone", "out", "chg"]
Fields = Mapping[bytes, bytes]

KINDS: tuple[Kind, ...] = get_args(Kind)
HERE = b"here"  # the kind of an event that says nothing: somebody's place in an empty stream
ALL = b"all"  # of a removal, before anything of it is done
ASK = b"ask"  # of a question whether everything before it is applied; its `i` names where the answer belongs


@dataclass(frozen=True, slots=True)
class Event:
    """Something that befell one entry."""

    kind: Kind
    replica: bytes
    scope: bytes
    compat: bytes
    exact: bytes
    id: str

    def fields(self) -> dict[bytes, bytes]:
        """As it lies in the stream."""
        return {
            b"k": self.kind.encode(),
            b"r": self.replica,
            b"s": self.scope,
            b"c": self.compat,
            b"x": self.exact,
            b"i": self.id.encode(),
        }


def event_of(fields: Fields) -> Event | None:
    """What fields of the stream say; None for what no replica of this version writes."""
    kind, scope, compat = fields.get(b"k", b"").decode("latin-1"), fields.get(b"s", b""), fields.get(b"c", b"")
    exact, name = fields.get(b"x", b""), fields.get(b"i", b"")
    if kind not in KINDS or len(scope) != DIGEST_BYTES or not name:
        return None
    try:
        return Event(kind, fields.get(b"r", b""), scope, compat, exact, name.decode())
    except UnicodeDecodeError:
        return None


def question_of(fields: Fields, own: bytes) -> str | None:
    """What another replica asks; None when these fields are no question of another one."""
    name = fields.get(b"i", b"")
    is_asked = fields.get(b"k") == ASK and fields.get(b"r") != own and name.isalnum() and len(name) <= 64
    return name.decode("ascii") if is_asked and name.isascii() else None


@dataclass(frozen=True, slots=True)
class Removed:
    """Somebody removes what is selected."""

    place: bytes  # among removals
    selection: bytes


def removed_of(fields: Fields, own: bytes) -> Removed | None:
    """What another replica removes; None when these fields say nothing of it."""
    if fields.get(b"k") != ALL or fields.get(b"r") == own:
        return None
    return Removed(fields.get(b"i", b""), fields.get(b"b", b""))


@dataclass(frozen=True, slots=True)
class News:
    """What some events come to for one entry."""

    scope: bytes
    compat: bytes
    exact: bytes
    id: str
    is_stale: bool = False  # what memory has of it is not what the store has
    was_removed: bool = False  # at some moment, on purpose
    was_let_go: bool = False
    is_there: bool = False  # it was written after any removal
    has_vector: bool = False


def news_of(events: Iterable[Event], own: bytes = b"") -> list[News]:
    """What `events`, oldest first, come to, entry by entry; what a replica did itself is no news to it."""
    found: dict[tuple[bytes, str], News] = {}
    for event in events:
        if event.replica == own:
            continue
        key = (event.scope, event.id)
        before = found.pop(key, None) or News(event.scope, event.compat, event.exact, event.id)
        found[key] = _after(replace(before, compat=event.compat, exact=event.exact or before.exact), event.kind)
    return list(found.values())


def _after(news: News, kind: Kind) -> News:
    if kind == "put":
        return replace(news, is_stale=True, is_there=True, has_vector=False)
    if kind == "vec":
        return replace(news, is_there=True, has_vector=True)
    if kind == "chg":
        return replace(news, is_stale=True)
    gone = replace(news, is_stale=True, is_there=False, has_vector=False)
    return replace(gone, was_removed=True) if kind == "gone" else replace(gone, was_let_go=True)
