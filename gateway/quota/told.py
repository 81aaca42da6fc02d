"""How much is left, as OpenAI's and Anthropic's APIs say it in headers. Pure."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from math import ceil
from typing import Literal

from gateway.errors import GatewayError
from gateway.quota.buckets import Room, Standing

Header = tuple[bytes, bytes]
Dialect = Literal["openai", "anthropic"]


def headers_of(standing: Standing, dialect: Dialect, now_s: float) -> list[Header]:
    """In the names of one of them."""
    rooms = (("requests", standing.requests), ("tokens", standing.tokens))
    write = _anthropic if dialect == "anthropic" else _openai
    return [
        (name.encode("ascii"), value.encode("ascii"))
        for kind, room in rooms
        if room is not None
        for name, value in write(kind, room, now_s)
    ]


def _openai(kind: str, room: Room, _: float) -> list[tuple[str, str]]:
    return [
        (f"x-ratelimit-limit-{kind}", str(room.limit)),
        (f"x-ratelimit-remaining-{kind}", str(room.remaining)),
        (f"x-ratelimit-reset-{kind}", span(room.reset_s)),
    ]


def _anthropic(kind: str, room: Room, now_s: float) -> list[tuple[str, str]]:
    reset = datetime.fromtimestamp(ceil(now_s + room.reset_s), UTC).isoformat().replace("+00:00", "Z")
    return [
        (f"anthropic-ratelimit-{kind}-limit", str(room.limit)),
        (f"anthropic-ratelimit-{kind}-remaining", str(room.remaining)),
        (f"anthropic-ratelimit-{kind}-reset", reset),
    ]


def span(seconds: float) -> str:
    """As OpenAI writes it: 120ms, 1s, 6m0s, 1h0m0s."""
    if seconds < 1:
        return f"{max(0, round(seconds * 1000))}ms"
    whole = ceil(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    if hours:
        return f"{hours}h{minutes}m{left}s"
    return f"{minutes}m{left}s" if minutes else f"{left}s"


def ignored_of(names: Sequence[str]) -> list[Header]:
    """Which controls were asked for and left out, as the policy of the caller does not allow them."""
    return [(b"x-twicetold-ignored", ", ".join(names).encode("ascii"))] if names else []


@contextmanager
def told_with_errors(headers: Sequence[Header]) -> Iterator[None]:
    """What is told of limits and controls, on errors as well."""
    try:
        yield
    except GatewayError as error:
        error.headers = headers
        raise
