"""What the admin API says, as values. `raw` keeps what has no name here. No I/O."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from twicetold.errors import APIStatusError

JSON = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TierStats:
    """What one tier did since the server started."""

    requests: int
    hit_ratio: float
    mean_seconds: float | None
    mean_ttft_seconds: float | None


@dataclass(frozen=True, slots=True)
class Stats:
    """What the gateway did since it started, and what it keeps."""

    requests: int
    errors: int
    entries: int
    tiers: Mapping[str, TierStats]
    saved_tokens: int
    saved_seconds: float
    is_ready: bool
    raw: JSON = field(repr=False)

    @classmethod
    def read(cls, wire: JSON) -> "Stats":
        tokens = wire["tokens"]
        names = ("requests", "hit_ratio", "mean_seconds", "mean_ttft_seconds")
        return cls(
            requests=wire["requests"],
            errors=wire["errors"],
            entries=wire["entries"],
            tiers={tier: TierStats(*(did.get(name) for name in names)) for tier, did in wire["tiers"].items()},
            saved_tokens=tokens["saved_prompt"] + tokens["saved_completion"],
            saved_seconds=wire["saved_seconds"],
            is_ready=wire["ready"],
            raw=wire,
        )


@dataclass(frozen=True, slots=True)
class Entry:
    """A stored answer in a list: everything but the request and the answer."""

    id: str
    question: str | None  # None: other words never find it
    preview: str  # of the last thing a user said
    model: str
    tenant: str
    namespace: str
    tags: tuple[str, ...]
    created_s: float  # unix time
    expires_s: float | None
    hits: int
    good: int
    bad: int
    size_bytes: int
    alias_of: str | None
    similarity: float | None  # to the question that was looked for by meaning
    raw: JSON = field(repr=False)

    @classmethod
    def read(cls, wire: JSON) -> "Entry":
        own = ("id", "question", "model", "tenant", "namespace", "created_s", "expires_s")
        counts = ("hits", "good", "bad", "size_bytes", "alias_of")
        said = {name: wire[name] for name in (*own, *counts)}
        preview = wire.get("preview") or wire["question"] or ""
        return cls(**said, preview=preview, tags=tuple(wire["tags"]), similarity=wire.get("similarity"), raw=wire)


@dataclass(frozen=True, slots=True)
class WholeEntry:
    """One stored answer with what was asked, what was answered, and what users said of it."""

    entry: Entry
    request: JSON
    choices: tuple[JSON, ...]
    usage: JSON
    verdicts: tuple[JSON, ...]

    @property
    def text(self) -> str:
        """What the first choice says; empty when it is no text."""
        content = self.choices[0]["message"].get("content") if self.choices else None
        return content if isinstance(content, str) else ""

    @classmethod
    def read(cls, wire: JSON) -> "WholeEntry":
        parts = tuple(wire["choices"]), wire["usage"], tuple(wire["verdicts"])
        return cls(Entry.read(wire), wire["request"], *parts)


@dataclass(frozen=True, slots=True)
class EntryPage:
    """A part of a list, newest first; `next` asks for the one behind it."""

    entries: tuple[Entry, ...]
    next: str | None

    @classmethod
    def read(cls, wire: JSON) -> "EntryPage":
        return cls(tuple(Entry.read(row) for row in wire["data"]), wire["next"])


@dataclass(frozen=True, slots=True)
class Invalidation:
    """What was removed, or would be."""

    is_dry_run: bool
    count: int
    sample: tuple[str, ...]  # ids of some
    raw: JSON = field(repr=False)

    @classmethod
    def read(cls, wire: JSON) -> "Invalidation":
        return cls(wire["dry_run"], wire["count"], tuple(wire["sample"]), wire)


@dataclass(frozen=True, slots=True)
class Said:
    """What became of a verdict. `not_kept`: nothing is kept of that answer, or nothing any more."""

    entry: str | None
    state: Literal["kept", "retired", "not_kept"]
    good: int
    bad: int

    @classmethod
    def read(cls, wire: JSON) -> "Said":
        return cls(wire["entry"], wire["state"], wire["good"], wire["bad"])


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of the lines of an import."""

    lines: int = 0
    imported: int = 0
    kept: int = 0  # there was an answer already, and it stays
    expired: int = 0
    failed: int = 0
    errors: tuple[JSON, ...] = ()

    def __add__(self, other: "Imported") -> "Imported":
        return Imported(
            self.lines + other.lines,
            self.imported + other.imported,
            self.kept + other.kept,
            self.expired + other.expired,
            self.failed + other.failed,
            self.errors + other.errors,
        )

    @classmethod
    def read(cls, wire: JSON) -> "Imported":
        counts = {name: wire[name] for name in ("lines", "imported", "kept", "expired", "failed")}
        return cls(**counts, errors=tuple(wire["errors"]))


@dataclass(frozen=True, slots=True)
class Warmed:
    """What became of questions that were asked ahead."""

    stored: int = 0
    present: int = 0  # they were answered already
    not_kept: int = 0  # the answer did not pass the write gate
    errors: tuple[tuple[Any, APIStatusError], ...] = ()  # questions that were refused, and why

    def counted(self, state: Literal["stored", "present", "not_kept"]) -> "Warmed":
        return Warmed(
            self.stored + (state == "stored"),
            self.present + (state == "present"),
            self.not_kept + (state == "not_kept"),
            self.errors,
        )

    def failed(self, question: Any, error: APIStatusError) -> "Warmed":
        return replace(self, errors=(*self.errors, (question, error)))
