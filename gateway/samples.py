"""The engine's own counters as metrics. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from gateway.metrics import Sample


def kv_samples(stats: Mapping[str, Any]) -> Iterator[Sample]:
    """Blocks, prefix tokens and misses of the RAM tier."""
    kv = stats.get("kv") or {}
    for state in ("cached", "leased", "free"):
        labels = (("tier", "ram"), ("state", state))
        yield Sample("twicetold_kv_blocks", "KV blocks by state", kv.get(state, 0), labels)
    for outcome, key in (("hit", "hit_tokens"), ("computed", "computed_tokens")):
        labels = (("outcome", outcome), ("tier", "ram" if outcome == "hit" else "none"))
        yield Sample("twicetold_kv_tokens", "Prompt tokens by how they were had", kv.get(key, 0), labels, is_total=True)
    for reason, count in (kv.get("misses") or {}).items():
        yield Sample("twicetold_kv_miss", "Prefix lookups that found less", count, (("reason", reason),), is_total=True)
