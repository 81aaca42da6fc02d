"""Stored questions by their bare form: the same question but for politeness, articles, contractions, spelled numbers.

Needs no embedder, so it is there from the start, and for texts that no embedder reads. In memory two short digests and
a name for an entry (`forms.py`), rebuilt from the store: what was read at another time is kept on disk
(`kept_forms.py`), the rest is read in a thread.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from functools import partial
from hashlib import blake2b
from typing import TypeVar

from embeddings.lexical import VERSION, bare
from gateway.answers.base import Answers, Unembedded
from gateway.semantic.forms import Forms, Known
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
        self._forms = Forms()
        self._known = Known()  # of what is being read
        self._is_whole = False  # every stored question was read
        self._is_kept = True  # what is known is on the disk
        self._kept_s = time.monotonic()

    def __len__(self) -> int:
        return len(self._forms)

    async def open(self) -> None:
        """Read every stored question. Raises `CacheError`."""
        if self._kept is not None:
            self._known = await asyncio.to_thread(lambda kept: Known(kept.read()), self._kept)
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
        self._known, self._forms, self._is_whole = Known(self._forms.pairs()), Forms(), False
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
        self._known = Known()

    async def keep(self) -> None:
        """Write down what is known, if it is everything, and not what is written."""
        if self._kept is not None and self._is_whole and not self._is_kept:
            self._is_kept, self._kept_s = True, time.monotonic()
            await asyncio.to_thread(self._kept.write, self._forms.pairs())

    def add(self, row: Unembedded) -> None:
        """Remember a stored question, if it has a bare form."""
        self._is_kept = False
        self._forms.put(_name(row.scope, row.id), _key(row.scope + row.compat, row.question), row.id)

    async def remember(self, row: Unembedded) -> None:
        """As `add`; a long question is read in a thread."""
        key = await apart(row.question, partial(_key, row.scope + row.compat, row.question))
        self._is_kept = False
        self._forms.put(_name(row.scope, row.id), key, row.id)

    def drop(self, scope: bytes, entry_id: str) -> None:
        """Forget an entry."""
        if self._forms.drop(_name(scope, entry_id)):
            self._is_kept = False

    async def find(self, partition: bytes, question: str) -> list[str]:
        """Names of entries that ask the same in their bare form, the newest first."""
        if not len(self._forms) or (key := await apart(question, partial(_key, partition, question))) == NO_FORM:
            return []
        return self._forms.newest(key, SAME_AT_MOST)

    async def _add_all(self, rows: list[Unembedded], known: Known) -> None:
        names = [_name(row.scope, row.id) for row in rows]
        keys = dict(zip(names, known.keys_of(names), strict=True))
        new = [row for row, name in zip(rows, names, strict=True) if keys[name] is None]
        if new:
            keys |= await asyncio.to_thread(_keys_of, new)
            self._is_kept = False
        for row, name in zip(rows, names, strict=True):
            if name not in self._forms:  # else it was remembered meanwhile
                self._forms.put(name, keys[name] or NO_FORM, row.id)
        self.num_read += len(rows)
        await asyncio.sleep(0)  # they wait for half a millisecond


async def apart(text: str, work: Callable[[], T]) -> T:
    """Do what reads `text` here if it is short, else in a thread: the event loop has others to serve."""
    return work() if len(text) <= SHORT_CHARS else await asyncio.to_thread(work)


def _keys_of(rows: Iterable[Unembedded]) -> dict[bytes, Key | None]:
    return {_name(row.scope, row.id): _key(row.scope + row.compat, row.question) for row in rows}


def _key(partition: bytes, question: str) -> Key:
    said = bare(question)
    if not said:
        return NO_FORM
    return blake2b(said.encode("utf-8", "surrogatepass"), key=partition[:64], digest_size=SIZE).digest()


def _name(scope: bytes, entry_id: str) -> bytes:
    return blake2b(entry_id.encode(), key=scope[:64], digest_size=SIZE).digest()
