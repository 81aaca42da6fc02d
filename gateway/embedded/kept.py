"""A vector that is kept, and where: memory in front of a file. What is meant by a selection goes from both."""

from dataclasses import dataclass
from typing import Protocol

from gateway.answers.base import CLOCKS_AGREE_S
from gateway.answers.selection import Selection
from gateway.embedded.vector import Vector

# What a selection may go by that vectors have nothing of: then none of them is meant.
_OF_ANSWERS = ("id", "scope", "exact", "canonical", "schema", "embedder", "text")


@dataclass(frozen=True, slots=True)
class Kept:
    """One item's vector, and what is needed to know whether it may be given."""

    key: bytes
    vector: Vector
    num_tokens: int
    tenant: str
    model: str
    namespace: str
    revision: str
    created_s: float  # unix time
    expires_s: float | None = None  # unix time; None: never
    elapsed_s: float = 0.0  # of making it
    tags: tuple[str, ...] = ()

    @property
    def size_bytes(self) -> int:
        """What keeping it costs, roughly."""
        return len(self.vector.data) + len(self.model) + len(self.namespace) + sum(map(len, self.tags)) + 256

    def is_usable(self, now_s: float, max_age_s: float | None, stale_s: float = 0.0) -> bool:
        """Whether a caller who takes no older one may have it."""
        if max_age_s is not None and (now_s - self.created_s > max_age_s or self.created_s - now_s > CLOCKS_AGREE_S):
            return False
        return self.expires_s is None or now_s < self.expires_s + stale_s


def is_meant(selection: Selection, kept: Kept) -> bool:
    """Whether a selection means this vector."""
    plain = ("tenant", "model", "namespace", "revision")
    return (
        not names_answers(selection)
        and all(getattr(selection, name) in (None, getattr(kept, name)) for name in plain)
        and (selection.tag is None or selection.tag in kept.tags)
        and (selection.before_s is None or kept.created_s <= selection.before_s)
    )


def names_answers(selection: Selection) -> bool:
    """Whether it goes by something that answers alone have."""
    return any(getattr(selection, name) is not None for name in _OF_ANSWERS)


class Vectors(Protocol):
    """A place that keeps vectors. Raises `CacheError` where it cannot be asked."""

    async def get(self, keys: list[bytes]) -> dict[bytes, Kept]: ...

    async def put(self, kept: list[Kept]) -> None: ...

    async def count(self, selection: Selection) -> int: ...

    async def remove(self, selection: Selection) -> int: ...
