"""Keys that the gateway gives out itself: who shows one is its tenant, however often it is rotated.

Kept are keyed hashes, so neither file nor Redis holds anything that opens a door; a key is shown once, when it is made.
Records only ever gain an earlier end, so any two copies can be put together, and none is lost with one of the places
that keep them: a folder under `data_dir`, and the Redis of gateways that share one.

    data_dir/keys/key_1a2b3c4d5e6f.json      {"id": ..., "name": ..., "tenant": ..., "hash": ..., "created_s": ...}

A credential that is none of ours stands for a tenant of its own, as before there were keys, unless they are required.
"""

import asyncio
import logging
import os
import re
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol

import orjson

from gateway.callers.caller import Caller
from gateway.errors import InvalidRequest, NotAuthorised, StoreAway, UnknownId
from gateway.identity.scope import is_tenant, tenant_of

log = logging.getLogger(__name__)

PREFIX = "tt_"
FOLDER = "keys"
REFRESH_S = 2.0  # what another process did is known after so long
MAX_KEYS = 100_000
MAX_NAME_CHARS = 200

_KEY = re.compile(r"tt_[A-Za-z0-9_-]{43}")
_ID = re.compile(r"key_[0-9a-f]{12}")
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of a key."""

    id: str
    name: str
    tenant: str
    hash: str
    created_s: float
    ends_s: float | None = None  # unix time; None: it does not end
    is_revoked: bool = False  # whether somebody ended it before its time

    def state(self, now_s: float) -> str:
        if self.ends_s is None or now_s < self.ends_s:
            return "active"
        return "revoked" if self.is_revoked else "expired"

    def with_end(self, other: "Record") -> "Record":
        """The same with the earlier of two ends."""
        if other.ends_s is None or (self.ends_s is not None and self.ends_s <= other.ends_s):
            return self
        return replace(self, ends_s=other.ends_s, is_revoked=other.is_revoked)

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in Record.__dataclass_fields__}


def read_record(raw: bytes) -> Record | None:
    """A record as it was kept; None for what is none."""
    try:
        record = Record(**orjson.loads(raw))
        ends = record.ends_s is None or isinstance(record.ends_s, int | float)
        is_one = _ID.fullmatch(record.id) and _HASH.fullmatch(record.hash) and is_tenant(record.tenant) and ends
    except (TypeError, ValueError):
        return None
    return record if is_one else None


class Rack(Protocol):
    """A place that keeps records. Raises `StoreAway`."""

    async def changed(self) -> bool:
        """Whether there may be something that `load` has not told yet."""

    async def load(self) -> Sequence[Record]: ...

    async def save(self, record: Record) -> None: ...


class FolderRack:
    """One file for each key; whoever writes one gives it its name when it is whole."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen_ns = self._read_ns = -1

    async def changed(self) -> bool:
        """A folder's clock is coarse: one that was changed a moment before it was read is read again."""
        stamp_ns = self._stamp()
        return stamp_ns != self._seen_ns or stamp_ns > self._read_ns - 10**9

    async def load(self) -> Sequence[Record]:
        self._seen_ns, self._read_ns = self._stamp(), time.time_ns()
        return await asyncio.to_thread(self._read)

    async def save(self, record: Record) -> None:
        await asyncio.to_thread(self._write, record)

    def _read(self) -> Sequence[Record]:
        try:
            return known([path.read_bytes() for path in sorted(self._folder.glob("key_*.json"))])
        except OSError as error:
            raise StoreAway(f"{self._folder} cannot be read: {error}") from error

    def _write(self, record: Record) -> None:
        path = self._folder / f"{record.id}.json"
        draft = path.with_suffix(f".{os.getpid()}.{secrets.token_hex(4)}")
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(orjson.dumps(record.as_json()))
                os.fsync(file.fileno())
            draft.replace(path)
        except OSError as error:
            raise StoreAway(f"{path} cannot be written: {error}") from error

    def _stamp(self) -> int:
        try:
            return self._folder.stat().st_mtime_ns
        except OSError:
            return 0


