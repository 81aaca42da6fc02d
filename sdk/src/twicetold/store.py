"""What the answer cache says without the proxy, as values. No I/O."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from twicetold.answers import ChatAnswer
from twicetold.cache import CacheInfo

JSON = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Lookup:
    """A stored answer, or none and why. Falsy when there is none."""

    id: str  # of a hit, for feedback; of a miss, for the put that answers it
    answer: ChatAnswer | None
    cache: CacheInfo
    raw: JSON = field(default_factory=dict, repr=False)

    def __bool__(self) -> bool:
        return self.answer is not None

    @property
    def text(self) -> str:
        """What the stored answer says; empty when there is none."""
        return self.answer.text if self.answer is not None else ""

    @classmethod
    def read(cls, wire: JSON) -> "Lookup":
        cache = CacheInfo.from_lookup(wire)
        answer = ChatAnswer.read(wire["response"], cache) if wire["hit"] else None
        return cls(wire["id"], answer, cache, wire)


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of a put; when it was refused, `reason` says why."""

    is_kept: bool
    entry: str | None
    reason: str
    ttl_s: float | None

    @classmethod
    def read(cls, wire: JSON) -> "Kept":
        return cls(wire["kept"], wire["entry"], wire["reason"], wire["ttl_s"])
