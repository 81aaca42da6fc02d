"""The feed as it lies in Redis: one stream, its oldest events trimmed away."""

from typing import Any

from gateway.answers.redis.connection import Link
from gateway.shared.feed import HERE, event_of, question_of, removed_of
from gateway.shared.follower import Read

MOST = 1000  # events of one read


class RedisFeed:
    """The feed behind a link. Raises `CacheError`."""

    def __init__(self, link: Link, replica: bytes) -> None:
        self._link = link
        self._replica = replica

    async def end(self) -> str:
        """The place of the newest event. An empty stream gets one that says nothing: where nothing lies, nobody could
        tell later whether something is missing."""
        feed = self._link.names.feed
        if newest := await self._link.call("XREVRANGE", feed, "+", "-", "COUNT", 1):
            return str(newest[0][0], "ascii")
        return str(await self._link.call("XADD", feed, "*", "k", HERE, "r", self._replica), "ascii")

    async def after(self, place: str, wait_s: float) -> Read:
        """What came after `place`; waits for the first."""
        feed = self._link.names.feed
        command = ("XREAD", "COUNT", MOST, "STREAMS", feed, place)
        if self._link.is_away:  # one call at a time may try whether it is back, and that should not wait
            found = await self._link.call(*command)
        else:
            found = await self._link.wait("XREAD", "BLOCK", int(wait_s * 1000), *command[1:], wait_s=wait_s)
        # asked after the read: if our place is still there now, nothing behind it was trimmed before
        is_whole = bool(await self._link.call("XRANGE", feed, place, place))
        rows = _rows(found, feed)
        if not rows:
            return Read((), place, None, is_whole)
        events = [event for _, fields in rows if (event := event_of(fields)) is not None]
        asked = [name for _, fields in rows if (name := question_of(fields, self._replica)) is not None]
        removed = [one for _, fields in rows if (one := removed_of(fields, self._replica)) is not None]
        newest = str(rows[-1][0], "ascii")
        return Read(events, newest, int(newest.partition("-")[0]) / 1000, is_whole, asked, removed)


def _rows(found: Any, feed: bytes) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """Ids and fields of the redis client's reply to XREAD: a map from streams to a list of lists."""
    return [(place, fields) for rows in (found or {}).get(feed, ()) for place, fields in rows]
