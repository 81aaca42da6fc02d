"""Letter boxes in Redis, one for each replica, and the leases of flights.

    <prefix>:post:<replica>      list of sealed messages; reading empties it, and it expires when nobody reads
    <prefix>:lease:<flight>      hash, see `leases`

A message that was taken out and then lost leaves a gap that its reader sees, and asks about again. Waiting for one is
done inside Redis, on a connection of its own. Raises `CacheError` and nothing else.
"""

import time
from collections.abc import Sequence
from typing import cast

from gateway.answers.base import CacheError
from gateway.answers.redis.connection import Link, Script, Value
from gateway.seal import Unsealed, is_sealed, place
from gateway.shared.flights import leases
from gateway.shared.flights.leases import Claim
from gateway.shared.flights.words import NotOurs, Word, mail_key, seal, unseal

TTL_MS = 30_000  # of letters nobody reads
WAIT_S = 2.0
AT_ONCE = 128
CLOSE_S = 0.003  # letters that follow each other so soon are read together

_CLAIM, _RENEW, _END = Script(leases.CLAIM), Script(leases.RENEW), Script(leases.END)


class Post:
    """One replica's letters and leases. Belongs to one event loop."""

    def __init__(self, link: Link, secret: bytes, *, replica: str, lease_s: float) -> None:
        self.replica = replica
        self.lease_s = lease_s
        self._link = link
        self._key = mail_key(secret)
        self._box = link.name("post", self.replica)
        self._holds_more = True  # perhaps
        self.num_foreign = 0  # letters that no replica of ours can have written

    async def claim(self, flight: str, waited_s: float) -> Claim:
        """Take the lease of a flight if it is free; `waited_s` ago somebody began to ask for its answer."""
        args = leases.claim_args(self.replica, self.lease_s, waited_s)
        return leases.read_claim(await self._link.run(_CLAIM, self._link.name("lease", flight), *args))

    async def renew(self, flight: str, token: int) -> bool:
        """Hold on to a lease; False when another has it."""
        args = leases.renew_args(self.replica, token, self.lease_s)
        return bool(await self._link.run(_RENEW, self._link.name("lease", flight), *args))

    async def end(self, flight: str, token: int, *, has_answer: bool) -> bool:
        """Give a lease back; False when another has it."""
        args = leases.end_args(token, has_answer=has_answer)
        return bool(await self._link.run(_END, self._link.name("lease", flight), *args))

    async def send(self, replica: str, words: Sequence[Word]) -> None:
        """Put letters into the box of another replica, in order, in one round trip."""
        box = self._link.name("post", replica)
        where = place("letter", replica)
        letters = [self._link.seal.seal(seal(self._key, replica, word), where) for word in words]
        commands: list[list[Value]] = [["RPUSH", box, *letters], ["PEXPIRE", box, TTL_MS]]
        for reply in await self._link.together(commands):
            if isinstance(reply, CacheError):
                raise reply

    async def receive(self) -> list[Word]:
        """The letters that are there, else those that come within a while."""
        if self._holds_more:
            raws = cast("list[bytes] | None", await self._link.call("LPOP", self._box, AT_ONCE)) or []
            self._holds_more = len(raws) == AT_ONCE
            if raws:
                return self._readable(raws)
        began_s = time.monotonic()
        found = await self._link.wait("BLPOP", self._box, WAIT_S, wait_s=WAIT_S)
        self._holds_more = found is not None and time.monotonic() - began_s < CLOSE_S
        return [] if found is None else self._readable([found[1]])

    def _readable(self, raws: Sequence[bytes]) -> list[Word]:
        return [word for raw in raws if (word := self._read(raw)) is not None]

    def _read(self, raw: bytes) -> Word | None:
        try:
            raw = self._link.seal.open(raw, place("letter", self.replica)) if is_sealed(raw) else raw
            return unseal(self._key, self.replica, raw)
        except (NotOurs, Unsealed):
            self.num_foreign += 1
            return None
