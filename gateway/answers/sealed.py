"""A row of the answers file whose words are sealed.

    seal        name of the key; empty: nothing of the row is sealed
    about       sealed: question, tags, namespace, and a digest of what the row says of itself in plain
    words       sealed: length of the request, request, answer
    vector      sealed
    question, canonical, completion     empty, the question NULL where there is none
    tags, namespace                     tokens: found by whoever knows the word and has the key

In plain stay digests, the entry's name, tenant and model, times and numbers. What was sealed opens in its own entry
alone: the place is scope and name. Whose an entry is, and what it answers, cannot be changed beside it either: a row
that says something else than it did is no entry.
"""

import base64
import binascii
import sqlite3
import struct
from collections.abc import Callable, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

from gateway.answers import file
from gateway.answers.base import CacheError
from gateway.answers.codec import decode_json, encode_json
from gateway.answers.marks import spelled
from gateway.answers.selection import needle
from gateway.seal import NO_SEAL, OVERHEAD_BYTES, Seal, Unsealed, is_sealed, place

_LENGTH = struct.Struct("<I")
IN_PLAIN = ("exact", "compat", "tenant", "model", "revision", "schema", "alias_of", "created_s", "origin")
_COMMENT = "\0sealed:"  # before a sealed comment

Row = Mapping[str, Any]


def seal_row(row: Row, seal: Seal) -> dict[str, Any]:
    """A row as it is written."""
    if not seal.name:
        return {**row, "seal": "", "about": None, "words": None}
    scope, entry_id = row["scope"], row["id"]
    about = {
        "question": row["question"],
        "tags": decode_json(row["tags"]),
        "namespace": row["namespace"],
        "row": _digest(row),
    }
    words = b"".join((_LENGTH.pack(len(row["canonical"])), row["canonical"], row["completion"]))
    return {
        **row,
        "seal": seal.name,
        "about": seal.seal(encode_json(about), place("about", scope, entry_id)),
        "words": seal.seal(words, place("words", scope, entry_id)),
        "vector": seal_vector(row["vector"], scope, entry_id, row["embedder"], seal),
        "question": None if row["question"] is None else "",
        "canonical": b"",
        "completion": b"",
        "tags": encode_json([seal.tokens(tag)[0] for tag in about["tags"]]).decode(),
        "namespace": seal.tokens(row["namespace"])[0] if row["namespace"] else "",
    }


def open_row(row: Row, seal: Seal) -> dict[str, Any]:
    """The row as it was before `seal_row`. Raises `Unsealed`."""
    plain = {name: value for name, value in row.items() if name not in ("seal", "about", "words")}
    if not row["seal"]:
        return plain
    scope, entry_id = row["scope"], row["id"]
    about = open_about(row["about"], scope, entry_id, seal)
    if about.get("row") != _digest(row):
        raise Unsealed("the row says something else than when it was sealed")
    canonical, completion = open_words(row["words"], scope, entry_id, seal)
    return {
        **plain,
        "question": about["question"],
        "tags": encode_json(about["tags"]),
        "namespace": about["namespace"],
        "canonical": canonical,
        "completion": completion,
        "vector": open_vector(row["vector"], scope, entry_id, row["embedder"], seal),
    }


def _digest(row: Row) -> str:
    digest = blake2b(digest_size=16)
    for name in IN_PLAIN:
        raw = spelled(row[name])
        digest.update(len(raw).to_bytes(4, "little") + raw)
    return digest.hexdigest()


def open_about(raw: bytes | None, scope: bytes, entry_id: str, seal: Seal) -> dict[str, Any]:
    """Question, tags and namespace. Raises `Unsealed`."""
    about: dict[str, Any] = decode_json(_opened(raw, place("about", scope, entry_id), seal))
    return about


def open_words(raw: bytes | None, scope: bytes, entry_id: str, seal: Seal) -> tuple[bytes, bytes]:
    """Request and answer. Raises `Unsealed`."""
    plain = _opened(raw, place("words", scope, entry_id), seal)
    (length,) = _LENGTH.unpack_from(plain)
    return plain[_LENGTH.size : _LENGTH.size + length], plain[_LENGTH.size + length :]


def seal_vector(vector: bytes | None, scope: bytes, entry_id: str, embedder: str | None, seal: Seal) -> bytes | None:
    """An empty one stays empty."""
    return seal.seal(vector, _vector_place(scope, entry_id, embedder)) if vector and seal.name else vector


def open_vector(raw: bytes | None, scope: bytes, entry_id: str, embedder: str | None, seal: Seal) -> bytes | None:
    """Raises `Unsealed`."""
    return seal.open(raw, _vector_place(scope, entry_id, embedder)) if raw else raw


def vector_bytes(raw: bytes | None, *, is_sealed: bool) -> int:
    """What a kept vector weighs before it is sealed."""
    return len(raw) - OVERHEAD_BYTES if raw and is_sealed else len(raw or b"")


def seal_comment(comment: str, scope: bytes, entry_id: str, seal: Seal) -> str:
    """What a user said, as text: the column takes nothing else."""
    if not comment or not seal.name:
        return comment
    raw = seal.seal(comment.encode("utf-8", "surrogatepass"), place("comment", scope, entry_id))
    return _COMMENT + base64.b64encode(raw).decode()


def open_comment(said: str, scope: bytes, entry_id: str, seal: Seal) -> str:
    """What a user said; nothing when it cannot be read."""
    if not said.startswith(_COMMENT):
        return said
    try:
        raw = base64.b64decode(said[len(_COMMENT) :], validate=True)
        return seal.open(raw, place("comment", scope, entry_id)).decode("utf-8", "surrogatepass")
    except (Unsealed, binascii.Error):
        return ""


def connect(path: Path, busy_timeout_s: float, seal: Seal = NO_SEAL) -> sqlite3.Connection:
    """A connection whose SQL can look into sealed rows: `says(words, scope, id, needle)`, `asks(..., canonical)`."""
    connection = file.connect(path, busy_timeout_s)
    connection.create_function("says", 4, _looking(seal, _says))
    connection.create_function("asks", 4, _looking(seal, _asks))
    return connection


def _looking(seal: Seal, is_meant: Callable[[bytes, bytes, Any], bool]) -> Callable[[bytes, bytes, str, Any], bool]:
    def look(words: bytes, scope: bytes, entry_id: str, wanted: Any) -> bool:
        try:
            return is_meant(*open_words(words, scope, entry_id, seal), wanted)
        except (CacheError, struct.error):
            return False

    return look


def _says(canonical: bytes, completion: bytes, text: str) -> bool:
    wanted = needle(text)
    return wanted in canonical.lower() or wanted in completion.lower()


def _asks(canonical: bytes, _: bytes, wanted: bytes) -> bool:
    return canonical == wanted


def _opened(raw: bytes | None, where: bytes, seal: Seal) -> bytes:
    if raw is None:
        raise Unsealed("a sealed row lacks what was sealed")
    if not is_sealed(raw):  # who has no key leaves what is plain as it is, and this row bears no mark
        raise Unsealed("a sealed row says in plain what was sealed")
    return seal.open(raw, where)


def _vector_place(scope: bytes, entry_id: str, embedder: str | None) -> bytes:
    return place("vector", scope, entry_id, embedder or "")