class Keys:
    """All keys of a deployment. Belongs to one event loop."""

    def __init__(
        self, secret: bytes, racks: Sequence[Rack], *, is_required: bool = False, now: Callable[[], float] = time.time
    ) -> None:
        self._secret = secret
        self._racks = racks
        self._is_required = is_required
        self._now = now
        self._records: dict[str, Record] = {}
        self._by_hash: dict[str, Record] = {}
        self._used: dict[str, float] = {}  # by id, of this process
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
        record = self._by_hash.get(self._hash(credential)) if self._by_hash else None
        if record is None:
            if self._is_required or _KEY.fullmatch(credential):
                raise NotAuthorised("This API key is not known here.")
            return Caller(tenant_of(self._secret, credential))
        now_s = self._now()
        if (state := record.state(now_s)) != "active":
            raise NotAuthorised(f"This API key is {state}.")
        self._used[record.id] = now_s
        return Caller(record.tenant, record.id)

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

    async def create(self, name: str, tenant: str = "", expires_in_s: float | None = None) -> dict[str, Any]:
        """A new key, its text shown this once. Raises `InvalidRequest`, `StoreAway`."""
        if not name.strip() or len(name) > MAX_NAME_CHARS or not name.isprintable():
            raise InvalidRequest(f"name must be 1 to {MAX_NAME_CHARS} printable characters.", "name")
        if tenant and not is_tenant(tenant):
            raise InvalidRequest("tenant must be 32 hexadecimal digits, as the admin API shows tenants.", "tenant")
        if len(self._records) >= MAX_KEYS:
            raise InvalidRequest(f"There are {MAX_KEYS} keys already.", "name")
        ends_s = None if expires_in_s is None else self._now() + expires_in_s
        return await self._made(name, tenant or secrets.token_hex(16), ends_s)

    async def rotate(self, key_id: str, grace_s: float = 0.0) -> dict[str, Any]:
        """A new key for the same tenant; the old one ends after the grace. Raises `UnknownId`, `InvalidRequest`."""
        old, now_s = self._known(key_id), self._now()
        if old.state(now_s) != "active":
            raise InvalidRequest(f"Key {key_id} is {old.state(now_s)}; create another.", "id")
        made = await self._made(old.name, old.tenant, old.ends_s)
        await self._keep(old.with_end(replace(old, ends_s=now_s + grace_s, is_revoked=True)))
        return {**made, "replaces": key_id}

    async def revoke(self, key_id: str) -> dict[str, Any]:
        """End a key now. Raises `UnknownId`."""
        old = self._known(key_id)
        await self._keep(old.with_end(replace(old, ends_s=self._now(), is_revoked=True)))
        return self._shown(self._records[key_id])

    # -- where they are kept -----------------------------------------------------------------------------------------

    async def refresh(self) -> None:
        """Learn what other processes did, and give each place what it lacks. Raises `StoreAway`."""
        for rack in self._racks:
            if not await rack.changed():
                continue
            found = {record.id: record for record in await rack.load()}
            for record in found.values():
                mine = self._records.get(record.id, record)
                self._learn(mine.with_end(record))
            for record in list(self._records.values()):
                if found.get(record.id) != record:
                    await rack.save(record)

    async def open(self) -> None:
        """Read them. What cannot be read opens no door."""
        try:
            await self.refresh()
        except StoreAway as error:
            log.warning("not all keys are known: %s", error)
            self._is_behind = True

    async def follow(self) -> None:
        """Refresh for ever."""
        while True:
            await asyncio.sleep(REFRESH_S)
            try:
                await self.refresh()
                self._is_behind = False
            except StoreAway as error:
                if not self._is_behind:
                    log.warning("what other gateways do with keys is not known: %s", error)
                self._is_behind = True

    async def _made(self, name: str, tenant: str, ends_s: float | None) -> dict[str, Any]:
        text = PREFIX + secrets.token_urlsafe(32)
        record = Record("key_" + secrets.token_hex(6), name, tenant, self._hash(text), self._now(), ends_s)
        await self._keep(record)
        return {**self._shown(record), "key": text}

    async def _keep(self, record: Record) -> None:
        """It holds here at once; the other places hear of it now, or when they are back."""
        first, *others = self._racks
        await first.save(record)
        self._learn(record)
        for rack in others:
            try:
                await rack.save(record)
            except StoreAway as error:
                log.warning("the other gateways do not know yet of key %s: %s", record.id, error)

    def _learn(self, record: Record) -> None:
        self._records[record.id] = self._by_hash[record.hash] = record

    def _known(self, key_id: str) -> Record:
        if key_id not in self._records:
            raise UnknownId(f"There is no key {key_id!r}.", "id")
        return self._records[key_id]

    def _shown(self, record: Record) -> dict[str, Any]:
        told = {key: value for key, value in record.as_json().items() if key not in ("hash", "is_revoked")}
        return {**told, "state": record.state(self._now()), "last_used_s": self._used.get(record.id)}

    def _hash(self, text: str) -> str:
        said = text.encode("utf-8", "surrogatepass")
        return blake2b(said, key=self._secret, digest_size=32, person=b"api key").hexdigest()


def known(raws: Iterable[bytes]) -> list[Record]:
    """The records that can be read."""
    found = [read_record(raw) for raw in raws]
    if None in found:
        log.error("%d records of keys cannot be read, and open no door", found.count(None))
    return [record for record in found if record is not None]
