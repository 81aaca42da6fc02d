"""The places that keep the records of keys, and when these were used. The one here is a folder; gateways on one Redis
share another.

data_dir/keys/key_1a2b3c4d5e6f.json      one record
data_dir/keys/used.json                  {"key_1a2b3c4d5e6f": unix time, ...}
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import orjson

from gateway.callers.records import KEYS, Record
from gateway.errors import StoreAway
from gateway.keptfile import write_whole
from gateway.racks import folder
from gateway.racks.kind import Rack

FOLDER = "keys"
USED_FILE = "used.json"


class KeyRack(Rack[Record], Protocol):
    """A place that keeps records of keys. Raises `StoreAway`."""

    async def used(self, mine: Mapping[str, float]) -> Mapping[str, float]:
        """When keys were used last, as far as is known there; `mine` becomes known there."""


class FolderRack(folder.FolderRack[Record]):
    """One file for each key, and one for their uses."""

    def __init__(self, place: Path) -> None:
        super().__init__(place, KEYS, pattern="key_*")

    async def used(self, mine: Mapping[str, float]) -> Mapping[str, float]:
        return await asyncio.to_thread(self._exchange, mine)

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
