"""What was said of tenants at run time, kept: a record for each, the newest of any two holds.

data_dir/tenants/<tenant>.json      {"tenant": "...", "changed_s": 1763791200.5, "said": {"limits": {...}}}

Where the operator took his word back, a record that says nothing stays: another place may hold an older one.
"""

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import orjson

from gateway.errors import InvalidRequest, StoreAway
from gateway.identity.scope import is_tenant
from gateway.keptfile import write_whole
from gateway.quota.reading import read_said

log = logging.getLogger(__name__)

EVERYBODY = "*"  # the policy of every tenant that has none of its own; each has limits for itself
FOLDER = "tenants"
_FILE_OF_EVERYBODY = "everybody"


@dataclass(frozen=True, slots=True)
class Record:
    """The operator's word about one tenant, and when it was said. None: it was taken back."""

    tenant: str
    changed_s: float
    said: Mapping[str, Any] | None

    def newer(self, other: "Record") -> "Record":
        """One of the two, the same whichever is asked."""
        return max(self, other, key=lambda record: (record.changed_s, record.as_bytes()))

    def as_bytes(self) -> bytes:
        said = {"tenant": self.tenant, "changed_s": self.changed_s, "said": self.said}
        return orjson.dumps(said, default=dict, option=orjson.OPT_SORT_KEYS)


def is_subject(tenant: str) -> bool:
    """Whether something can be said of it: a tenant, or everybody."""
    return tenant == EVERYBODY or is_tenant(tenant)


def read_record(raw: bytes) -> Record | None:
    """A record as it was kept; None for what is none."""
    try:
        record = Record(**orjson.loads(raw))
        is_one = (
            isinstance(record.tenant, str)
            and is_subject(record.tenant)
            and isinstance(record.changed_s, int | float)
            and not isinstance(record.changed_s, bool)
        )
        if is_one and record.said is not None:
            read_said(record.said, record.tenant)
    except (TypeError, ValueError, AttributeError, InvalidRequest):
        return None
    return record if is_one else None


def known(raws: Iterable[bytes]) -> list[Record]:
    """The records that can be read; of another tenant, what the file says holds."""
    found = [read_record(raw) for raw in raws]
    if None in found:
        log.error("%d records of tenants cannot be read: what the configuration says of them holds", found.count(None))
    return [record for record in found if record is not None]


class Rack(Protocol):
    """A place that keeps records. Raises `StoreAway`."""

    async def changed(self) -> bool:
        """Whether there may be something that `load` has not told yet."""

    async def load(self) -> Sequence[Record]: ...

    async def save(self, record: Record) -> None: ...


class FolderRack:
    """One file for each tenant."""

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

    def _read(self) -> Sequence[Record]:
        try:
            return known([path.read_bytes() for path in sorted(self._folder.glob("*.json"))])
        except OSError as error:
            raise StoreAway(f"{self._folder} cannot be read: {error}") from error

    def _write(self, record: Record) -> None:
        name = _FILE_OF_EVERYBODY if record.tenant == EVERYBODY else record.tenant
        try:
            write_whole(self._folder / f"{name}.json", record.as_bytes().decode())
        except OSError as error:
            raise StoreAway(f"{self._folder} cannot be written: {error}") from error

    def _stamp(self) -> int:
        try:
            return self._folder.stat().st_mtime_ns
        except OSError:
            return 0
