"""An entry as it lies in Redis: a card with what is known of it, a body with request and answer, its vector.

    card   made, ends, worth | size, hits, good, bad, vector bytes | mark of the end
           | id, tenant, alias of, embedder, each behind its length          what scripts read and change
           | mark | scope, exact, compat | mark of the body | mark of the question | JSON of the rest
    body   a byte that says whether it is packed, then: length of the request, request, answer
    vector mark, float32

With a seal the JSON, the body and the vector are sealed, each for its member, under the marks.

Who can write to that Redis must not be able to plant answers: every part carries a keyed mark (BLAKE2b, 16 bytes) over
itself and the entry it belongs to, checked before anything is unpacked. Hits and the tallies of verdicts carry none,
and nothing keeps such a writer from deleting, or from putting back what once was there. No pickle, no guesses: what
cannot be read is `Broken`, a miss.
"""

import math
import struct
import zlib
from dataclasses import dataclass
from typing import Any

from gateway.answers.base import DIGEST_BYTES, CacheError, Embedded, Entry, Gone, Unembedded
from gateway.answers.codec import decode, decode_json, encode, encode_json, size_bytes
from gateway.answers.eviction import worth
from gateway.answers.redis.keys import MAC_BYTES, Names
from gateway.answers.selection import Listed
from gateway.seal import NO_SEAL, Seal, Unsealed, is_sealed, key_name, place

NUMBERS = struct.Struct("<dddIIIII8s")
LENGTH = struct.Struct("<H")
LENGTH4 = struct.Struct("<I")
MARKS = MAC_BYTES + 3 * DIGEST_BYTES + 2 * MAC_BYTES
END_MARK_BYTES = 8
PACK_OVER_BYTES = 512  # a shorter body is left as it is
NO_VECTOR = 2**32 - 1
NEVER = math.inf
PLACE_BYTES = 6  # of a member: what tells rows made at one moment apart


class Broken(Exception):
    """What lies in Redis is not what this deployment wrote."""

    def __init__(self, why: str, *, is_foreign: bool = False) -> None:
        super().__init__(why)
        self.is_foreign = is_foreign  # it is ours, under a key that is not given here


@dataclass(frozen=True, slots=True)
class Packed:
    """An entry, ready to be written."""

    member: bytes
    card: bytes
    body: bytes
    vector: bytes  # empty: none is kept
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Card:
    """What is known of an entry but its request and answer."""

    member: bytes
    id: str
    scope: bytes
    exact: bytes
    compat: bytes
    created_s: float
    expires_s: float | None
    size_bytes: int
    hits: int
    good: int
    bad: int
    tenant: str
    alias_of: str | None
    embedder: str | None
    has_vector: bool
    body_mark: bytes
    rest: dict[str, Any]
    seal: str = ""  # name of the key; empty: it is not sealed

    @property
    def place(self) -> tuple[float, int]:
        return self.created_s, int.from_bytes(self.member[:PLACE_BYTES], "big")

    @property
    def question(self) -> str | None:
        found: str | None = self.rest["question"]
        return found

    def is_fresh(self, now_s: float) -> bool:
        return self.expires_s is None or now_s < self.expires_s

    def gone(self) -> Gone:
        return Gone(self.id, self.scope, self.compat)

    def unembedded(self) -> Unembedded | None:
        if self.question is None:
            return None
        return Unembedded(self.id, self.scope, self.compat, self.question, self.expires_s)

    def embedded(self, vector: bytes) -> Embedded | None:
        if self.question is None:
            return None
        return Embedded(self.id, self.scope, self.compat, self.question, vector, self.expires_s)

    def listed(self) -> Listed:
        return Listed(
            place=self.place,
            id=self.id,
            tenant=self.tenant,
            namespace=self.rest["namespace"],
            model=self.rest["model"],
            revision=self.rest["revision"],
            question=self.question,
            tags=tuple(self.rest["tags"]),
            created_s=self.created_s,
            expires_s=self.expires_s,
            elapsed_s=self.rest["elapsed_s"],
            size_bytes=self.size_bytes,
            hits=self.hits,
            good=self.good,
            bad=self.bad,
            alias_of=self.alias_of,
            origin=self.rest.get("origin", ""),
        )

    def without_content(self) -> Entry:
        """The entry but for its request, its answer and its vector: enough for most of a `Selection`."""
        return self.entry(b"", None)

    def entry(self, canonical: bytes, completion: Any, vector: bytes | None = None) -> Entry:
        rest = self.rest
        return Entry(
            id=self.id,
            scope=self.scope,
            exact=self.exact,
            compat=self.compat,
            canonical=canonical,
            question=self.question,
            model=rest["model"],
            completion=completion,
            created_s=self.created_s,
            expires_s=self.expires_s,
            elapsed_s=rest["elapsed_s"],
            tags=tuple(rest["tags"]),
            embedder=self.embedder,
            vector=vector,
            tenant=self.tenant,
            namespace=rest["namespace"],
            revision=rest["revision"],
            schema=rest["schema"],
            sliding_s=rest["sliding_s"],
            alias_of=self.alias_of,
            good=self.good,
            bad=self.bad,
            origin=rest.get("origin", ""),
        )


