"""A Redis for tests of replicas, and a feed that somebody else writes."""

from gateway.answers.redis.connection import Link
from gateway.shared.feed import Event, Kind

SECRET = b"s" * 32
SCOPE, COMPAT, EXACT = b"s" * 32, b"c" * 32, b"x" * 32


async def tell(link: Link, kind: Kind, *names: str, replica: bytes = b"other", keep: int | None = None) -> None:
    """Write events as another replica would; `keep` trims the stream to so many."""
    trim = () if keep is None else ("MAXLEN", keep)
    for name in names:
        fields = Event(kind, replica, SCOPE, COMPAT, EXACT, name).fields()
        await link.call("XADD", link.names.feed, *trim, "*", *(part for pair in fields.items() for part in pair))
