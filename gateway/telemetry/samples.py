"""The engine's own counters as metrics. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from gateway.answers.base import Figures
from gateway.metrics import Sample

if TYPE_CHECKING:
    from gateway.shared.follower import Follower

_MISS = "miss_"
COLD_TIERS = ("disk", "redis")
_ENGINE_TOTALS = (
    ("restarts", "Engine processes started anew"),
    ("hangs", "Engine processes ended because they gave no sign of life"),
    ("retries", "Requests put to a second engine process"),
    ("preemptions", "Requests that gave their memory up for a while"),
    ("aborts", "Requests given up by who asked"),
    ("expired", "Requests whose time was over"),
    ("idle_tasks", "Prompts computed while nothing else was to do"),
    ("idle_tokens", "Prompt tokens computed while nothing else was to do"),
    ("idle_dropped", "Prompts to compute that were outdated, or too many"),
)
_BACKEND_TOTALS = (
    ("requests", "Requests a backend was sent"),
    ("retries", "Requests it was sent once more"),
    ("prompt_tokens", "Prompt tokens it reported"),
    ("cached_tokens", "Of these, tokens it had not to compute"),
)
# answers and vectors with no room in the queue, refused by the server, unreadable, let go by it; uses that were not
# counted; events of removals that no other replica was told
SHARED_LOSSES = ("dropped", "refused", "broken", "lost", "uses", "untold")
_EVENTS = ("hits", "loads", "writes", "drops", "refused", "failures", "late", "bad", "errors", "evictions", "breakeven")


def answer_samples(levels: Iterable[Figures]) -> Iterator[Sample]:
    """What each level of the answer store holds and lets go."""
    for one in levels:
        level = (("level", one.level),)
        yield Sample("twicetold_store_bytes", "What stored answers weigh, as budgets count", one.size_bytes, level)
        yield Sample("twicetold_store_evicted", "Answers let go for want of room", one.evicted, level, is_total=True)
        yield Sample("twicetold_store_expired", "Answers deleted after their end", one.expired, level, is_total=True)


def kv_samples(stats: Mapping[str, Any]) -> Iterator[Sample]:
    """Blocks, prefix tokens and misses of the engine's tiers; `stats` is `LocalBackend.stats()`."""
    kv: Mapping[str, int] = stats["kv"]
    for state in ("free", "cached", "leased"):
        labels = (("tier", "ram"), ("state", state))
        yield Sample("twicetold_kv_blocks", "KV blocks by state", kv.get(f"blocks_{state}", 0), labels)
    pinned = kv.get("blocks_pinned", 0)  # apart: they are among the cached and the leased
    yield Sample("twicetold_kv_pinned_blocks", "KV blocks kept from eviction", pinned)
    yield _tokens("hit", "ram", kv.get("ram_hit_tokens", 0))
    for tier in COLD_TIERS:
        if f"{tier}_hits" in kv:
            yield from _tier_samples(tier, kv)
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
    """What befell the engine processes and their requests."""
    for state in ("running", "waiting"):
        labels = (("state", state),)
        yield Sample("twicetold_engine_requests", "Requests an engine has", stats.get(state, 0), labels)
    for work, name in (("prompts", "prefill_s"), ("idle", "idle_s")):
        labels, seconds = (("work", work),), stats.get(name, 0)
        yield Sample("twicetold_engine_seconds", "Time engines took for prompts", seconds, labels, is_total=True)
    for name, help_ in _ENGINE_TOTALS:
        yield Sample(f"twicetold_engine_{name}", help_, stats.get(name, 0), is_total=True)


