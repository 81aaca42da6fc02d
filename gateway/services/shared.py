"""What several gateways share: the link to their Redis, and the answers in it."""

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.engines import Unavailable
from gateway.services.answers import MIB, share_bytes
from gateway.settings import Settings

if TYPE_CHECKING:
    from gateway.answers.redis.connection import Link
    from gateway.answers.redis.store import RedisAnswers


@dataclass(frozen=True, slots=True)
class Shared:
    """One replica's part in it."""

    replica: bytes  # this process's name among the others
    link: "Link"
    store: "RedisAnswers"


def shared_of(settings: Settings, secret: bytes) -> Shared | None:
    """What `redis` asks for; nothing is connected yet. Raises `Unavailable` when the packages are not installed."""
    if not settings.redis:
        return None
    try:
        from gateway.answers.redis.connection import Link
        from gateway.answers.redis.store import RedisAnswers
    except ImportError as error:
        raise Unavailable(f"--redis needs {error.name}: pip install 'twicetold-server[redis]'") from error
    own, replica = settings.shared, secrets.token_bytes(8).hex().encode()
    link = Link(settings.redis, secret, timeout_s=own.timeout_s)
    store = RedisAnswers(
        link,
        replica=replica,
        budget_bytes=own.answers_mb * MIB,
        tenant_bytes=share_bytes(own.tenant_mb, own.answers_mb, own.answers_mb),
        policy=settings.cache.eviction,
        seed=secrets.randbits(64),
        queue_bytes=own.queue_mb * MIB,
    )
    return Shared(replica, link, store)
