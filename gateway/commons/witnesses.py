"""Who has asked what, without saying either: keyed hashes, from which only the two together can be told.

    request    the fingerprint of a request in the commons
    witness    a hash of request and tenant: the same tenant is another one at every request

A witness that objects has said that the shared answer is bad: it neither reads nor writes it any more.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Protocol

WITNESS_BYTES = 16
MOST = 200_000  # witnesses; each takes about a hundred bytes


@dataclass(frozen=True, slots=True)
class Heard:
    """What is known of a request: how many tenants asked it, and whether this one objects to the shared answer."""

    count: int
    objects: bool


@dataclass(frozen=True, slots=True)
class Statement:
    """A request and one of its witnesses; the scope leads to the answer, which so many witnesses make a shared one."""

    scope: bytes
    request: bytes
    witness: bytes
    least: int


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What is forgotten with a tenant."""

    count: int
    too_few: list[tuple[bytes, bytes]]  # (scope, request) of what has not enough witnesses now


class Witnesses(Protocol):
    """A bounded record. Raises `CacheError`."""

    async def open(self) -> None: ...

    async def note(self, one: Statement) -> Heard:
        """Write it down, and say what is known then."""

    async def object(self, one: Statement, *, objects: bool) -> None:
        """Write down an objection, or its end."""

    async def heard(self, request: bytes, witness: bytes) -> Heard:
        """What is known, without writing anything down."""

    async def forget(self, secret: bytes, tenant: str) -> Forgotten:
        """Forget a tenant."""

    async def size(self) -> int: ...

    async def close(self) -> None: ...


def witness_of(secret: bytes, request: bytes, tenant: str) -> bytes:
    """What a tenant is called at one request."""
    said = request + tenant.encode("utf-8", "surrogatepass")
    return blake2b(said, key=secret, digest_size=WITNESS_BYTES, person=b"commons witness").digest()


def of_tenant(secret: bytes, tenant: str, pairs: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Those of (request, witness) that are this tenant's. A microsecond for each."""
    return [(request, witness) for request, witness in pairs if witness_of(secret, request, tenant) == witness]
