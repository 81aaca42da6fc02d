"""Read what the Twicetold gateway says about an answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

__version__ = "0.1.0"
__all__ = ["CacheInfo", "Tier"]

Tier = Literal["exact", "semantic", "kv", "full"]


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

    @property
    def is_hit(self) -> bool:
        """Whether no generation was needed."""
        return self.tier in ("exact", "semantic")

    @classmethod
    def from_headers(cls, headers: Mapping[str, str]) -> "CacheInfo":
        """Read response headers, in any case. Raises ValueError when the answer did not come through Twicetold."""
        found = {name.lower(): value for name, value in headers.items()}
        tier = found.get("x-twicetold-tier")
        if tier not in get_args(Tier):
            raise ValueError(f"not an answer of Twicetold: x-twicetold-tier is {tier!r}")
        number = found.get("x-twicetold-similarity")
        saved, age, overhead = (
            found.get(name) for name in ("x-twicetold-saved-tokens", "age", "x-twicetold-overhead-ms")
        )
        return cls(
            tier=tier,  # type: ignore[arg-type]
            reason=found.get("x-twicetold-reason", ""),
            entry=found.get("x-twicetold-entry"),
            similarity=None if number is None else float(number),
            saved_tokens=None if saved is None else int(saved),
            age_s=None if age is None else int(age),
            overhead_ms=None if overhead is None else float(overhead),
        )
