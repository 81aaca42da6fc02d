"""What `twicetold doctor` asks of others: the Redis that gateways share, and the servers behind them."""

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.answers.base import CacheError
from gateway.identity.secret import SECRET_BYTES, SecretLocked, read_secret
from gateway.services.seal import seal_of
from gateway.settings import Settings
from gateway.settings.backends import BackendSettings

if TYPE_CHECKING:
    from gateway.answers.redis.connection import Link

OLDEST = (6, 2)  # GETEX
MOST_SCANS = 50  # of a thousand keys each: enough to meet another deployment, if not every one
LOOK_S = 10.0


MENDS = {
    "NOAUTH": "correct the password (the variable redis_password_env names, or percent-encoded in --redis) and user",
    "NOPERM": "let its user do that: redis-cli ACL LOG says what was kept from it",
    "LOADING": "wait: it reads what it kept",
    "CLUSTERDOWN": "see redis-cli cluster info: every slot needs a node that answers",
}


class NotSeen(CacheError):
    """A Redis that cannot be looked at; `code` as in `Link.failures`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `verdict` is ok, warn (works with less) or bad (will not start, or do what it is to)."""

    what: str
    verdict: str
    detail: str
    mend: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a Redis tells of itself. None: it does not tell us."""

    version: str
    is_cluster: bool
    answer_ms: float
    max_bytes: int
    used_bytes: int
    policy: str
    snapshots: str | None
    appends: bool
    last_save_failed: bool
    has_ours: bool
    others: tuple[str, ...]  # what keys of other deployments begin with
    is_replica: bool = False


def redis_findings(settings: Settings) -> Iterator[Finding]:
    """The Redis of `redis`; one that only keeps prefixes is the engine's own business."""
    if not settings.redis:
        return
    try:
        seen = asyncio.run(_look(settings))
    except ImportError as error:
        yield Finding("redis", "bad", f"{error.name} is not installed", "pip install 'twicetold-server[redis]'")
        return
    except SecretLocked:  # told of the data folder
        return
    except (CacheError, TimeoutError) as error:
        code = error.code if isinstance(error, NotSeen) else ""
        mend = MENDS.get(code, "start it, or correct --redis") + "; until then answers are kept in memory only"
        yield Finding("redis", "bad", str(error) or "it does not answer in time", mend)
        return
    yield from judge(seen, settings)


def judge(seen: Seen, settings: Settings) -> Iterator[Finding]:
    """What is right and wrong with it."""
    kind = "a cluster" if seen.is_cluster else "one server"
    told = f"{seen.version}, {kind}, answers in {seen.answer_ms:.1f} ms"
    if _numbers(seen.version) < OLDEST:
        yield Finding("redis", "bad", told, f"use {'.'.join(map(str, OLDEST))} or newer")
    elif seen.is_replica:
        mend = "name the primary in --redis (redis-cli info replication): a gateway would do without this one"
        yield Finding("redis", "bad", f"{told}; it is a replica and takes no writes", mend)
    else:
        yield Finding("redis", "ok", told)
    yield _memory(seen, settings)
    yield _persistence(seen)
    yield _secret(seen, settings)


def _memory(seen: Seen, settings: Settings) -> Finding:
    wanted = settings.shared.answers_mb * 2**20
    told = f"{seen.used_bytes / 2**20:.0f} MB used, maxmemory {seen.max_bytes / 2**20:.0f} MB, {seen.policy}"
    if not seen.max_bytes:
        mend = "set maxmemory: prefixes of engines have no other limit"
        return Finding("redis memory", "warn", told.replace("maxmemory 0 MB", "no maxmemory"), mend)
    if seen.policy.startswith("allkeys"):
        mend = "set maxmemory-policy volatile-lru: this one takes the lists that say which answers there are"
        return Finding("redis memory", "warn", told, mend)
    if seen.policy == "noeviction" and _keeps_prefixes(settings):
        mend = "set maxmemory-policy volatile-lru: once it is full this one refuses new answers"
        return Finding("redis memory", "warn", told, mend)
    if wanted > 0.8 * seen.max_bytes:
        mend = f"raise maxmemory, or lower shared.answers_mb ({settings.shared.answers_mb}): answers leave no room"
        return Finding("redis memory", "warn", told, mend)
    return Finding("redis memory", "ok", told)


def _keeps_prefixes(settings: Settings) -> bool:
    """Whether engines put prefixes there, too, which keep to no budget."""
    return bool(settings.local_models) and settings.engine.kv_redis in ("", settings.redis)


def _persistence(seen: Seen) -> Finding:
    if seen.last_save_failed:
        return Finding("redis persistence", "warn", "the last snapshot failed", "see its log; a full disk?")
    ways = [f"snapshots ({seen.snapshots})"] if seen.snapshots else []
    ways += ["append-only file"] if seen.appends else []
    if not ways and seen.snapshots is None:
        return Finding("redis persistence", "ok", "it does not say; no append-only file")
    if not ways:
        return Finding("redis persistence", "warn", "none: its restart forgets every answer", "save 900 1 300 1000")
    return Finding("redis persistence", "ok", ", ".join(ways))


