"""Shelves, asked by the right name: scripts run where an entry lies, links are followed, events reach the feed."""

import logging
from collections.abc import Sequence
from typing import Any, TypeAlias

from gateway.answers.base import CacheError
from gateway.answers.redis import scripts
from gateway.answers.redis.connection import Link, Refused, Script, Value
from gateway.answers.redis.keys import SHELVES

log = logging.getLogger(__name__)

MAX_UNTOLD = 10_000

Told: TypeAlias = list[list[bytes]]


class Shelves:
    """The shelves of one deployment as one replica sees them."""

    def __init__(self, link: Link, replica: bytes) -> None:
        self._link = link
        self._names = link.names
        self._replica = replica
        self._untold: Told = []
        self.never_told = 0  # events given up: others may serve what is gone until it ends

    @property
    def all(self) -> range:
        return range(SHELVES)

    def of_id(self, entry_id: str) -> int:
        """Where an entry of this name lies, or where it is said where."""
        return self._names.shelf_of_id(entry_id)

    async def run(self, script: Script, shelf: int, *args: Value) -> Any:
        """What a script returns from one shelf, unless it lies elsewhere: then `{"link", number}`."""
        try:
            return await self._link.run(script, self._names.keys_of(shelf), *self._common, *args)
        except Refused as refused:
            await self._heal(refused, shelf)
            raise

    async def follow(self, script: Script, shelf: int, names: Sequence[Value], *args: Value) -> tuple[Any, int]:
        """As `run`, and where a link leads, which shelf that is; one that leads nowhere (by `names`) is removed."""
        reply = await self.run(script, shelf, *args)
        there = linked(reply)
        if there is None:
            return reply, shelf
        found = await self.run(script, there, *args)
        if found is None or linked(found) is not None:
            await self.run(scripts.UNLINK, shelf, *names)
            return None, there
        return found, there

    async def follow_id(self, script: Script, scope: bytes, entry_id: str, *args: Value) -> tuple[Any, int]:
        """As `follow`, for an entry by its name; without a scope whatever scope it has."""
        name = raw(entry_id)
        links = (name + b"@" + scope,) if scope else (name,)
        return await self.follow(script, self.of_id(entry_id), links, scope, name, *args)

    async def run_all(self, script: Script, calls: Sequence[tuple[int, Sequence[Value]]]) -> list[Any]:
        """What a script returns for each call of (shelf, arguments), in one round trip. Raises the first error."""
        runs = [(script, self._names.keys_of(shelf), (*self._common, *args)) for shelf, args in calls]
        replies = await self._link.run_all(runs)
        for (shelf, _), reply in zip(calls, replies, strict=True):
            if isinstance(reply, CacheError):
                if isinstance(reply, Refused):
                    await self._heal(reply, shelf)
                raise reply
        return replies

    async def tell(self, *told: Told | None) -> None:
        """Append events to the feed, where the scripts could not; those that fail go first the next time."""
        if not self._link.is_cluster:
            return
        events = [*self._untold, *(event for some in told if some for event in some)]
        self._untold = []
        if not events:
            return
        try:
            replies = await self._link.together([self._append(event) for event in events])
            self._untold = [e for e, reply in zip(events, replies, strict=True) if isinstance(reply, CacheError)]
        except CacheError:
            self._untold = events
        if over := len(self._untold) - MAX_UNTOLD:
            self.never_told += max(0, over)
            del self._untold[: max(0, over)]

    async def tell_removal(self, place: bytes, selection: bytes) -> None:
        """Tell the memories of the others what is being removed: they may hold what no shelf has."""
        fields = ("k", "all", "r", self._replica, "i", place, "b", selection)
        await self._link.call("XADD", self._names.feed, "MAXLEN", "~", scripts.FEED_EVENTS, "*", *fields)

    def _append(self, event: list[bytes]) -> tuple[Value, ...]:
        kind, scope, compat, exact, name = event
        fields = ("k", kind, "r", self._replica, "s", scope, "c", compat, "x", exact, "i", name)
        return ("XADD", self._names.feed, "MAXLEN", "~", scripts.FEED_EVENTS, "*", *fields)

    @property
    def has_untold(self) -> bool:
        return bool(self._untold)

    @property
    def _common(self) -> tuple[bytes, bytes]:
        """What every script is told first."""
        return (b"" if self._link.is_cluster else self._names.feed), self._replica

    async def _heal(self, refused: Refused, shelf: int) -> None:
        """Somebody keeps something else under our names, or broke what we keep: begin the shelf anew."""
        is_broken = (
            refused.code == "WRONGTYPE" or "WRONGTYPE" in str(refused) or "data string too short" in str(refused)
        )
        if is_broken:
            log.error("shelf %d in redis holds what is not ours, beginning it anew: %s", shelf, refused)
            await self._link.run(scripts.WIPE, self._names.keys_of(shelf), *self._common)


def linked(reply: Any) -> int | None:
    """The shelf that a script says something lies on."""
    if isinstance(reply, list) and len(reply) == 2 and reply[0] == b"link":
        return int(reply[1])
    return None


def raw(entry_id: str) -> bytes:
    return entry_id.encode("utf-8", "surrogatepass")
