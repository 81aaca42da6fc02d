"""Keys that the gateway gives out itself: who shows one is its tenant, however often it is rotated.

Kept are keyed hashes, so neither file nor Redis holds anything that opens a door; a key is shown once, when it is made.
256 random bits need no slow hash: nobody guesses one, and whoever reads the hashes lacks the server's secret. Several
racks keep the records, so none is lost with one of them.

A credential that is none of ours stands for a tenant of its own, as before there were keys, unless they are required.
"""

import asyncio
import hmac
import logging
import re
import secrets
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any

from gateway.callers.caller import OF_CALLERS, SCOPES, Caller
from gateway.callers.racks import KeyRack, later
from gateway.callers.records import KEYS, MAX_NAME_CHARS, Record
from gateway.errors import InvalidRequest, NotAuthorised, StoreAway, UnknownId
from gateway.identity.scope import is_tenant, tenant_of
from gateway.racks.racks import Racks

log = logging.getLogger(__name__)

PREFIX = "tt_"
SHOWN_CHARS = 11  # of a key's text, in listings: 48 of its 256 bits
REFRESH_S = 2.0  # what another process did is known after so long
USED_S = 60.0  # when keys were used is kept so often
MAX_KEYS = 100_000
MAX_S = 1e10  # a life or a grace of more than 300 years is a slip

