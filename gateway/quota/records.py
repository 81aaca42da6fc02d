"""What was said of tenants at run time, kept: a record for each, the newest of any two holds.

data_dir/tenants/<tenant>.json      {"tenant": "...", "changed_s": 1763791200.5, "said": {"limits": {...}}}

Where the operator took his word back, a record that says nothing stays: another place may hold an older one.
A record whose word this version cannot read is kept as it is: a newer version may have written it.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from gateway.errors import StoreAway
from gateway.identity.scope import is_tenant
from gateway.racks import folder
from gateway.racks.kind import SHOWN, Kind

log = logging.getLogger(__name__)

EVERYBODY = "*"  # the policy of every tenant that has none of its own; each has limits for itself
FOLDER = "tenants"
_FILE_OF_EVERYBODY = "everybody"


@dataclass(frozen=True, slots=True)
class Record:
    """The operator's word about one tenant, and when it was said. None: it was taken back. Whether the word can be
    read is for whoever needs it to find out (`gateway.quota.reading`)."""

    tenant: str
    changed_s: float
    said: Mapping[str, Any] | None
    more: Mapping[str, Any] = field(default_factory=dict)  # fields of a newer version, which knows what they change

    def newer(self, other: "Record") -> "Record":
        """One of the two, the same whichever is asked."""
        return max(self, other, key=lambda record: (record.changed_s, record.as_bytes()))

    def as_bytes(self) -> bytes:
        said = {**self.more, "tenant": self.tenant, "changed_s": self.changed_s, "said": self.said}
        return orjson.dumps(said, default=dict, option=orjson.OPT_SORT_KEYS)


def is_subject(tenant: str) -> bool:
    """Whether something can be said of it: a tenant, or everybody."""
    return tenant == EVERYBODY or is_tenant(tenant)


def read_record(raw: bytes) -> Record | None:
    """A record as it was kept; None for what is none."""
    try:
        body = orjson.loads(raw)
        known = {name: body.pop(name) for name in ("tenant", "changed_s", "said")}
        record = Record(**known, more=body)
        is_one = (
            isinstance(record.tenant, str)
            and is_subject(record.tenant)
            and isinstance(record.changed_s, int | float)
            and not isinstance(record.changed_s, bool)
            and (record.said is None or isinstance(record.said, dict))
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    return record if is_one else None


TENANTS = Kind[Record](
    said="tenant",
    name_of=lambda record: record.tenant,
    spelled=Record.as_bytes,
    read=read_record,
    together=Record.newer,
    unread="what else is known of them holds",
)


class FolderRack(folder.FolderRack[Record]):
    """One file for each tenant, and one for everybody."""

    def __init__(self, place: Path) -> None:
        super().__init__(place, TENANTS, file_of=_file_of)
        self.unread: frozenset[str] = frozenset()  # of whom a file says something that cannot be told, by its name
        self._was_read = False
        self._nobodys: set[str] = set()  # broken files that no tenant has

    async def changed(self) -> bool:
        """What could not be read is tried again: the folder does not change when somebody may read a file again."""
        return bool(self.unread) or await super().changed()

    def _read(self) -> Sequence[Record]:
        try:
            found = {path: _record_in(path) for path in self._files()}
        except OSError as error:
            if not self._was_read:  # something may be said of anybody
                self.unread = frozenset({EVERYBODY})
            raise StoreAway(f"{self._folder} cannot be read: {error}") from error
        self._was_read = True
        broken = {EVERYBODY if path.stem == _FILE_OF_EVERYBODY else path.stem for path, one in found.items() if not one}
        self.unread = frozenset(filter(is_subject, broken))
        if new := broken - self.unread - self._nobodys:
            log.error("%s: these are no records of tenants: %s", self._folder, ", ".join(sorted(new)[:SHOWN]))
        self._nobodys = broken - self.unread
        return [record for record in found.values() if record is not None]


def _record_in(path: Path) -> Record | None:
    """None where it cannot be told what it says. Raises `OSError` where it might be the next time."""
    try:
        return read_record(path.read_bytes())
    except (PermissionError, IsADirectoryError, FileNotFoundError):
        return None


def _file_of(record: Record) -> str:
    return _FILE_OF_EVERYBODY if record.tenant == EVERYBODY else record.tenant