def _secret(seen: Seen, settings: Settings) -> Finding:
    others = f"{len(seen.others)} other{'s' if len(seen.others) != 1 else ''} ({', '.join(seen.others)})"
    mend = "give every gateway the same secret (secret_env)"
    if not settings.secret:
        detail = "this machine's own: no other gateway finds what is kept under it"
        return Finding("shared secret", "warn", detail, mend)
    if seen.others and not seen.has_ours:
        return Finding("shared secret", "warn", f"nothing is kept under it there, but under {others}", mend)
    kept = "answers are kept under it there" if seen.has_ours else "nothing is kept there yet"
    if seen.others:
        return Finding("shared secret", "ok", f"{kept}, and under {others}", "docs/replicas.md: removing an old one's")
    return Finding("shared secret", "ok", kept)


async def _look(settings: Settings) -> Seen:
    from gateway.answers.redis.connection import Link

    secret = read_secret(settings.data_dir, settings.secret, seal_of(settings)) or bytes(SECRET_BYTES)  # makes none
    link = Link(settings.redis, secret, timeout_s=settings.shared.timeout_s)
    try:
        async with asyncio.timeout(LOOK_S):
            return await _seen(link)
    except CacheError as error:
        raise NotSeen("".join([*link.failures][-1:]), str(error)) from error
    finally:
        await link.close()


async def _seen(link: "Link") -> Seen:
    await link.open()
    began = time.perf_counter()
    await link.open()
    answer_ms = (time.perf_counter() - began) * 1000
    parts = ("server", "memory", "persistence", "replication")
    server, memory, persistence, replication = [_one(await link.call("INFO", part)) for part in parts]
    snapshots: str | None = None
    others: set[bytes] = set()
    if not link.is_cluster:  # these two have no node of their own there
        with suppress(CacheError):  # CONFIG is often kept from clients
            told = await link.call("CONFIG", "GET", "save")
            snapshots = _text(next(iter(told.values()), "")) if isinstance(told, Mapping) else None
        others = await _feeds(link) - {link.names.feed}
    is_replica = replication.get("role") == "slave" and bool(replication.get("slave_read_only", 1))
    ours = bool(await link.call("EXISTS", link.names.feed))
    return Seen(
        str(server["redis_version"]),
        link.is_cluster,
        answer_ms,
        int(memory.get("maxmemory", 0)),
        int(memory.get("used_memory", 0)),
        str(memory.get("maxmemory_policy", "noeviction")),
        snapshots,
        bool(persistence.get("aof_enabled")),
        persistence.get("rdb_last_bgsave_status", "ok") != "ok",
        ours,
        tuple(sorted(_text(name).removesuffix(":feed") for name in others)),
        is_replica and not link.is_cluster,  # there the others are asked
    )


async def _feeds(link: "Link") -> set[bytes]:
    """Feeds of whatever deployments are met in a short walk."""
    found: set[bytes] = set()
    cursor: Any = 0
    with suppress(CacheError):
        for _ in range(MOST_SCANS):
            cursor, names = await link.call("SCAN", cursor, "MATCH", "twicetold:????????:feed", "COUNT", 1000)
            found |= set(names)
            if not int(cursor):
                break
    return found


def backend_findings(settings: Settings) -> Iterator[Finding]:
    """Every server of [[backends]], asked as the gateway would ask it."""
    if settings.backends:
        yield from asyncio.run(_ask_all(settings))


async def _ask_all(settings: Settings) -> list[Finding]:
    return list(await asyncio.gather(*(_ask(backend, settings) for backend in settings.backends)))


async def _ask(server: BackendSettings, settings: Settings) -> Finding:
    from backends.remote import remote
    from gateway.services.routing import spec_of

    what, told = f"backend {server.name}", f"{server.flavour} at {server.url}"
    try:
        backend = remote(spec_of(server, settings))
    except ValueError as error:
        return Finding(what, "bad", str(error), "correct its url")
    await backend.open()
    try:
        async with asyncio.timeout(LOOK_S):
            health = await backend.health()
    except TimeoutError:
        return Finding(what, "warn", f"{told}: no answer in {LOOK_S:.0f} s", "start it; others are asked meanwhile")
    finally:
        await backend.close()
    if not health.is_ready:
        return Finding(what, "warn", f"{told}: {health.detail}", "start it, or correct its url and key")
    return Finding(what, "ok", f"{told} is ready")


def _one(info: Any) -> Mapping[str, Any]:
    """What one node says, where a cluster answers by node."""
    told: Mapping[str, Any] = info
    first = next(iter(told.values()), None)
    return first if isinstance(first, Mapping) else told


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
