"""The places that keep the records of keys. The one here is a folder; gateways on one Redis share another.

data_dir/keys/key_1a2b3c4d5e6f.json      one record
data_dir/keys/used.json                  {"key_1a2b3c4d5e6f": unix time, ...}
"""

import asyncio
import os
import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import orjson

from gateway.callers.records import Record, known
from gateway.errors import StoreAway
from gateway.keptfile import write_whole

FOLDER = "keys"
USED_FILE = "used.json"


class Rack(Protocol):
    """A place that keeps records. Raises `StoreAway`."""

    async def changed(self) -> bool:
        """Whether there may be something that `load` has not told yet."""

    async def load(self) -> Sequence[Record]: ...

    async def save(self, record: Record) -> None: ...

    async def used(self, mine: Mapping[str, float]) -> Mapping[str, float]:
        """When keys were used last, as far as is known there; `mine` becomes known there."""


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
        stamp_ns, now_ns = self._stamp(), time.time_ns()
        found = await asyncio.to_thread(self._read)
        self._seen_ns, self._read_ns = stamp_ns, now_ns
        return found

    async def save(self, record: Record) -> None:
        await asyncio.to_thread(self._write, record)

    async def used(self, mine: Mapping[str, float]) -> Mapping[str, float]:
        return await asyncio.to_thread(self._exchange, mine)

    def _read(self) -> Sequence[Record]:
        try:
            return known({str(path): path.read_bytes() for path in sorted(self._folder.glob("key_*.json"))})
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

    def _exchange(self, mine: Mapping[str, float]) -> Mapping[str, float]:
        path = self._folder / USED_FILE
        try:
            theirs = times(path.read_bytes()) if path.exists() else {}
            merged = later(theirs, mine)
            if merged != theirs:
                write_whole(path, orjson.dumps(merged).decode())
        except OSError as error:
            raise StoreAway(f"{path} cannot be kept: {error}") from error
        return merged

    def _stamp(self) -> int:
        try:
            return self._folder.stat().st_mtime_ns
        except OSError:
            return 0


def times(raw: bytes) -> dict[str, float]:
    """What was kept of when keys were used; nothing of what is none."""
    try:
        read: Any = orjson.loads(raw)
    except ValueError:
        return {}
    return {key: at for key, at in read.items() if isinstance(at, float)} if isinstance(read, dict) else {}


def later(ones: Mapping[str, float], others: Mapping[str, float]) -> dict[str, float]:
    """The later time of each."""
    return {key: max(ones.get(key, 0.0), others.get(key, 0.0)) for key in ones.keys() | others.keys()}
