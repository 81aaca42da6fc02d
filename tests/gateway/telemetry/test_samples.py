from dataclasses import fields

from backends.local.wire import Stats
from gateway.telemetry.samples import engine_samples, kv_samples
from kvtier.cache import KVCache
from kvtier.geometry import KVGeometry

RAM_ONLY = KVCache(KVGeometry(1, 1, 2, "float32"), 0, secret=b"s", model="m", tokenizer="t").snapshot()
DISK = {
    "disk_hits": 2,
    "disk_hit_tokens": 512,
    "disk_loads": 2,
    "disk_load_bytes": 4096,
    "disk_write_bytes": 0,
    "disk_latency_us": 50,
    "disk_bytes_per_s": 10,
    "disk_blocks": 16,
    "disk_resident_bytes": 8192,
    **{f"disk_{name}": 0 for name in ("writes", "drops", "refused", "failures", "late", "bad", "errors", "evictions")},
    "disk_breakeven": 3,
}


def values(kv: dict[str, int]) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {(s.name, s.labels): s.value for s in kv_samples({"kv": kv, "prefill_tokens": 7})}


def test_a_tier_that_is_off_has_no_samples() -> None:
    assert not [labels for _, labels in values(RAM_ONLY) if ("tier", "disk") in labels]


def test_hits_are_told_apart_by_tier() -> None:
    found = values({**RAM_ONLY, "ram_hit_tokens": 100, **DISK})

    assert found["twicetold_kv_tokens", (("outcome", "hit"), ("tier", "ram"))] == 100
    assert found["twicetold_kv_tokens", (("outcome", "hit"), ("tier", "disk"))] == 512
    assert found["twicetold_kv_blocks", (("tier", "disk"), ("state", "cached"))] == 16
    assert found["twicetold_kv_tier_events", (("tier", "disk"), ("event", "breakeven"))] == 3
    assert found["twicetold_kv_tier_latency_seconds", (("tier", "disk"),)] == 50e-6


def test_pinned_blocks_are_told_apart_from_the_states_that_add_up() -> None:
    found = values({**RAM_ONLY, "blocks_pinned": 3})

    assert found["twicetold_kv_pinned_blocks", ()] == 3
    assert {labels[1][1] for name, labels in found if name == "twicetold_kv_blocks"} == {"free", "cached", "leased"}


def test_every_counter_of_an_engine_is_a_metric() -> None:
    gauges = {"running", "waiting", "slab_tokens", "slab_tokens_total", "kv"}
    elsewhere = {"prefill_tokens", "prefill_s", "idle_s", "decode_tokens", "drafts_accepted", "drafts_rejected"}
    counters = {item.name for item in fields(Stats)} - gauges - elsewhere
    told = {sample.name for sample in engine_samples({}) if sample.is_total}

    assert {f"twicetold_engine_{name}" for name in counters} <= told


def test_a_load_that_would_not_have_paid_is_a_reason_to_miss() -> None:
    reasons = {labels[0][1] for name, labels in values(RAM_ONLY) if name == "twicetold_kv_miss"}

    assert {"breakeven", "tier_error", "evicted", "no_prefix"} <= reasons
