"""What several gateways share: the link to their Redis, the answers in it, generations, and the ids of responses."""

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.engines import Unavailable
from gateway.ledger import Ledger
from gateway.seal import NO_SEAL, Seal
from gateway.services.answers import MIB, share_bytes
from gateway.settings import Settings

if TYPE_CHECKING:
    from gateway.answers.redis.connection import Link
    from gateway.answers.redis.store import RedisAnswers
    from gateway.shared.flights.shared import SharedFlights
    from gateway.shared.responses import SharedResponses


@dataclass(frozen=True, slots=True)
class Shared:
    """One replica's part in it."""

    replica: bytes  # this process's name among the others
    link: "Link"
    store: "RedisAnswers"
    flights: "SharedFlights"
    responses: "SharedResponses"

    async def open(self) -> None:
        """Listen to the others, and write for them, from now on."""
        await self.flights.open()
        await self.responses.open()

    async def close(self) -> None:
        await self.flights.close()
        await self.responses.close()


def shared_of(settings: Settings, secret: bytes, ledger: Ledger, seal: Seal = NO_SEAL) -> Shared | None:
    """What `redis` asks for; nothing is connected yet. Raises `Unavailable` when the packages are not installed."""
    if not settings.redis:
        return None
    try:
        from gateway.answers.redis.connection import Link
        from gateway.answers.redis.store import RedisAnswers
        from gateway.shared.flights.shared import SharedFlights
        from gateway.shared.responses import SharedResponses
    except ImportError as error:
        raise Unavailable(f"--redis needs {error.name}: pip install 'twicetold-server[redis]'") from error
    own, replica = settings.shared, secrets.token_bytes(8).hex().encode()
    link = Link(settings.redis, secret, timeout_s=own.timeout_s, seal=seal)
    store = RedisAnswers(
        link,
        replica=replica,
        budget_bytes=own.answers_mb * MIB,
        tenant_bytes=share_bytes(own.tenant_mb, own.answers_mb, own.answers_mb),
        policy=settings.cache.eviction,
        seed=secrets.randbits(64),
        queue_bytes=own.queue_mb * MIB,
    )
    flights = SharedFlights(link, secret, ledger, replica=replica.decode(), lease_s=own.lease_s)
    return Shared(replica, link, store, flights, SharedResponses(link))
