"""Keys that gateways on one Redis share: one hash of marked records, and a number that rises with every change."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from gateway.answers.base import CacheError
from gateway.answers.redis.connection import Link
from gateway.answers.redis.keys import MAC_BYTES
from gateway.callers.racks import times
from gateway.callers.records import Record, known
from gateway.errors import StoreAway

COUNTER = b"changes"


class RedisRack:
    """Who can write to that Redis must not be able to make keys: a record without our mark is none."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._name = link.name("keys")
        self._used = link.name("keys used")
        self._seen: Any = None

    async def changed(self) -> bool:
        return self._seen is None or await self._call("HGET", self._name, COUNTER) != self._seen

    async def load(self) -> Sequence[Record]:
        seen = await self._call("HGET", self._name, COUNTER) or b"0"
        found = await self._call("HGETALL", self._name)
        pairs = found.items() if isinstance(found, dict) else zip(found[::2], found[1::2], strict=True)
        self._seen = seen
        ours = {name: raw[MAC_BYTES:] for name, raw in pairs if name != COUNTER and self._is_ours(name, raw)}
        return known({f"{name.decode()} in redis": raw for name, raw in ours.items()})

    async def save(self, record: Record) -> None:
        raw = orjson.dumps(record.as_json())
        await self._call("HSET", self._name, record.id, self._link.names.mac(b"api key", record.id.encode(), raw) + raw)
        await self._call("HINCRBY", self._name, COUNTER, 1)

    async def used(self, mine: Mapping[str, float]) -> Mapping[str, float]:
        """No mark: whoever can write there can only have a key look used."""
        if mine:
            await self._call("HSET", self._used, *(part for key, at in mine.items() for part in (key, repr(at))))
        found = await self._call("HGETALL", self._used)
        pairs = found.items() if isinstance(found, dict) else zip(found[::2], found[1::2], strict=True)
        return times(b"{" + b",".join(b'"%s":%s' % (key, at) for key, at in pairs) + b"}")

    def _is_ours(self, name: bytes, raw: bytes) -> bool:
        return self._link.names.is_ours(raw[:MAC_BYTES], b"api key", name, raw[MAC_BYTES:])

    async def _call(self, *command: str | bytes | int) -> Any:
        try:
            return await self._link.call(*command)
        except CacheError as error:
            raise StoreAway(str(error)) from error
