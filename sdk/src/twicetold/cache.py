"""What the gateway says about an answer, as a value."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args
from urllib.parse import unquote

Tier = Literal["exact", "semantic", "kv", "full"]


class NotTwicetoldError(ValueError):
    """The answer did not come through Twicetold."""


@dataclass(frozen=True, slots=True)
class CacheInfo:
    """Which tier answered, why, and what that saved."""

    tier: Tier
    reason: str
    entry: str | None  # name of the stored answer
    similarity: float | None  # cosine of the two questions, on a semantic hit
    saved_tokens: int | None
    age_s: int | None  # of the stored answer
    overhead_ms: float | None  # what the gateway's own lookups took
    fallback: str | None = None  # the model that answered instead of the one that was asked for

    @property
    def is_hit(self) -> bool:
        """Whether no generation was needed."""
        return self.tier in ("exact", "semantic")

    @classmethod
    def from_headers(cls, headers: Mapping[str, str]) -> "CacheInfo":
        """Read response headers, in any case. Raises `NotTwicetoldError` (a `ValueError`)."""
        found = {name.lower(): value for name, value in headers.items()}
        saved, age = found.get("x-twicetold-saved-tokens"), found.get("age")
        similarity, overhead = found.get("x-twicetold-similarity"), found.get("x-twicetold-overhead-ms")
        return cls(
            tier=_tier(found.get("x-twicetold-tier")),
            reason=found.get("x-twicetold-reason", ""),
            entry=found.get("x-twicetold-entry"),
            similarity=None if similarity is None else float(similarity),
            saved_tokens=None if saved is None else int(saved),
            age_s=None if age is None else int(age),
            overhead_ms=None if overhead is None else float(overhead),
            fallback=unquote(found["x-twicetold-fallback"]) if "x-twicetold-fallback" in found else None,
        )

    @classmethod
    def from_lookup(cls, said: Mapping[str, Any]) -> "CacheInfo":
        """Read the answer of /v1/cache/lookup."""
        age = said.get("age_s")
        return cls(
            tier=_tier(said.get("tier") or "full"),
            reason=str(said.get("reason") or ""),
            entry=said.get("entry"),
            similarity=said.get("similarity"),
            saved_tokens=said.get("saved_tokens"),
            age_s=None if age is None else int(age),
            overhead_ms=None,
        )


def _tier(name: Any) -> Tier:
    for tier in get_args(Tier):
        if tier == name:
            return tier  # type: ignore[no-any-return]
    raise NotTwicetoldError(f"not an answer of Twicetold: x-twicetold-tier is {name!r}")
