"""The answer store: memory in front of what lasts."""

import secrets

from gateway.answers.memory import MemoryAnswers
from gateway.answers.sqlite import SqliteAnswers
from gateway.answers.tiered import TieredAnswers
from gateway.settings import CacheSettings, Settings

MIB = 2**20


def answers_of(settings: Settings) -> TieredAnswers:
    """Memory, and the file behind it."""
    cache = settings.cache
    return TieredAnswers(
        MemoryAnswers(
            cache.memory_mb * MIB,
            tenant_bytes=share_bytes(cache, cache.memory_mb),
            policy=cache.eviction,
            seed=secrets.randbits(64),
        ),
        SqliteAnswers(
            settings.data_dir / "answers.db",
            budget_bytes=cache.disk_mb * MIB,
            tenant_bytes=share_bytes(cache, cache.disk_mb),
            policy=cache.eviction,
            seed=secrets.randbits(64),
        ),
    )


def share_bytes(cache: CacheSettings, of_mb: int) -> int | None:
    """What one tenant may keep of a budget, in bytes: in memory the same part as on disk."""
    return None if not cache.tenant_mb else int(of_mb * MIB * min(1.0, cache.tenant_mb / cache.disk_mb))
