"""What an answer store keeps, and what it promises.

An entry belongs to one scope and is found by its exact fingerprint inside it; nothing here takes a fingerprint
without a scope, so a lookup cannot cross tenants. `scope`, `exact` and `compat` are 32-byte digests made by
`gateway.identity.canonical`. The store is the truth: the vector index is rebuilt from it.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from backends.chat import Completion
from gateway.answers.selection import Listed, Page, Selection

if TYPE_CHECKING:
    from gateway.answers.packed import Packed

DIGEST_BYTES = 32
# Who made an answer; SHARED: another tenant's generation, which this one was told as slowly as its own.
BACKEND, REFRESH, PUT, IMPORT, PROMOTION, SHARED = "backend", "refresh", "put", "import", "promotion", "shared"
BAD_RETIRES = 2  # so many bad verdicts end an entry
MAX_VERDICTS = 100  # of an entry that are remembered one by one, the last; older ones are in its tally alone


@dataclass(frozen=True, slots=True)
class Mark:
    """The last removals that were known when an answer began to be made."""

    here: int  # of this process
    there: bytes  # of the store


CLOCKS_AGREE_S = 60.0  # of gateways that share a store; further apart, a time says nothing


@dataclass(frozen=True, slots=True)
class Entry:
    """One stored answer and everything needed to decide whether it may be served."""

    id: str  # public name, says nothing about its content
    scope: bytes
    exact: bytes
    compat: bytes
    canonical: bytes  # the canonical request; compared on every exact hit
    question: str | None  # the last user text, when other wordings of it may be answered with this entry
    model: str
    completion: Completion
    created_s: float  # unix time
    expires_s: float | None  # unix time; None: never
    elapsed_s: float  # what the full generation took
    tags: tuple[str, ...] = ()
    embedder: str | None = None  # fingerprint of the embedder that made `vector`
    vector: bytes | None = None  # float32, little endian; empty: this embedder cannot see the whole question
    tenant: str = ""  # opaque; empty where a version wrote it that did not keep it, as the next three
    namespace: str = ""
    revision: str = ""  # what the model's name resolved to
    schema: int = 0  # of the canonical request
    sliding_s: float | None = None  # every use moves the end so far ahead; None: nothing moves it
    alias_of: str | None = None  # id of the entry whose answer this is, kept under another wording
    good: int = 0  # verdicts of users
    bad: int = 0
    origin: str = ""  # who made the answer: backend, put, import, promotion, refresh; empty: not known
    began: Mark | None = field(default=None, compare=False, repr=False)  # of what is made here and not kept yet

    def is_fresh(self, now_s: float) -> bool:
        return self.expires_s is None or now_s < self.expires_s

    def age_s(self, now_s: float) -> float:
        return max(0.0, now_s - self.created_s)

    def is_older(self, limit_s: float, now_s: float) -> bool:
        """Whether it is older than that. Where the clock was put back it was made in the future: nobody knows then."""
        return now_s - self.created_s > limit_s or self.created_s - now_s > CLOCKS_AGREE_S


@dataclass(frozen=True, slots=True)
class Embedded:
    """What the vector index needs to know of an entry."""

    id: str
    scope: bytes
    compat: bytes
    question: str
    vector: bytes
    expires_s: float | None


@dataclass(frozen=True, slots=True)
class Unembedded:
    """An entry that lacks a vector: what has to be embedded, and where the vector belongs."""

    id: str
    scope: bytes
    compat: bytes
    question: str
    expires_s: float | None


@dataclass(frozen=True, slots=True)
class Gone:
    """An entry that is no more: what an index has to forget."""

    id: str
    scope: bytes
    compat: bytes


@dataclass(frozen=True, slots=True)
class Figures:
    """What one level of a store holds, and what it let go since the start."""

    level: str  # "memory" or "disk"
    entries: int
    size_bytes: int
    evicted: int
    expired: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a user said of an answer. `source` names the response it was about: one response, one verdict."""

    source: str
    is_good: bool
    comment: str
    at_s: float


@dataclass(frozen=True, slots=True)
class Tally:
    """What users said of an entry so far; `gone` is what that removed."""

    good: int
    bad: int
    gone: tuple[Gone, ...] = ()

    @property
    def is_retired(self) -> bool:
        return bool(self.gone)


def counted(tally: tuple[int, int], before: bool | None, *, is_good: bool) -> tuple[int, int]:
    """A tally of good and bad with one more verdict, in the place of what its source said before."""
    good, bad = tally
    if before is not None:
        good, bad = good - before, bad - (not before)
    return good + is_good, bad + (not is_good)


def embedded_of(entry: "Entry | Packed") -> Embedded | None:
    """What the vector index needs to know of `entry`; None when it cannot be found by meaning."""
    if entry.question is None or not entry.vector:
        return None
    return Embedded(entry.id, entry.scope, entry.compat, entry.question, entry.vector, entry.expires_s)


def unembedded_of(entry: "Entry | Packed") -> Unembedded | None:
    """What has to be embedded of `entry`; None when it has no question."""
    if entry.question is None:
        return None
    return Unembedded(entry.id, entry.scope, entry.compat, entry.question, entry.expires_s)


