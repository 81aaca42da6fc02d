"""Records that gateways on one Redis share: one hash of marked records, and a number that rises with every change.

<prefix>:keys, <prefix>:tenants     hash: name -> mark, record; "changes" -> the number
<prefix>:keys used                  hash: key -> when it was used last
"""

from collections.abc import Mapping, Sequence
from typing import Any, Generic

from gateway.answers.base import CacheError
from gateway.answers.redis.connection import Link, pairs
from gateway.answers.redis.keys import MAC_BYTES
from gateway.callers.racks import times
from gateway.callers.records import KEYS
from gateway.callers.records import Record as Key
from gateway.errors import StoreAway
from gateway.quota.records import TENANTS
from gateway.quota.records import Record as Tenant
from gateway.racks.kind import Kind, R

COUNTER = b"changes"


class RedisRack(Generic[R]):
    """Who can write to that Redis must not be able to make keys or lift limits: a record without our mark is none."""

    def __init__(self, link: Link, kind: Kind[R], *, name: str, mark: bytes) -> None:
        self._link = link
        self._kind = kind
        self._name = link.name(name)
        self._mark = mark
        self._seen: Any = None

    async def changed(self) -> bool:
        return self._seen is None or await self._call("HGET", self._name, COUNTER) != self._seen

    async def load(self) -> Sequence[R]:
        seen = await self._call("HGET", self._name, COUNTER) or b"0"
        found = pairs(await self._call("HGETALL", self._name))
        self._seen = seen
        ours = {name: raw[MAC_BYTES:] for name, raw in found if name != COUNTER and self._is_ours(name, raw)}
        return self._kind.known({f"{name.decode()} in redis": raw for name, raw in ours.items()})

    async def save(self, record: R) -> None:
        name, raw = self._kind.name_of(record).encode(), self._kind.spelled(record)
        await self._call("HSET", self._name, name, self._link.names.mac(self._mark, name, raw) + raw)
        await self._call("HINCRBY", self._name, COUNTER, 1)

    def _is_ours(self, name: bytes, raw: bytes) -> bool:
        return self._link.names.is_ours(raw[:MAC_BYTES], self._mark, name, raw[MAC_BYTES:])

    async def _call(self, *command: str | bytes | int) -> Any:
        try:
            return await self._link.call(*command)
        except CacheError as error:
            raise StoreAway(str(error)) from error


class RedisKeys(RedisRack[Key]):
    """Whether a key was used has no mark: whoever can write there can only have one look used."""

    def __init__(self, link: Link) -> None:
        super().__init__(link, KEYS, name="keys", mark=b"api key")
        self._used = link.name("keys used")

    async def used(self, mine: Mapping[str, float]) -> Mapping[str, float]:
        if mine:
            await self._call("HSET", self._used, *(part for key, at in mine.items() for part in (key, repr(at))))
        found = pairs(await self._call("HGETALL", self._used))
        return times(b"{" + b",".join(b'"%s":%s' % (key, at) for key, at in found) + b"}")


class RedisTenants(RedisRack[Tenant]):
    """What was said of tenants."""

    def __init__(self, link: Link) -> None:
        super().__init__(link, TENANTS, name="tenants", mark=b"tenant policy")