def backend_samples(report: Mapping[str, Any]) -> Iterator[Sample]:
    """How each backend has done, and what was tried again; `report` is `Router.report()`."""
    for backend in report["backends"]:
        label = (("backend", backend["name"]),)
        for name, help_ in _BACKEND_TOTALS:
            yield Sample(f"twicetold_backend_{name}", help_, backend[name], label, is_total=True)
        for reason, count in backend["failures"].items():
            labels = (*label, ("reason", reason))
            yield Sample("twicetold_backend_failures", "Requests a backend failed", count, labels, is_total=True)
        for state in ("running", "waiting"):
            labels = (*label, ("state", state))
            yield Sample("twicetold_backend_load", "Requests a backend has, or its queue", backend[state], labels)
        for outcome, count in backend["queue"].items():
            labels = (*label, ("outcome", outcome))
            yield Sample("twicetold_backend_queue", "Requests its queue gave up", count, labels, is_total=True)
        breaker = backend["breaker"]
        is_closed, opened = breaker["state"] == "closed", breaker["opened"]
        yield Sample("twicetold_backend_breaker_closed", "Whether a circuit lets requests through", is_closed, label)
        yield Sample("twicetold_backend_breaker_opened", "Times a circuit opened", opened, label, is_total=True)
    yield Sample("twicetold_failovers", "Requests put to another replica", report["failovers"], is_total=True)
    for one in report["fallbacks"]:
        labels = (("model", one["model"]), ("answered_by", one["answered_by"]))
        yield Sample("twicetold_fallbacks", "Requests another model answered", one["times"], labels, is_total=True)
    refused = report["retry_budget"]["refused"]
    yield Sample("twicetold_retries_refused", "Second tries an outage was not worth", refused, is_total=True)


def shared_samples(report: Mapping[str, Any], responses_dropped: int) -> Iterator[Sample]:
    """How it goes with the Redis that gateways share; `report` is `RedisAnswers.report()`."""
    yield Sample("twicetold_shared_up", "Whether the shared Redis answers", report["is_up"])
    yield Sample("twicetold_shared_queue", "Writes that wait for the shared Redis", report["waiting"])
    yield Sample("twicetold_shared_commands", "Commands sent to it", report["commands"], is_total=True)
    yield Sample("twicetold_shared_round_trips", "Times it was waited for", report["round_trips"], is_total=True)
    for reason, count in report["failures"].items():
        labels = (("reason", reason),)
        yield Sample("twicetold_shared_failures", "Calls that failed", count, labels, is_total=True)
    losses = {**{reason: report[reason] for reason in SHARED_LOSSES}, "responses": responses_dropped}
    for reason, count in losses.items():
        labels = (("reason", reason),)
        yield Sample("twicetold_shared_losses", "Writes and entries given up", count, labels, is_total=True)


def feed_samples(follower: "Follower") -> Iterator[Sample]:
    """How this replica follows what the others do."""
    stats = follower.stats
    yield Sample("twicetold_feed_following", "Whether what other replicas do is heard", follower.is_following)
    yield Sample("twicetold_feed_lag_seconds", "From the newest event to its having been applied", stats.lag_s)
    for whose, count in (("own", stats.own), ("others", stats.events - stats.own)):
        labels = (("replica", whose),)
        yield Sample("twicetold_feed_events", "Events of the feed that were read", count, labels, is_total=True)
    help_ = "Times it was not known what was missed, and everything was read anew"
    yield Sample("twicetold_feed_lost", help_, stats.lost, is_total=True)


def _tier_samples(tier: str, kv: Mapping[str, int]) -> Iterator[Sample]:
    """What a tier below RAM holds, did, and is measured to be able to."""
    label = (("tier", tier),)
    yield _tokens("hit", tier, kv[f"{tier}_hit_tokens"])
    for name in _EVENTS:
        labels, count = (*label, ("event", name)), kv[f"{tier}_{name}"]
        yield Sample("twicetold_kv_tier_events", "What befell segments of a tier", count, labels, is_total=True)
    for name in ("load_bytes", "write_bytes"):
        labels, count = (*label, ("way", name.removesuffix("_bytes"))), kv[f"{tier}_{name}"]
        yield Sample("twicetold_kv_tier_bytes", "Bytes to and from a tier", count, labels, is_total=True)
    yield Sample("twicetold_kv_tier_latency_seconds", "Time to a tier's answer", kv[f"{tier}_latency_us"] / 1e6, label)
    speed = kv[f"{tier}_bytes_per_s"]
    yield Sample("twicetold_kv_tier_bytes_per_second", "Speed of a tier's loads", speed, label)
    if f"{tier}_blocks" in kv:  # Redis does not say
        labels = (*label, ("state", "cached"))
        yield Sample("twicetold_kv_blocks", "KV blocks by state", kv[f"{tier}_blocks"], labels)
        resident = kv[f"{tier}_resident_bytes"]
        yield Sample("twicetold_kv_tier_resident_bytes", "Bytes a tier holds", resident, label)


def _tokens(outcome: str, tier: str, count: float) -> Sample:
    labels = (("outcome", outcome), ("tier", tier))
    return Sample("twicetold_kv_tokens", "Prompt tokens by how they were had", count, labels, is_total=True)
