"""What was said of tenants, shared by gateways on one Redis: one hash of marked records, and a number that rises with
every change."""

from collections.abc import Sequence
from typing import Any

from gateway.answers.base import CacheError
from gateway.answers.redis.connection import Link
from gateway.answers.redis.keys import MAC_BYTES
from gateway.errors import StoreAway
from gateway.quota.records import Record, known

COUNTER = b"changes"
KIND = b"tenant policy"


class RedisRack:
    """Who can write to that Redis must not be able to lift limits: a record without our mark is none."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._name = link.name("tenants")
        self._seen: Any = None

    async def changed(self) -> bool:
        return self._seen is None or await self._call("HGET", self._name, COUNTER) != self._seen

    async def load(self) -> Sequence[Record]:
        seen = await self._call("HGET", self._name, COUNTER) or b"0"
        found = await self._call("HGETALL", self._name)
        pairs = found.items() if isinstance(found, dict) else zip(found[::2], found[1::2], strict=True)
        self._seen = seen
        return known([raw[MAC_BYTES:] for name, raw in pairs if name != COUNTER and self._is_ours(name, raw)])

    async def save(self, record: Record) -> None:
        raw, name = record.as_bytes(), record.tenant.encode()
        await self._call("HSET", self._name, name, self._link.names.mac(KIND, name, raw) + raw)
        await self._call("HINCRBY", self._name, COUNTER, 1)

    def _is_ours(self, name: bytes, raw: bytes) -> bool:
        return self._link.names.is_ours(raw[:MAC_BYTES], KIND, name, raw[MAC_BYTES:])

    async def _call(self, *command: str | bytes | int) -> Any:
        try:
            return await self._link.call(*command)
        except CacheError as error:
            raise StoreAway(str(error)) from error
