"""The answer store: memory in front of what lasts."""

import secrets

from gateway.answers.base import Store
from gateway.answers.memory import MemoryAnswers
from gateway.answers.sqlite import SqliteAnswers
from gateway.answers.tiered import TieredAnswers
from gateway.seal import NO_SEAL, Seal
from gateway.settings import Settings

MIB = 2**20


def answers_of(
    settings: Settings,
    secret: bytes,
    shared: Store | None = None,
    seal: Seal = NO_SEAL,
    *,
    takes_old: bool | None = None,
) -> TieredAnswers:
    """Memory, and behind it the file, or what all gateways share. `takes_old` as `SqliteAnswers` has it."""
    cache = settings.cache
    far_mb = cache.disk_mb if shared is None else settings.shared.answers_mb
    tenant_mb = cache.tenant_mb if shared is None else settings.shared.tenant_mb
    return TieredAnswers(
        MemoryAnswers(
            cache.memory_mb * MIB,
            tenant_bytes=share_bytes(tenant_mb, far_mb, cache.memory_mb),
            policy=cache.eviction,
            seed=secrets.randbits(64),
        ),
        shared
        or SqliteAnswers(
            settings.data_dir / "answers.db",
            budget_bytes=cache.disk_mb * MIB,
            tenant_bytes=share_bytes(cache.tenant_mb, cache.disk_mb, cache.disk_mb),
            policy=cache.eviction,
            seed=secrets.randbits(64),
            seal=seal,
            secret=secret,
            takes_old=takes_old,
        ),
    )


def share_bytes(tenant_mb: int, far_mb: int, of_mb: int) -> int | None:
    """What one tenant may keep of a budget, in bytes: in memory the same part as far away."""
    return None if not tenant_mb else int(of_mb * MIB * min(1.0, tenant_mb / far_mb))
