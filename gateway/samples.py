"""The engine's own counters as metrics. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from gateway.metrics import Sample

_MISS = "miss_"


def kv_samples(stats: Mapping[str, Any]) -> Iterator[Sample]:
    """Blocks, prefix tokens and misses of the engine's RAM tier; `stats` is `LocalBackend.stats()`."""
    kv: Mapping[str, int] = stats["kv"]
    for state in ("free", "cached", "leased"):
        labels = (("tier", "ram"), ("state", state))
        yield Sample("twicetold_kv_blocks", "KV blocks by state", kv.get(f"blocks_{state}", 0), labels)
    yield _tokens("hit", "ram", kv.get("hit_tokens", 0))
    yield _tokens("computed", "none", stats["prefill_tokens"])
    for name, count in kv.items():
        if name.startswith(_MISS):
            reason = (("reason", name.removeprefix(_MISS)),)
            yield Sample("twicetold_kv_miss", "Prefix lookups that found nothing", count, reason, is_total=True)


def draft_samples(stats: Mapping[str, Any]) -> Iterator[Sample]:
    """What came of the drafts that were checked."""
    for outcome in ("accepted", "rejected"):
        count, labels = stats.get(f"drafts_{outcome}", 0), (("outcome", outcome),)
        yield Sample("twicetold_draft_tokens", "Drafted tokens that were checked", count, labels, is_total=True)


def engine_samples(stats: Mapping[str, Any]) -> Iterator[Sample]:
    """What befell the engine processes."""
    for name, help_ in (
        ("restarts", "Engine processes started anew"),
        ("hangs", "Engine processes ended because they gave no sign of life"),
        ("retries", "Requests put to a second engine process"),
    ):
        yield Sample(f"twicetold_engine_{name}", help_, stats.get(name, 0), is_total=True)


def _tokens(outcome: str, tier: str, count: float) -> Sample:
    labels = (("outcome", outcome), ("tier", tier))
    return Sample("twicetold_kv_tokens", "Prompt tokens by how they were had", count, labels, is_total=True)