class Cards:
    """Packs and reads under the marks of one deployment. Ends lie in Redis by its clock, which is `ahead_s` of ours."""

    def __init__(self, names: Names, seal: Seal = NO_SEAL) -> None:
        self._names = names
        self.seal = seal
        self.ahead_s = 0

    def pack(self, entry: Entry) -> Packed:
        """`entry` as it is written. Raises `CacheError` when it cannot be spelled."""
        names, member = self._names, self._names.member(entry.scope, entry.exact)
        completion = encode(entry.completion)
        words = _packed(LENGTH4.pack(len(entry.canonical)) + entry.canonical + completion)
        body = self.seal.seal(words, place("body", member))
        size = size_bytes(entry, completion)
        head = [_text(text or "") for text in (entry.id, entry.tenant, entry.alias_of)]
        rest = encode_json(
            {
                "question": entry.question,
                "model": entry.model,
                "namespace": entry.namespace,
                "revision": entry.revision,
                "schema": entry.schema,
                "sliding_s": entry.sliding_s,
                "tags": entry.tags,
                "elapsed_s": entry.elapsed_s,
                "origin": entry.origin,
            }
        )
        rest = self.seal.seal(rest, place("card", member))
        fixed = b"".join(
            (entry.scope, entry.exact, entry.compat, names.mac(b"body", member, body), self.asks(entry.question))
        )
        made = struct.pack("<d", entry.created_s)
        mark = names.mac(b"card", member, made, *head, fixed, rest)
        ends, end_mark = self.end(entry.scope, entry.id, entry.expires_s)
        vector_bytes = NO_VECTOR if entry.embedder is None or entry.vector is None else len(entry.vector)
        embedder = _text(entry.embedder or "") if vector_bytes != NO_VECTOR else b""
        numbers = NUMBERS.pack(
            entry.created_s, ends, worth(entry.elapsed_s, size), size, 0, entry.good, entry.bad, vector_bytes, end_mark
        )
        strings = b"".join(LENGTH.pack(len(text)) + text for text in (*head, embedder))
        vector = (
            self.vector(entry.scope, entry.id, entry.embedder or "", entry.vector or b"")
            if vector_bytes != NO_VECTOR
            else b""
        )
        return Packed(member, b"".join((numbers, strings, mark, fixed, rest)), body, vector, size)

    def end(self, scope: bytes, entry_id: str, expires_s: float | None) -> tuple[float, bytes]:
        """When an entry ends by the clock of Redis, and the mark that says it is so."""
        ends = NEVER if expires_s is None else expires_s + self.ahead_s
        mark = self._names.mac(b"end", scope, _text(entry_id), struct.pack("<d", ends))
        return ends, mark[:END_MARK_BYTES]

    def asks(self, question: str | None) -> bytes:
        """What tells whether an entry still asks the same."""
        return (
            bytes(MAC_BYTES)
            if question is None
            else self._names.mac(b"asks", question.encode("utf-8", "surrogatepass"))
        )

    def vector(self, scope: bytes, entry_id: str, embedder: str, vector: bytes) -> bytes:
        """A vector as it is written; nothing for an empty one."""
        if not vector:
            return b""
        whose = (scope, _text(entry_id), _text(embedder))
        kept = self.seal.seal(vector, place("vector", *whose))
        return self._names.mac(b"vector", *whose, kept) + kept

    def read_card(self, member: bytes, raw: bytes) -> Card:
        """Raises `Broken`."""
        try:
            numbers, at = NUMBERS.unpack_from(raw), NUMBERS.size
            made, ends, _, size, hits, good, bad, vector_bytes, end_mark = numbers
            texts: list[bytes] = []
            for _ in range(4):
                (length,) = LENGTH.unpack_from(raw, at)
                at += LENGTH.size
                texts.append(raw[at : at + length])
                at += length
            mark, fixed = raw[at : at + MAC_BYTES], raw[at + MAC_BYTES : at + MARKS]
            rest = raw[at + MARKS :]
            if not self._names.is_ours(mark, b"card", member, raw[:8], *texts[:3], fixed, rest):
                raise Broken("a card that nobody of ours wrote")
            entry_id, tenant, alias_of, embedder = (text.decode("utf-8", "surrogatepass") for text in texts)
            scope, exact, compat = (fixed[n : n + DIGEST_BYTES] for n in range(0, 3 * DIGEST_BYTES, DIGEST_BYTES))
            if end_mark != self._names.mac(b"end", scope, texts[0], raw[8:16])[:END_MARK_BYTES]:
                raise Broken("an end that nobody of ours set")
            if self._names.member(scope, exact) != member:
                raise Broken("a card in another's place")
            return Card(
                member, entry_id, scope, exact, compat, made, None if ends == NEVER else ends - self.ahead_s,
                size, hits, good, bad, tenant, alias_of or None, None if vector_bytes == NO_VECTOR else embedder,
                vector_bytes not in (0, NO_VECTOR), fixed[3 * DIGEST_BYTES : -MAC_BYTES],
                decode_json(self._opened(rest, place("card", member))), key_name(rest),
            )  # fmt: skip
        except Unsealed as error:
            raise Broken(str(error), is_foreign=error.is_foreign) from error
        except (struct.error, UnicodeDecodeError, CacheError) as error:
            raise Broken(str(error)) from error

    def read_body(self, card: Card, raw: bytes) -> tuple[bytes, bytes]:
        """The canonical request, and the answer as bytes. Raises `Broken`."""
        if not self._names.is_ours(card.body_mark, b"body", card.member, raw):
            raise Broken("a body that is not the card's")
        try:
            raw = self._opened(raw, place("body", card.member))
        except Unsealed as error:
            raise Broken(str(error), is_foreign=error.is_foreign) from error
        plain = zlib.decompress(raw[1:]) if raw[:1] == b"\1" else raw[1:]
        (length,) = LENGTH4.unpack_from(plain)
        return plain[LENGTH4.size : LENGTH4.size + length], plain[LENGTH4.size + length :]

    def read_vector(self, card: Card, raw: bytes) -> bytes:
        """Raises `Broken`."""
        mark, vector = raw[:MAC_BYTES], raw[MAC_BYTES:]
        whose = (card.scope, _text(card.id), _text(card.embedder or ""))
        if not self._names.is_ours(mark, b"vector", *whose, vector):
            raise Broken("a vector that nobody of ours made")
        try:
            return self._opened(vector, place("vector", *whose))
        except Unsealed as error:
            raise Broken(str(error), is_foreign=error.is_foreign) from error

    def seal_comment(self, comment: str, scope: bytes, entry_id: str) -> bytes:
        """What a user said, as it is written."""
        return self.seal.seal(comment.encode("utf-8", "surrogatepass"), place("comment", scope, entry_id))

    def open_comment(self, said: bytes, scope: bytes, entry_id: str) -> str:
        """What a user said; nothing when it cannot be read."""
        try:
            return self._opened(said, place("comment", scope, entry_id)).decode("utf-8", "surrogatepass")
        except (Unsealed, UnicodeDecodeError):
            return ""

    def reseal_comment(self, said: bytes, scope: bytes, entry_id: str) -> bytes:
        """What a user said, under the key in use; as it is where it does not open."""
        if key_name(said) == self.seal.name:
            return said
        try:
            where = place("comment", scope, entry_id)
            return self.seal.seal(self._opened(said, where), where)
        except Unsealed:
            return said

    def _opened(self, raw: bytes, where: bytes) -> bytes:
        """As it was before it was sealed; what was written before there was a key is as it is. Raises `Unsealed`."""
        return self.seal.open(raw, where) if is_sealed(raw) else raw

    def read(self, card: Card, raw_body: bytes, raw_vector: bytes | None) -> Entry:
        """The entry. Raises `Broken`."""
        canonical, completion = self.read_body(card, raw_body)
        try:
            if not card.has_vector:
                return card.entry(canonical, decode(completion), None if card.embedder is None else b"")
            return card.entry(canonical, decode(completion), self.read_vector(card, raw_vector or b""))
        except CacheError as error:
            raise Broken(str(error)) from error


def _packed(plain: bytes) -> bytes:
    if len(plain) > PACK_OVER_BYTES:
        packed = zlib.compress(plain, 1)
        if len(packed) < 0.9 * len(plain):
            return b"\1" + packed
    return b"\0" + plain


def _text(text: str) -> bytes:
    raw = text.encode("utf-8", "surrogatepass")
    if len(raw) >= 2**16:
        raise CacheError(f"a name of {len(raw)} bytes cannot be kept")
    return raw