class CacheError(Exception):
    """The cache could not do it. Callers go on without the cache; they never show this to a user."""


class Overtaken(CacheError):
    """A store kept nothing: what selects this answer was removed after it began to be made."""


class Answers(Protocol):
    """A store of entries. Raises `CacheError` and nothing else."""

    async def open(self) -> None: ...

    async def get(self, scope: bytes, exact: bytes) -> Entry | None:
        """The entry under this fingerprint; None when there is none.

        An entry stays visible for a while after its end, for callers who accept a stale answer: ask `is_fresh`.
        """

    async def by_id(self, scope: bytes, entry_id: str) -> Entry | None:
        """The entry of this name inside this scope."""

    async def put(self, entry: Entry) -> None:
        """Keep `entry`, replacing what has the same scope and exact fingerprint. Durable when it returns."""

    async def peek(self, scope: bytes, exact: bytes) -> Entry | None:
        """As `get`, for somebody who only wants to know: it is no use of the entry and moves nothing."""

    async def owned(self, tenant: str, entry_id: str) -> Entry | None:
        """The entry of this name if it belongs to this tenant; no use of it."""

    async def remove(self, scope: bytes, entry_id: str) -> bool:
        """Forget the entry and its aliases; False when it is not here."""

    async def remove_all(self, selection: Selection) -> list[Gone]:
        """Forget what is selected, aliases included; entries put after this began stay."""

    async def select(self, selection: Selection, page: Page) -> list[Listed]:
        """What is selected, newest first, a page of it."""

    async def requests(self, scope: bytes, limit: int) -> list[tuple[str, bytes]]:
        """Id and canonical request of the newest entries of a scope."""

    async def count(self, selection: Selection) -> int: ...

    async def judge(self, entry: Entry, verdict: Verdict) -> Tally | None:
        """Write down what a user said; None when this very answer is gone. `BAD_RETIRES` bad ones remove it."""

    async def verdicts(self, scope: bytes, entry_id: str) -> list[Verdict]:
        """What users said of an entry, oldest first."""

    async def count_hit(self, entry_id: str, times: int = 1) -> None:
        """Note that an entry was served. Cheap, and may be lost in a crash."""

    async def prolong(self, scope: bytes, entry_id: str, expires_s: float) -> None:
        """Move an entry's end. Seen at once; may be lost in a crash."""

    def embedded(self, embedder: str) -> AsyncIterator[Embedded]:
        """Every entry with a vector of this embedder, oldest first, in small batches."""

    def unembedded(self, embedder: str) -> AsyncIterator[Unembedded]:
        """Every entry with a question that this embedder has not been asked for, in small batches."""

    async def set_vector(self, row: Unembedded, embedder: str, vector: bytes) -> bool:
        """Give an entry its vector, an empty one when the embedder cannot see the whole question.

        False, and nothing happens, when the entry is gone or asks something else by now.
        """

    async def size(self) -> int:
        """Entries kept now."""

    async def close(self) -> None: ...


class Store(Answers, Protocol):
    """A store that lets entries go by itself, and says which and how many."""

    async def figures(self) -> Figures: ...

    def mark(self) -> bytes:
        """What names the last removal that is known to the store; nothing where no other process removes what is put
        later than it was made."""

    def has_lost_elsewhere(self) -> bool:
        """Whether another process removed entries since this was asked last. Costs next to nothing."""

    async def is_purged(self) -> bool:
        """Do what is left to do so that nothing of what was removed lies where the store does; whether that is done."""

    async def closed(self, selection: Selection) -> int:
        """How many entries nobody can say of whether they are meant: they are sealed under a key that is not given."""

    def take_gone(self) -> list[Gone]:
        """What expired or was evicted since the last call and was not put again: for an index to forget.

        Some may be left out; an index meets them when it finds them.
        """


class NearAnswers(Answers, Protocol):
    """A store with memory in front of it: what is there can be had, and put, without waiting."""

    def get_now(self, scope: bytes, exact: bytes) -> Entry | None: ...

    def peek_now(self, scope: bytes, exact: bytes) -> Entry | None:
        """As `get_now`, but no use of the entry."""

    def stamp_now(self, scope: bytes, exact: bytes) -> object | None:
        """What memory has under this fingerprint, by something that is another one as soon as anything of it is."""

    def use_now(self, scope: bytes, exact: bytes, times: int) -> None:
        """Count uses of an entry that was given without being asked for here."""

    def begin(self) -> Mark:
        """Names this moment, for an answer that begins to be made: if it is removed before it is there, it stays so."""

    def is_overtaken(self, began: Mark, entry_id: str) -> bool:
        """Whether an answer of this name that began then may have been removed since."""

    def put_now(self, entry: Entry) -> bool:
        """Keep `entry` at once; False when it was removed since it began."""

    async def settle(self, entry: Entry) -> bool:
        """Make last what `put_now` kept; False, and nothing happens, when it was removed or replaced since."""

    def abandon(self, entry: Entry) -> None:
        """It will not be settled."""
