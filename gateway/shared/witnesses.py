"""Witnesses that gateways on one Redis share.

    <prefix>:commons:<0..15>    zset of members, all of one score, so they lie in the order of their bytes:
                                request 32, witness 16, objects 1, scope 32, least 2, mark 16

Who can write to that Redis must not be able to have an answer shared: a member without our mark is none. A full shelf
lets any witness go, by chance.
"""

import secrets
from collections.abc import Sequence

from gateway.answers.redis.connection import Link
from gateway.answers.redis.keys import MAC_BYTES
from gateway.commons.witnesses import MOST, WITNESS_BYTES, Forgotten, Heard, Statement, of_tenant

SHELVES = 16
PAGE = 2000  # members that are read at once
MOST_OF_ONE = 10_000  # witnesses of one request that are counted
_REQUEST, _WITNESS = 32, 32 + WITNESS_BYTES
_OBJECTS, _SCOPE, _LEAST = _WITNESS + 1, _WITNESS + 33, _WITNESS + 35


class RedisWitnesses:
    """Belongs to one event loop."""

    def __init__(self, link: Link, *, most: int = MOST) -> None:
        self._link = link
        self._most = max(1, most // SHELVES)  # on a shelf

    async def open(self) -> None:
        """The link is opened by whoever made it."""

    async def close(self) -> None: ...

    async def note(self, one: Statement) -> Heard:
        name = self._shelf(one.request)
        if not await self._objects(one.request, one.witness):
            await self._link.call("ZADD", name, 0, self._member(one, objects=False))
            await self._bound(name)
        return await self.heard(one.request, one.witness)

    async def object(self, one: Statement, *, objects: bool) -> None:
        name = self._shelf(one.request)
        for known in await self._members(one.request + one.witness, name):
            await self._link.call("ZREM", name, known)
        if objects:
            await self._link.call("ZADD", name, 0, self._member(one, objects=True))
            await self._bound(name)

    async def heard(self, request: bytes, witness: bytes) -> Heard:
        return Heard(await self._count(request), await self._objects(request, witness))

    async def forget(self, secret: bytes, tenant: str) -> Forgotten:
        count, too_few = 0, []
        for number in range(SHELVES):
            name = self._link.name("commons", str(number))
            for member in await self._of_tenant(name, secret, tenant):
                count += 1
                await self._link.call("ZREM", name, member)
                request, is_objection = member[:_REQUEST], member[_WITNESS:_OBJECTS] == b"\1"
                least = int.from_bytes(member[_SCOPE:_LEAST], "little")
                if not is_objection and await self._count(request) < least:
                    too_few.append((member[_OBJECTS:_SCOPE], request))
        return Forgotten(count, too_few)

    async def size(self) -> int:
        sizes = await self._link.together([["ZCARD", self._link.name("commons", str(n))] for n in range(SHELVES)])
        return sum(size for size in sizes if isinstance(size, int))

    # ----------------------------------------------------------------------------------------------------------------

    async def _objects(self, request: bytes, witness: bytes) -> bool:
        known = await self._members(request + witness, self._shelf(request))
        return any(member[_WITNESS:_OBJECTS] == b"\1" for member in known)

    async def _count(self, request: bytes) -> int:
        members = await self._members(request, self._shelf(request))
        return sum(member[_WITNESS:_OBJECTS] == b"\0" for member in members)

    async def _members(self, beginning: bytes, name: bytes) -> Sequence[bytes]:
        """Our members that begin so."""
        found = await self._link.call(
            "ZRANGEBYLEX", name, b"[" + beginning, b"[" + beginning + b"\xff" * (_LEAST + 1), "LIMIT", 0, MOST_OF_ONE
        )
        return [member for member in found if self._is_ours(member)]

    async def _of_tenant(self, name: bytes, secret: bytes, tenant: str) -> list[bytes]:
        mine: list[bytes] = []
        start = b"-"
        while found := await self._link.call("ZRANGEBYLEX", name, start, b"+", "LIMIT", 0, PAGE):
            start = b"(" + found[-1]
            members = {(one[:_REQUEST], one[_REQUEST:_WITNESS]): one for one in found if self._is_ours(one)}
            mine += [members[pair] for pair in of_tenant(secret, tenant, members)]
        return mine

    async def _bound(self, name: bytes) -> None:
        size = await self._link.call("ZCARD", name)
        if size > self._most:
            rank = secrets.randbelow(size)
            await self._link.call("ZREMRANGEBYRANK", name, rank, rank)

    def _shelf(self, request: bytes) -> bytes:
        return self._link.name("commons", str(request[0] % SHELVES))

    def _member(self, one: Statement, *, objects: bool) -> bytes:
        said = one.request + one.witness + bytes([objects]) + one.scope + one.least.to_bytes(2, "little")
        return said + self._link.names.mac(b"commons", said)

    def _is_ours(self, member: bytes) -> bool:
        return len(member) == _LEAST + MAC_BYTES and self._link.names.is_ours(
            member[_LEAST:], b"commons", member[:_LEAST]
        )
