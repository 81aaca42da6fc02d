"""What was removed on purpose: a short log, by which writes that come late are judged. No gateway's clock has a say.

    add     one place more in a stream, larger than all before it; every shelf is told the place, and only then is
            anything removed
    put     says up to which place its gateway knew of removals when the answer began to be made. A shelf that was told
            of a later one keeps nothing: what was removed `since` is compared with the answer first

So what began before a removal that selects it is either there when the shelves are gone through, or refused, however
long it waited, and wherever. What a gateway removed itself is not compared: it knows the order of what it does.
"""

import logging
import re
from dataclasses import fields, replace
from typing import Any, cast

from gateway.answers.base import CacheError
from gateway.answers.codec import decode_json, encode_json
from gateway.answers.redis import scripts
from gateway.answers.redis.connection import Link, Refused, Value, pairs
from gateway.answers.redis.places import Shelves
from gateway.answers.selection import Selection
from gateway.seal import NO_SEAL, Seal, is_sealed, place

log = logging.getLogger(__name__)

MOST = 1000  # removals that are remembered: what waited through more of them is dropped
MOST_BYTES = 4096  # of one
NOTHING = b""  # the place of who knows of no removal
EVERYTHING = b"9" * 16 + b"-" + b"9" * 10  # of what begins as it is put
_PLACE = re.compile(rb"\d{16}-\d{10}")
PLACE = place("removal")
_DIGESTS = ("scope", "exact", "canonical")


class Removals:
    """The log, as one replica sees it. Raises `CacheError`."""

    def __init__(self, link: Link, shelves: Shelves, replica: bytes) -> None:
        self._link = link
        self._name = link.name("removals")
        self._shelves = shelves
        self._replica = replica
        self.newest = NOTHING  # the last place that is known here
        self._read: tuple[bytes, bytes, list[tuple[bytes, Selection]]] | None = None  # from, to, what others removed

    async def open(self) -> None:
        """Learn the newest place."""
        found = await self._call("XREVRANGE", self._name, "+", "-", "COUNT", 1)
        if found:
            self.heard(_place(found[0][0]))

    def heard(self, place: bytes) -> None:
        """There is a removal at this place: what begins from now on came after it."""
        if _PLACE.fullmatch(place):  # anything else is nobody's of ours, and may seem later than all
            self.newest = max(self.newest, place)

    async def add(self, selection: Selection) -> None:
        """Make known what is about to be removed: to every shelf, and to the memories of the others."""
        said = self._link.seal.seal(spelled(selection), PLACE)
        raw = await self._call("XADD", self._name, "MAXLEN", MOST, "*", "r", self._replica, "b", said)
        place = _place(raw)
        await self._shelves.run_all(scripts.BAR, [(shelf, (place,)) for shelf in self._shelves.all])
        await self._shelves.tell_removal(place, said)
        self.heard(place)

    async def since(self, place: bytes, until: bytes) -> list[Selection] | None:
        """What others removed after `place`, up to `until` at least; None when nobody remembers all of it.

        `until` is known from then on: what begins now need not ask again.
        """
        read = self._read
        if read is None or place < read[0] or until > read[1]:
            start = "-" if place == NOTHING else _id(place)
            rows = [
                (_place(name), dict(pairs(raw))) for name, raw in await self._call("XRANGE", self._name, start, "+")
            ]
            newest = rows[-1][0] if rows else NOTHING
            self.heard(max(newest, until))
            is_whole = len(rows) < MOST if place == NOTHING else bool(rows) and rows[0][0] == place
            if not is_whole or newest < until:
                return None
            others = [
                (at, selection_of(row.get(b"b", b""), self._link.seal))
                for at, row in rows
                if at > place and row.get(b"r") != self._replica
            ]
            read = self._read = (place, newest, others)
        return [selection for at, selection in read[2] if at > place]

    async def _call(self, *command: Value) -> Any:
        """As the link does; where somebody keeps something else under our name, that goes."""
        try:
            return await self._link.call(*command)
        except Refused as refused:
            if refused.code != "WRONGTYPE":
                raise
            log.error("the log of removals in redis is not ours, beginning it anew: %s", refused)
        await self._link.call("UNLINK", self._name)
        return await self._link.call(*command)


def spelled(selection: Selection) -> bytes:
    """A selection as it lies in Redis; a long one is made wider."""
    said = _spelled(selection)
    return said if len(said) <= MOST_BYTES else _spelled(replace(selection, canonical=None, text=None))


def _spelled(selection: Selection) -> bytes:
    given = {item.name: getattr(selection, item.name) for item in fields(selection)}
    return encode_json({k: v.hex() if isinstance(v, bytes) else v for k, v in given.items() if v is not None})


def selection_of(raw: bytes, seal: Seal = NO_SEAL) -> Selection:
    """What `spelled` made; everything when it cannot be read."""
    try:
        said = decode_json(seal.open(raw, PLACE) if is_sealed(raw) else raw)
        return Selection(
            **cast("dict[str, Any]", {k: bytes.fromhex(v) if k in _DIGESTS else v for k, v in said.items()})
        )
    except (CacheError, TypeError, ValueError, AttributeError):
        return Selection()


def _place(raw: bytes) -> bytes:
    """An id of the stream, so that places are in order as texts, in any language."""
    moment, _, number = raw.partition(b"-")
    return b"%016d-%010d" % (int(moment), int(number))


def _id(place: bytes) -> bytes:
    moment, _, number = place.partition(b"-")
    return b"%d-%d" % (int(moment), int(number))
