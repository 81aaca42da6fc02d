"""An entry as memory keeps it: the words in one piece of bytes, what many entries share once, an `Entry` when asked.

Parsed answers are dicts of strings of up to four bytes a character: two to three times what they are as bytes, and
each object is one more that the garbage collector walks. What was used last stays parsed, within a bound (`Parsed`).
"""

import struct
from copy import copy
from typing import NamedTuple

from gateway.answers.base import CLOCKS_AGREE_S, Entry
from gateway.answers.codec import decode
from gateway.answers.digest import DIGEST_BYTES, digest_of_words

PARSED_SHARE = 16  # of the budget, one part may be held by what stays parsed, by its size as bytes
MOST_PARSED_BYTES = 2 << 20
MOST_SHARED = 4096  # heads and digests that are kept to be shared

# Lengths of canonical, answer and question (-1: there is none), whether there is a vector, the digest of the answer's
# words; then these four, the vector being the rest.
_LENGTHS = struct.Struct("<IIi")
_DIGEST = _LENGTHS.size + 1
_WORDS = _DIGEST + DIGEST_BYTES
_NO_DIGEST = bytes(DIGEST_BYTES)  # of what is found by no other words


class Head(NamedTuple):
    """What all entries of a tenant and a model have in common."""

    scope: bytes
    model: str
    tenant: str
    namespace: str
    revision: str
    schema: int
    embedder: str | None
    origin: str
    tags: tuple[str, ...]
    sliding_s: float | None


class Packed:
    """One entry. Has an entry's attributes, but for the parsed answer; `encoded` is that as bytes."""

    __slots__ = (
        "_body", "_head", "alias_of", "bad", "compat", "created_s", "elapsed_s", "exact", "expires_s",
        "good", "id",
    )  # fmt: skip

    def __init__(self, entry: Entry, encoded: bytes, head: Head, compat: bytes) -> None:
        question = None if entry.question is None else entry.question.encode("utf-8", "surrogatepass")
        lengths = (len(entry.canonical), len(encoded), -1 if question is None else len(question))
        has_vector = b"\0" if entry.vector is None else b"\1"
        digest = _NO_DIGEST if question is None else digest_of_words(entry.completion)
        words = (entry.canonical, encoded, question or b"", entry.vector or b"")
        self._body = b"".join((_LENGTHS.pack(*lengths), has_vector, digest, *words))
        self._head = head
        self.id = entry.id
        self.exact = entry.exact
        self.compat = compat
        self.created_s = entry.created_s
        self.expires_s = entry.expires_s
        self.elapsed_s = entry.elapsed_s
        self.alias_of = entry.alias_of
        self.good = entry.good
        self.bad = entry.bad

    @property
    def scope(self) -> bytes:
        return self._head.scope

    @property
    def model(self) -> str:
        return self._head.model

    @property
    def tenant(self) -> str:
        return self._head.tenant

    @property
    def namespace(self) -> str:
        return self._head.namespace

    @property
    def revision(self) -> str:
        return self._head.revision

    @property
    def schema(self) -> int:
        return self._head.schema

    @property
    def embedder(self) -> str | None:
        return self._head.embedder

    @property
    def origin(self) -> str:
        return self._head.origin

    @property
    def tags(self) -> tuple[str, ...]:
        return self._head.tags

    @property
    def canonical(self) -> bytes:
        return self._part(0)

    @property
    def encoded(self) -> bytes:
        return self._part(1)

    @property
    def question(self) -> str | None:
        canonical, encoded, length = _LENGTHS.unpack_from(self._body)
        start = _WORDS + canonical + encoded
        return None if length < 0 else self._body[start : start + length].decode("utf-8", "surrogatepass")

    @property
    def digest(self) -> bytes:
        """Of the answer's words; for what has a question."""
        return self._body[_DIGEST:_WORDS]

    @property
    def vector(self) -> bytes | None:
        return self._part(3) if self._body[_LENGTHS.size] else None

    @property
    def num_bytes(self) -> int:
        """Of its words and vector."""
        return len(self._body)

    def is_fresh(self, now_s: float) -> bool:
        return self.expires_s is None or now_s < self.expires_s

    def is_older(self, limit_s: float, now_s: float) -> bool:
        """As an entry's."""
        return now_s - self.created_s > limit_s or self.created_s - now_s > CLOCKS_AGREE_S

    def changed(self, entry: Entry) -> "Packed":
        """Of `entry`, which is this one but for its end or the verdicts on it."""
        other = copy(self)
        other.expires_s, other.good, other.bad = entry.expires_s, entry.good, entry.bad
        return other

    def unpacked(self) -> Entry:
        """The entry, from its bytes."""
        head, body = self._head, self._body
        canonical, encoded, question = _LENGTHS.unpack_from(body)
        answer_at = _WORDS + canonical
        question_at = answer_at + encoded
        vector_at = question_at + max(0, question)
        asked = None if question < 0 else body[question_at:vector_at].decode("utf-8", "surrogatepass")
        return Entry(
            id=self.id,
            scope=head.scope,
            exact=self.exact,
            compat=self.compat,
            canonical=body[_WORDS:answer_at],
            question=asked,
            model=head.model,
            completion=decode(body[answer_at:question_at]),
            created_s=self.created_s,
            expires_s=self.expires_s,
            elapsed_s=self.elapsed_s,
            tags=head.tags,
            embedder=head.embedder,
            vector=body[vector_at:] if body[_LENGTHS.size] else None,
            tenant=head.tenant,
            namespace=head.namespace,
            revision=head.revision,
            schema=head.schema,
            sliding_s=head.sliding_s,
            alias_of=self.alias_of,
            good=self.good,
            bad=self.bad,
            origin=head.origin,
        )

    def _part(self, number: int) -> bytes:
        canonical, encoded, question = _LENGTHS.unpack_from(self._body)
        start = _WORDS
        ends = (start + canonical, start + canonical + encoded, start + canonical + encoded + max(0, question))
        starts = (start, *ends)
        return self._body[starts[number] : ends[number] if number < 3 else None]


