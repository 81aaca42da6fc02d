"""Stored questions by their bare form: the same question but for politeness, articles, contractions, spelled numbers.

Needs no embedder, so it is there from the start, and for texts that no embedder reads. In memory two short digests and
a name for an entry, rebuilt from the store: what was read at another time is kept on disk (`kept_forms.py`), the rest
is read in a thread.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from functools import partial
from hashlib import blake2b
from typing import TypeVar

from embeddings.lexical import VERSION, bare
from gateway.answers.base import Answers, Unembedded
from gateway.semantic.kept_forms import NO_FORM, SIZE, KeptForms

SAME_AT_MOST = 8  # entries of one bare form that are looked at; the newest

SHORT_CHARS = 300
TOGETHER = 64  # stored questions that are read at once at the start
KEEP_EVERY_S = 900.0

Key = bytes
T = TypeVar("T")


class Wordings:
    """Names of entries by (scope, compat, bare form). Belongs to the event loop."""

    def __init__(self, answers: Answers, kept: KeptForms | None = None) -> None:
        self.num_read = 0  # of the stored questions, at the start
        self._answers = answers
        self._kept = kept
        self._names: dict[Key, list[str]] = {}
        self._keys: dict[bytes, Key] = {}  # (scope, name) -> where it is
        self._known: dict[bytes, Key] = {}  # keys by name, of what is being read
        self._is_whole = False  # every stored question was read
        self._is_kept = True  # what is known is on the disk
        self._kept_s = time.monotonic()

    def __len__(self) -> int:
        return len(self._keys)

    async def open(self) -> None:
        """Read every stored question. Raises `CacheError`."""
        self._known = {} if self._kept is None else await asyncio.to_thread(self._kept.read)
        await self._read()
        self._is_whole = True
        await self.keep()

    async def catch_up(self) -> None:
        """Read what could not be read, and write it down now and then: what a crash loses is read again."""
        if not self._is_whole:
            await self.renew()
        if time.monotonic() - self._kept_s > KEEP_EVERY_S:
            await self.keep()

    async def renew(self) -> None:
        """Read every stored question anew: what is here may be gone, and some may be missing. Raises `CacheError`."""
        self._known |= self._keys
        self._names, self._keys, self._is_whole = {}, {}, False
        await self._read()
        self._is_whole = True

    async def _read(self) -> None:
        """Read every stored question, those with a known key in no time. Raises `CacheError`."""
        rows: list[Unembedded] = []
        async for row in self._answers.unembedded(VERSION):  # an embedder that no entry has a vector of: all of them
            rows.append(row)
            if len(rows) == TOGETHER:
                await self._add_all(rows, self._known)
                rows = []
        await self._add_all(rows, self._known)
        self._known = {}

    async def keep(self) -> None:
        """Write down what is known, if it is everything, and not what is written."""
        if self._kept is not None and self._is_whole and not self._is_kept:
            self._is_kept, self._kept_s = True, time.monotonic()
            await asyncio.to_thread(self._kept.write, dict(self._keys))

    def add(self, row: Unembedded) -> None:
        """Remember a stored question, if it has a bare form."""
        self._is_kept = False
        self._put(row, _name(row.scope, row.id), _key(row.scope + row.compat, row.question))

    async def remember(self, row: Unembedded) -> None:
        """As `add`; a long question is read in a thread."""
        key = await apart(row.question, partial(_key, row.scope + row.compat, row.question))
        self._is_kept = False
        self._put(row, _name(row.scope, row.id), key)

    def drop(self, scope: bytes, entry_id: str) -> None:
        """Forget an entry."""
        self._drop(_name(scope, entry_id), entry_id)

    async def find(self, partition: bytes, question: str) -> list[str]:
        """Names of entries that ask the same in their bare form, the newest first."""
        if not self._names or (key := await apart(question, partial(_key, partition, question))) == NO_FORM:
            return []
        return self._names.get(key, [])[: -SAME_AT_MOST - 1 : -1]

    async def _add_all(self, rows: list[Unembedded], known: dict[bytes, Key]) -> None:
        names = [_name(row.scope, row.id) for row in rows]
        new = [row for row, name in zip(rows, names, strict=True) if name not in known]
        if new:
            known |= await asyncio.to_thread(_keys_of, new)
            self._is_kept = False
        for row, name in zip(rows, names, strict=True):
            if name not in self._keys:  # else it was remembered meanwhile
                self._put(row, name, known[name])
        self.num_read += len(rows)
        await asyncio.sleep(0)  # they wait for half a millisecond

    def _put(self, row: Unembedded, name: bytes, key: Key) -> None:
        self._drop(name, row.id)
        self._keys[name] = key
        if key != NO_FORM:
            self._names.setdefault(key, []).append(row.id)

    def _drop(self, name: bytes, entry_id: str) -> None:
        key = self._keys.pop(name, None)
        if key is None:
            return
        self._is_kept = False
        if key == NO_FORM:
            return
        names = self._names[key]
        names.remove(entry_id)
        if not names:
            del self._names[key]


async def apart(text: str, work: Callable[[], T]) -> T:
    """Do what reads `text` here if it is short, else in a thread: the event loop has others to serve."""
    return work() if len(text) <= SHORT_CHARS else await asyncio.to_thread(work)


def _keys_of(rows: Iterable[Unembedded]) -> dict[bytes, Key]:
    return {_name(row.scope, row.id): _key(row.scope + row.compat, row.question) for row in rows}


def _key(partition: bytes, question: str) -> Key:
    said = bare(question)
    if not said:
        return NO_FORM
    return blake2b(said.encode("utf-8", "surrogatepass"), key=partition[:64], digest_size=SIZE).digest()


def _name(scope: bytes, entry_id: str) -> bytes:
    return blake2b(entry_id.encode(), key=scope[:64], digest_size=SIZE).digest()
