"""Erasures that every gateway on one Redis has to do by itself: what only it has, in its memory and on its disk.

    <prefix>:erasures          stream: whose, under a mark; the last `MOST`
    <prefix>:erased:<name>     list: what each gateway did, under a mark; ends after `KEEP_S`

Each gateway writes down on its disk how far it is, so one that is away does them when it comes back.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import orjson

from gateway.answers.redis.connection import Link, pairs
from gateway.answers.redis.keys import MAC_BYTES
from gateway.curation.erase import Account, Whom
from gateway.ledger import Ledger

LOOK_EVERY_S = 0.5
MOST = 1000
KEEP_S = 600
PATIENCE_S = 20.0
ASKED, TOLD = b"erasure", b"erased"


class Erase(Protocol):
    """Erases what only this gateway has of some tenants."""

    def __call__(self, tenants: Sequence[str], whom: Whom) -> Awaitable[Account]: ...


log = logging.getLogger(__name__)


class SharedErasures:
    """One gateway's part. Belongs to one event loop. Raises `CacheError`."""

    def __init__(
        self, link: Link, replica: bytes, place: Path, ledger: Ledger, *, patience_s: float = PATIENCE_S
    ) -> None:
        """`place` is the file that says how far this gateway is."""
        self._link = link
        self._replica = replica
        self._place = place
        self._ledger = ledger
        self._patience_s = patience_s
        self._stream = link.name("erasures")
        self._last = b""

    async def tell(self, tenants: Sequence[str], whom: Whom) -> str:
        said = {"tenants": list(tenants), "words_only": whom.words_only, "tenant": whom.tenant, "tag": whom.tag}
        body = orjson.dumps(said)
        mark = self._link.names.mac(ASKED, body)
        name = await self._link.call(
            "XADD", self._stream, "MAXLEN", MOST, "*", "r", self._replica, "b", body, "m", mark
        )
        return str(name, "ascii")

    async def accounts(self, name: str, most: int) -> list[Account]:
        until_s, told = time.monotonic() + self._patience_s, list[Account]()
        while len(told) < most and time.monotonic() < until_s:
            raw = await self._link.call("LPOP", self._told(name))
            account = None if raw is None else self._read(name, raw)
            if account is not None:
                told.append(account)
            elif raw is None:
                await asyncio.sleep(LOOK_EVERY_S / 5)
        return told

    async def follow(self, erase: Erase) -> None:
        """Do what others ask for, until cancelled."""
        while True:
            with self._ledger.best_effort("erasures"):
                await self.look(erase)
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self, erase: Erase) -> None:
        """Do what came since the last look, or since this gateway was here last."""
        if not self._last:
            await self._begin()
        for name, raw in await self._link.call("XRANGE", self._stream, b"(" + self._last, "+"):
            fields = dict(pairs(raw))
            body = fields.get(b"b", b"")
            is_ours = self._link.names.is_ours(fields.get(b"m", b""), ASKED, body)
            if is_ours and fields.get(b"r") != self._replica:
                said = orjson.loads(body)
                account = await erase(said["tenants"], whom_of(said))
                await self._answer(str(name, "ascii"), account)
            self._last = name
            await asyncio.to_thread(self._note, name)

    async def _begin(self) -> None:
        """Go on where this gateway was; a new one has nothing of what was erased before it."""
        with suppress(OSError):
            self._last = await asyncio.to_thread(self._place.read_bytes)
        if not self._last:
            newest = await self._link.call("XREVRANGE", self._stream, "+", "-", "COUNT", 1)
            self._last = newest[0][0] if newest else b"0-0"
            await asyncio.to_thread(self._note, self._last)

    def _note(self, place: bytes) -> None:
        half = self._place.with_suffix(".half")
        try:
            half.write_bytes(place)
            half.replace(self._place)
        except OSError as error:
            log.warning("how far erasures are is not written down, they are done again after a start: %s", error)

    async def _answer(self, name: str, account: Account) -> None:
        body = orjson.dumps({"counts": account.counts, "pending": account.pending})
        told = self._told(name)
        mark = self._link.names.mac(TOLD, name.encode(), body)
        await self._link.together([("RPUSH", told, mark + body), ("EXPIRE", told, KEEP_S)])

    def _read(self, name: str, raw: bytes) -> Account | None:
        mark, body = raw[:MAC_BYTES], raw[MAC_BYTES:]
        if not self._link.names.is_ours(mark, TOLD, name.encode(), body):
            return None
        said = orjson.loads(body)
        return Account(Counter(said["counts"]), said["pending"])

    def _told(self, name: str) -> bytes:
        return self._link.name("erased", name)


def whom_of(said: Mapping[str, Any]) -> Whom:
    """Gateways of an older release do not name whom they mean: a tag that is not told is worn by nothing."""
    if "tag" in said:
        return Whom(said["tenant"], said["tag"])
    return Whom(tag="") if said["words_only"] else Whom(said["tenants"][0])