class Packing:
    """Makes packed entries that share what they can."""

    def __init__(self) -> None:
        self._heads: dict[Head, Head] = {}
        self._digests: dict[bytes, bytes] = {}

    def packed(self, entry: Entry, encoded: bytes) -> Packed:
        for shared in (self._heads, self._digests):
            if len(shared) >= MOST_SHARED:
                shared.clear()
        head = Head(
            entry.scope, entry.model, entry.tenant, entry.namespace, entry.revision, entry.schema, entry.embedder,
            entry.origin, entry.tags, entry.sliding_s,
        )  # fmt: skip
        head = self._heads.setdefault(head, head)
        return Packed(entry, encoded, head, self._digests.setdefault(entry.compat, entry.compat))


class Parsed:
    """Entries that were used last stay parsed, within a bound of bytes."""

    def __init__(self, budget_bytes: int) -> None:
        self._most_bytes = min(MOST_PARSED_BYTES, budget_bytes // PARSED_SHARE)
        self._held: dict[Packed, Entry] = {}  # used last comes last
        self.num_bytes = 0

    def of(self, kept: Packed) -> Entry:
        """What is kept, parsed; a use of it."""
        entry = self._held.get(kept) or kept.unpacked()
        self.hold(kept, entry)
        return entry

    def hold(self, kept: Packed, entry: Entry) -> None:
        """`entry` is what is kept, and was used."""
        if self._held.pop(kept, None) is None:
            self.num_bytes += kept.num_bytes
        self._held[kept] = entry
        while self.num_bytes > self._most_bytes:
            self.drop(next(iter(self._held)))

    def drop(self, kept: Packed) -> None:
        if self._held.pop(kept, None) is not None:
            self.num_bytes -= kept.num_bytes

    def clear(self) -> None:
        self._held.clear()
        self.num_bytes = 0
