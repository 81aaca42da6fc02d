"""Stored questions by their bare form: the same question but for politeness, articles, contractions, spelled numbers.

Needs no embedder, so it is there from the start, and for texts that no embedder reads. In memory alone, two short
digests and a name for an entry; rebuilt from the store.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from hashlib import blake2b
from typing import TypeVar

from embeddings.lexical import VERSION, bare
from gateway.answers.base import Answers, Unembedded

SAME_AT_MOST = 8  # entries of one bare form that are looked at; the newest

SHORT_CHARS = 300

Key = bytes
T = TypeVar("T")


class Wordings:
    """Names of entries by (scope, compat, bare form). Belongs to the event loop."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._names: dict[Key, list[str]] = {}
        self._keys: dict[bytes, Key] = {}  # (scope, name) -> where it is

    def __len__(self) -> int:
        return len(self._keys)

    async def open(self) -> None:
        """Read every stored question. Raises `CacheError`."""
        async for row in self._answers.unembedded(VERSION):  # an embedder that no entry has a vector of: all of them
            self.add(row)

    def add(self, row: Unembedded) -> None:
        """Remember a stored question, if it has a bare form."""
        self.drop(row.scope, row.id)
        if key := _key(row.scope + row.compat, row.question):
            self._names.setdefault(key, []).append(row.id)
            self._keys[_name(row.scope, row.id)] = key

    def drop(self, scope: bytes, entry_id: str) -> None:
        """Forget an entry."""
        key = self._keys.pop(_name(scope, entry_id), None)
        if key is None:
            return
        names = self._names[key]
        names.remove(entry_id)
        if not names:
            del self._names[key]

    async def find(self, partition: bytes, question: str) -> list[str]:
        """Names of entries that ask the same in their bare form, the newest first."""
        if not self._names or not (key := await apart(question, partial(_key, partition, question))):
            return []
        return self._names.get(key, [])[: -SAME_AT_MOST - 1 : -1]


async def apart(text: str, work: Callable[[], T]) -> T:
    """Do what reads `text` here if it is short, else in a thread: the event loop has others to serve."""
    return work() if len(text) <= SHORT_CHARS else await asyncio.to_thread(work)


def _key(partition: bytes, question: str) -> Key:
    """Empty when the question has no bare form."""
    said = bare(question)
    return blake2b(said.encode("utf-8", "surrogatepass"), key=partition[:64], digest_size=16).digest() if said else b""


def _name(scope: bytes, entry_id: str) -> bytes:
    return blake2b(entry_id.encode(), key=scope[:64], digest_size=16).digest()
