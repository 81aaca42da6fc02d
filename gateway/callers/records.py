"""What is known of a key that the gateway gave out. A record holds nothing that opens a door.

    {"id": "key_1a2b3c4d5e6f", "name": "chat app", "tenant": "...", "hash": "...", "created_s": ..., "scopes": ["chat"]}

Records only ever gain an earlier end, or lose their name, so any two copies of one can be put together.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from gateway.callers.caller import OF_CALLERS, SCOPES
from gateway.identity.scope import is_tenant
from gateway.racks.kind import Kind

MAX_NAME_CHARS = 200

_ID = re.compile(r"key_[0-9a-f]{12}")
_HASH = re.compile(r"[0-9a-f]{64}")
_PREFIX = re.compile(r"(tt_[A-Za-z0-9_-]{8})?")


@dataclass(frozen=True, slots=True)
class Record:
    """One key."""

    id: str
    name: str
    tenant: str
    hash: str
    created_s: float
    ends_s: float | None = None  # unix time; None: it does not end
    is_revoked: bool = False  # whether somebody ended it before its time
    scopes: tuple[str, ...] = tuple(sorted(OF_CALLERS))  # a record of before there were scopes names none
    prefix: str = ""  # how its text begins, to tell it by
    policy: Mapping[str, Any] | None = None  # what it allows of its tenant's policy
    family: str = ""  # id of the key that was rotated first to come to this one: they have one account of limits
    is_over: bool = False  # ended at once: whoever's clock was ahead when it was, it opens nothing when that is right

    def state(self, now_s: float) -> str:
        if not self.is_over and (self.ends_s is None or now_s < self.ends_s):
            return "active"
        return "revoked" if self.is_revoked else "expired"

    def with_end(self, other: "Record") -> "Record":
        """The same with the earlier of two ends, and without what either has lost: the same whichever is asked."""
        mine = self if self.name == other.name or other.name else replace(self, name="", policy=None)
        mine = replace(mine, is_over=True) if other.is_over else mine
        if other.ends_s is None or mine._end <= other._end:
            return mine
        return replace(mine, ends_s=other.ends_s, is_revoked=other.is_revoked)

    @property
    def _end(self) -> tuple[float, bool]:
        return (math.inf if self.ends_s is None else self.ends_s), not self.is_revoked

    def as_json(self) -> dict[str, Any]:
        """Without what gateways of before do not know, where there is none of it: to them a key with it is no key."""
        told = {name: getattr(self, name) for name in Record.__dataclass_fields__}
        return {name: value for name, value in told.items() if value or name not in ("family", "is_over")}


def read_record(raw: bytes) -> Record | None:
    """A record as it was kept; None for what is none. A field that is not known here may be a wall: it is none, too."""
    try:
        record = Record(**orjson.loads(raw))
        return replace(record, scopes=tuple(record.scopes)) if _is_one(record) else None
    except (TypeError, ValueError):
        return None


def _is_one(record: Record) -> bool:
    texts = (record.id, record.name, record.tenant, record.hash, record.prefix, record.family)
    return (
        all(isinstance(text, str) for text in texts)
        and _ID.fullmatch(record.id) is not None
        and _HASH.fullmatch(record.hash) is not None
        and _PREFIX.fullmatch(record.prefix) is not None
        and (not record.family or _ID.fullmatch(record.family) is not None)
        and is_tenant(record.tenant)
        and _is_time(record.created_s)
        and (record.ends_s is None or _is_time(record.ends_s))
        and isinstance(record.is_revoked, bool)
        and isinstance(record.is_over, bool)
        and isinstance(record.scopes, list | tuple)
        and all(scope in SCOPES for scope in record.scopes)
        and (record.policy is None or isinstance(record.policy, dict))
    )


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 10**12


KEYS = Kind[Record](
    said="key",
    name_of=lambda record: record.id,
    spelled=lambda record: orjson.dumps(record.as_json()),
    read=read_record,
    together=Record.with_end,
    unread="if no newer version wrote them, delete them: they open no door; create another key for whoever is refused",
)
