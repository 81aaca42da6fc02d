"""Which tier answered, why, and what that saved. A value, set once, read by headers, metrics and the dashboard."""

from dataclasses import dataclass, field, replace
from typing import Literal
from urllib.parse import quote

Tier = Literal["exact", "semantic", "kv", "full"]
TIERS: tuple[Tier, ...] = ("exact", "semantic", "kv", "full")

_FORWARDED = {None: "uri-miss", "stale": "stale", "no_cache": "request", "tiers_off": "bypass"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """The ledger's line for one request, as far as it is known when the answer starts."""

    tier: Tier
    reason: str
    entry: str | None = None
    similarity: float | None = None
    age_s: float | None = None  # of the stored answer
    ttl_s: float | None = None  # what is left of its life
    saved_tokens: int | None = None  # None: not known yet (an answer still being generated)
    saved_s: float = 0.0
    is_shared: bool = False  # rode on a generation that was under way
    is_common: bool = False  # an answer that tenants share
    is_padded: bool = False  # it came as slowly as if it were made, and the caller is told that it was
    fallback: str | None = None  # the model that answered instead of the one that was asked for
    bypass: str | None = None  # why the store was not asked, when it was not; "stale": it was, and had an ended answer
    hit_details: bool = True  # whether the caller is told which entry answers, and how alike the questions are
    tells_overhead: bool = True  # which tells whether all tiers were asked
    overhead_s: float = field(default=0.0, compare=False)  # what the gateway's own lookups took

    @property
    def is_stored(self) -> bool:
        """Whether the answer came from the store."""
        return self.tier in ("exact", "semantic") and not self.is_shared

    @property
    def told(self) -> "Outcome":
        """As much of it as the caller may know."""
        if self.is_padded:
            told = replace(self, tier="full", reason="miss", saved_tokens=0, is_padded=False, is_common=False)
            return told.told
        if self.is_common:  # nor when it was made for somebody, and until when it is kept
            return replace(self, entry=None, similarity=None, age_s=None, ttl_s=None)
        return self if self.hit_details else replace(self, entry=None, similarity=None)


def headers_of(outcome: Outcome) -> list[tuple[bytes, bytes]]:
    """The ledger's line as response headers."""
    outcome = outcome.told
    headers = {
        "x-twicetold-tier": outcome.tier,
        "x-twicetold-reason": outcome.reason,
        "cache-status": cache_status(outcome),
    }
    if outcome.tells_overhead:
        headers["x-twicetold-overhead-ms"] = f"{outcome.overhead_s * 1000:.2f}"
    if outcome.entry is not None:
        headers["x-twicetold-entry"] = outcome.entry
    if outcome.fallback is not None:
        headers["x-twicetold-fallback"] = quote(outcome.fallback, safe="/:@ +")
    if outcome.similarity is not None:
        headers["x-twicetold-similarity"] = f"{outcome.similarity:.4f}"
    if outcome.saved_tokens is not None:
        headers["x-twicetold-saved-tokens"] = str(outcome.saved_tokens)
    if outcome.age_s is not None:
        headers["age"] = str(int(outcome.age_s))
    return [(name.encode("ascii"), value.encode("ascii")) for name, value in headers.items()]


def cache_status(outcome: Outcome) -> str:
    """RFC 9211: `twicetold; hit; ttl=...; detail=semantic`."""
    if outcome.is_stored:
        ttl = "" if outcome.ttl_s is None else f"; ttl={int(outcome.ttl_s)}"
        return f"twicetold; hit{ttl}; detail={outcome.tier}"
    collapsed = "; collapsed" if outcome.is_shared else ""
    return f"twicetold; fwd={_FORWARDED[outcome.bypass]}{collapsed}; detail={outcome.tier}"
