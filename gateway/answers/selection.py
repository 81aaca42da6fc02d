"""Which entries are meant: what invalidation and the entries API share. Pure."""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from gateway.answers.base import Entry
    from gateway.answers.packed import Packed

MAX_PAGE = 500


@dataclass(frozen=True, slots=True)
class Selection:
    """Every criterion that is given must hold; with none, everything is meant."""

    id: str | None = None  # its aliases, too
    scope: bytes | None = None
    exact: bytes | None = None  # the key of one request, inside `scope`
    canonical: bytes | None = None  # this very request, in whatever scope
    tag: str | None = None
    model: str | None = None
    namespace: str | None = None
    tenant: str | None = None
    revision: str | None = None
    schema: int | None = None
    embedder: str | None = None
    before_s: float | None = None  # made at this moment or earlier; unix time
    text: str | None = None  # in the request or in the answer; letters of either case

    @property
    def is_empty(self) -> bool:
        return all(getattr(self, item.name) is None for item in fields(self))

    def matches(self, entry: "Entry | Packed") -> bool:
        """Whether an entry is meant; `text` is the store's to look for."""
        plain = ("scope", "exact", "canonical", "model", "namespace", "tenant", "revision", "schema", "embedder")
        return (
            all(getattr(self, name) in (None, getattr(entry, name)) for name in plain)
            and (self.id is None or self.id in (entry.id, entry.alias_of))
            and (self.tag is None or self.tag in entry.tags)
            and (self.before_s is None or entry.created_s <= self.before_s)
        )


def needle(text: str) -> bytes:
    """`text` as it stands inside stored JSON, its ASCII letters small."""
    return orjson.dumps(text)[1:-1].lower()


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list; `after` is the place of the last row of the page before it."""

    limit: int = 50
    after: tuple[float, int] | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """A row of a list of entries: everything but the request and the answer."""

    place: tuple[float, int]
    id: str
    tenant: str
    namespace: str
    model: str
    revision: str
    question: str | None
    tags: tuple[str, ...]
    created_s: float
    expires_s: float | None
    elapsed_s: float
    size_bytes: int
    hits: int
    good: int
    bad: int
    alias_of: str | None
    origin: str = ""  # who made the answer