_KEY = re.compile(r"tt_[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class Wish:
    """A key to make. `policy` is what it allows of its tenant's, checked by whoever knows policies."""

    name: str
    tenant: str = ""  # empty: a new one
    expires_in_s: float | None = None
    scopes: Collection[str] = OF_CALLERS
    policy: Mapping[str, Any] | None = field(default=None)


def is_ours(credential: str) -> bool:
    """Whether it looks like a key that a gateway gave out."""
    return _KEY.fullmatch(credential) is not None


class Keys:
    """All keys of a deployment. Belongs to one event loop."""

    def __init__(
        self,
        secret: bytes,
        racks: Sequence[KeyRack],
        *,
        is_required: bool = False,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._secret = secret
        self._racks = racks
        self._kept = Racks(KEYS, racks, self._learned)
        self._records = self._kept.records
        self._is_required = is_required
        self._now = now
        self._by_hash: dict[str, Record] = {}
        self._callers: dict[str, Caller] = {}  # by id
        self._used: dict[str, float] = {}  # by id
        self._used_kept: dict[str, float] = {}  # as the racks know it
        self._is_behind = False

    def tenant(self, credential: str | None) -> str:
        """The tenant of who shows this credential. Raises `NotAuthorised`."""
        return self.identify(credential).tenant

    def identify(self, credential: str | None) -> Caller:
        """Who shows this credential. Raises `NotAuthorised`."""
        if not credential:
            if self._is_required:
                raise NotAuthorised("An API key is needed: send it as a bearer token.")
            return Caller(tenant_of(self._secret, None))
        record = self._find(credential) if self._by_hash else None
        if record is None:
            if self._is_required or is_ours(credential):
                raise NotAuthorised("This API key is not known here.")
            return Caller(tenant_of(self._secret, credential))
        now_s = self._now()
        if (state := record.state(now_s)) != "active":
            raise NotAuthorised(f"This API key is {state}.")
        self._used[record.id] = now_s
        return self._callers[record.id]

    def holds(self, credential: str) -> bool:
        """Whether it is a key that has not ended."""
        record = self._find(credential)
        return record is not None and record.state(self._now()) == "active"

    def caller(self, api_key: str, tenant: str = "") -> str:
        """Whom an operator speaks for: a tenant by name, or whoever shows this key; nobody's name is "anonymous".

        Raises `InvalidRequest` or `NotAuthorised`.
        """
        if tenant and not is_tenant(tenant):
            raise InvalidRequest(f"{tenant!r} is no name of a tenant.", "tenant")
        return tenant or (self.tenant(api_key) if api_key else tenant_of(self._secret, None))

    # -- the operator ------------------------------------------------------------------------------------------------

    def listing(self) -> list[dict[str, Any]]:
        """All keys, newest first, without anything that opens a door."""
        return [self._shown(one) for one in sorted(self._records.values(), key=lambda one: -one.created_s)]

    async def create(self, wish: Wish) -> dict[str, Any]:
        """A new key, its text shown this once. Raises `InvalidRequest`, `StoreAway`."""
        name, scopes = wish.name, set(wish.scopes)
        if not name.strip() or len(name) > MAX_NAME_CHARS or not name.isprintable():
            raise InvalidRequest(f"name must be 1 to {MAX_NAME_CHARS} printable characters.", "name")
        if wish.tenant and not is_tenant(wish.tenant):
            raise InvalidRequest("tenant must be 32 hexadecimal digits, as the admin API shows tenants.", "tenant")
        if not scopes or not scopes <= set(SCOPES):
            raise InvalidRequest(f"scopes must be one or more of {', '.join(SCOPES)}.", "scopes")
        if wish.expires_in_s is not None and not 0 < wish.expires_in_s <= MAX_S:
            raise InvalidRequest(f"expires_in_s must be over 0 and at most {MAX_S:.0f}.", "expires_in_s")
        if len(self._records) >= MAX_KEYS:
            raise InvalidRequest(f"There are {MAX_KEYS} keys already.", "name")
        ends_s = None if wish.expires_in_s is None else self._now() + wish.expires_in_s
        tenant = wish.tenant or secrets.token_hex(16)
        made = Record("", name, tenant, "", 0.0, ends_s, scopes=tuple(sorted(scopes)), policy=wish.policy)
        return await self._made(made)

    async def rotate(self, key_id: str, grace_s: float = 0.0) -> dict[str, Any]:
        """A new key for the same, the old one ends after the grace. Raises `UnknownId`, `InvalidRequest`."""
        old, now_s = self._known(key_id), self._now()
        if old.state(now_s) != "active":
            raise InvalidRequest(f"Key {key_id} is {old.state(now_s)}; create another.", "id")
        if old.is_revoked:  # its own end is not known any more, and the new key must not have this one
            raise InvalidRequest(f"Key {key_id} was replaced before and is in its grace: rotate its successor.", "id")
        if not 0 <= grace_s <= MAX_S:
            raise InvalidRequest(f"grace_s must be 0 to {MAX_S:.0f}.", "grace_s")
        made = await self._made(replace(old, family=old.family or old.id))
        if (now := self._known(key_id)).is_revoked or now.name != old.name:  # ended, or replaced, while that was kept
            await self.revoke(made["id"])
            raise InvalidRequest(f"Key {key_id} was ended or replaced meanwhile.", "id")
        is_over = grace_s == 0
        await self._kept.keep(now.with_end(replace(now, ends_s=now_s + grace_s, is_revoked=True, is_over=is_over)))
        return {**made, "replaces": key_id}

    async def revoke(self, key_id: str) -> dict[str, Any]:
        """End a key now. Raises `UnknownId`."""
        old = self._known(key_id)
        await self._kept.keep(old.with_end(replace(old, ends_s=self._now(), is_revoked=True, is_over=True)))
        return self._shown(self._records[key_id])

    async def forget(self, tenant: str) -> int:
        """End all keys of a tenant and forget their names; how many there are.

        Their records stay, as the word that they have ended: another place may hold an older copy of one.
        """
        theirs = [record for record in self._records.values() if record.tenant == tenant]
        for old in theirs:
            ended = old.with_end(replace(old, ends_s=self._now(), is_revoked=True, is_over=True))
            await self._kept.keep(replace(ended, name="", policy=None))
        return len(theirs)

    # -- where they are kept -----------------------------------------------------------------------------------------

    async def refresh(self) -> None:
        """Learn what other processes did, and give each place what it lacks. Raises `StoreAway`."""
        await self._kept.refresh()

    async def note_used(self) -> None:
        """Keep when keys were used, and learn it of other gateways. Raises `StoreAway`."""
        for rack in self._racks:
            known = await rack.used({key: at for key, at in self._used.items() if self._used_kept.get(key) != at})
            self._used = later(self._used, {key: at for key, at in known.items() if key in self._records})
        self._used_kept = dict(self._used)

    async def open(self) -> None:
        """Read them. What cannot be read opens no door."""
        try:
            await self.refresh()
            await self.note_used()
        except StoreAway as error:
            log.warning("not all keys are known: %s", error)
            self._is_behind = True

    async def follow(self) -> None:
        """Refresh for ever."""
        noted = time.monotonic()
        while True:
            await asyncio.sleep(REFRESH_S)
            try:
                await self.refresh()
                if time.monotonic() - noted > USED_S:
                    noted = time.monotonic()
                    await self.note_used()
                self._is_behind = False
            except StoreAway as error:
                if not self._is_behind:
                    log.warning("what other gateways do with keys is not known: %s", error)
                self._is_behind = True

    async def close(self) -> None:
        """Keep what was learned since."""
        try:
            await self.note_used()
        except StoreAway as error:
            log.warning("when keys were used last is not kept: %s", error)

    async def _made(self, like: Record) -> dict[str, Any]:
        text = PREFIX + secrets.token_urlsafe(32)
        record = replace(
            like,
            id="key_" + secrets.token_hex(6),
            hash=self._hash(text),
            created_s=self._now(),
            prefix=text[:SHOWN_CHARS],
        )
        await self._kept.keep(record)
        return {**self._shown(record), "key": text}

    def _learned(self, record: Record) -> None:
        self._by_hash[record.hash] = record
        self._callers[record.id] = Caller(
            record.tenant, record.id, frozenset(record.scopes), record.policy, record.family
        )

    def _known(self, key_id: str) -> Record:
        if key_id not in self._records:
            raise UnknownId(f"There is no key {key_id!r}.", "id")
        return self._records[key_id]

    def _find(self, credential: str) -> Record | None:
        """Time tells nothing: who looks up does so by a keyed hash of what was shown."""
        digest = self._hash(credential)
        record = self._by_hash.get(digest)
        return record if record is not None and hmac.compare_digest(record.hash, digest) else None

    def _shown(self, record: Record) -> dict[str, Any]:
        told = {
            key: value
            for key, value in record.as_json().items()
            if key not in ("hash", "is_revoked", "family", "is_over")
        }
        return {**told, "state": record.state(self._now()), "last_used_s": self._used.get(record.id)}

    def _hash(self, text: str) -> str:
        said = text.encode("utf-8", "surrogatepass")
        return blake2b(said, key=self._secret, digest_size=32, person=b"api key").hexdigest()
