"""Readings of stored questions: what the embedder made of their word pieces when it made their vectors.

A question is compared with up to eight stored ones, piece by piece, and to read one again costs as much as to read the
question itself. So the states are kept when the vector is made: as 16-bit integers of length 1, which moves a cosine by
less than 1e-4; and what is read of the words, which takes half a millisecond more. The newest are in memory, the others
in a file without a name, sealed where there is a key. The file ends with the process, forgets the oldest when it is
full, and has what is dropped overwritten. A reading that is not here is made anew.

    memory   OrderedDict, least lately used first -> the file
    file     |  oldest  |    | newest |  free  |      a ring; no reading is cut in two

Who looks writes nothing: what is found in the file stays there (the system has its pages in memory). Only what had to
be unsealed is kept near, and pushes out what lies in the file already, once that was written.
"""

import logging
import os
import struct
import tempfile
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embeddings.base import Reading
from embeddings.verifier.features import facts_of, remember
from gateway.seal import NO_SEAL, Seal, Unsealed

log = logging.getLogger(__name__)

MIB = 2**20
MOST_PIECES = 160  # a longer text is read again: few are that long, and each would be worth thirty others
_HEAD = struct.Struct("<HHIII")  # pieces, dim, bytes of their names, of the text, of the facts
SHORT_CHARS = 300  # of texts whose words are read right when they are kept
_WIDEST = 32767.0
_FLOAT, _NARROW = np.dtype("<f4"), np.dtype("<i2")

Key = tuple[bytes, str]  # scope and name of an entry


class KeptReadings:
    """Readings by the entry whose question they are of. Belongs to the event loop."""

    def __init__(
        self,
        folder: Path | None = None,
        seal: Seal = NO_SEAL,
        *,
        memory_bytes: int = 8 * MIB,
        file_bytes: int = 256 * MIB,
    ) -> None:
        """Without a `folder` there is no file."""
        self._near: OrderedDict[Key, bytes] = OrderedDict()
        self._near_bytes = 0
        self._memory_bytes = memory_bytes
        self._far = None if folder is None else Ring(folder, file_bytes)
        self._seal = seal

    def __len__(self) -> int:
        return len(self._near) + (0 if self._far is None else len(self._far))

    def keep(self, scope: bytes, name: str, reading: Reading) -> None:
        """Keep what is of use of a reading, in the place of what was."""
        self.drop(scope, name)
        if (packed := pack(reading)) is not None:
            self._put((scope, name), packed)

    def find(self, scope: bytes, asked: Sequence[tuple[str, str]]) -> list[Reading | None]:
        """The readings of entries by name and text; None of one that is not kept, or is of another text."""
        near, far, found = self._near, None if self._seal.name else self._far, []
        for name, _ in asked:
            key = (scope, name)
            packed = near.get(key)
            if packed is not None:
                near.move_to_end(key)
            else:
                packed = self._opened(key) if far is None else far.get(key)
            found.append(packed)
        return unpack(found, [text for _, text in asked])

    def drop(self, scope: bytes, name: str) -> None:
        """Forget it."""
        key = (scope, name)
        if (packed := self._near.pop(key, None)) is not None:
            self._near_bytes -= len(packed)
        if self._far is not None:
            self._far.drop(key)

    def clear(self) -> None:
        """Forget all of it."""
        self._near, self._near_bytes = OrderedDict(), 0
        if self._far is not None:
            self._far.clear()

    def close(self) -> None:
        """Forget all of it, and keep no more in the file."""
        self.clear()
        if self._far is not None:
            self._far.close()

    def _put(self, key: Key, packed: bytes) -> None:
        self._near[key] = packed
        self._near_bytes += len(packed)
        while self._near_bytes > self._memory_bytes:
            oldest, gone = self._near.popitem(last=False)
            self._near_bytes -= len(gone)
            if self._far is not None and oldest not in self._far:
                self._far.put(oldest, self._seal.seal(gone, _place(oldest)))

    def _opened(self, key: Key) -> bytes | None:
        """What the file has under seal: from now on memory has it, too."""
        sealed = None if self._far is None else self._far.get(key)
        if sealed is None:
            return None
        try:
            packed = self._seal.open(sealed, _place(key))
        except Unsealed as error:
            log.warning("a kept reading does not open: %s", error)
            return None
        self._put(key, packed)
        return packed


class Ring:
    """Bytes by key in a file without a name; the oldest give way. A file that fails holds nothing."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._spans: OrderedDict[Key, tuple[int, int]] = OrderedDict()  # start and length, oldest first
        self._end = 0  # where the next goes
        self._file: int | None = None
        try:
            self._file = _nameless(folder)
        except OSError as error:
            self._fail(error)

    def __len__(self) -> int:
        return len(self._spans)

    def __contains__(self, key: Key) -> bool:
        return key in self._spans

    def get(self, key: Key) -> bytes | None:
        span = self._spans.get(key)
        if span is None or self._file is None:
            return None
        start, length = span
        try:
            found = os.pread(self._file, length, start)
        except OSError as error:
            self._fail(error)
            return None
        return found if len(found) == length else None

    def put(self, key: Key, value: bytes) -> None:
        if self._file is None or len(value) > self._limit_bytes:
            return
        start = self._room(len(value))
        try:
            os.pwrite(self._file, value, start)
        except OSError as error:  # the disk is full
            self._fail(error)
            return
        self._spans[key] = start, len(value)
        self._end = start + len(value)

    def drop(self, key: Key) -> None:
        """Forget what is there, and write over it."""
        span = self._spans.pop(key, None)
        if span is None or self._file is None:
            return
        try:
            os.pwrite(self._file, bytes(span[1]), span[0])
        except OSError as error:
            self._fail(error)

    def clear(self) -> None:
        """Forget all, and give the disk back."""
        self._spans.clear()
        self._end = 0
        if self._file is not None:
            try:
                os.ftruncate(self._file, 0)
            except OSError as error:
                self._fail(error)

    def close(self) -> None:
        file, self._file = self._file, None
        self._spans.clear()
        if file is not None:
            os.close(file)

    def _room(self, length: int) -> int:
        """Where so many bytes go; the oldest that lie there are gone."""
        start = self._end
        if start + length > self._limit_bytes:
            while self._spans and self._first()[0] >= start:  # they lie behind the end, and it begins anew
                self._spans.popitem(last=False)
            start = 0
        while self._spans:
            first, its_length = self._first()
            if first >= start + length or first + its_length <= start:
                break
            self._spans.popitem(last=False)
        return start

    def _first(self) -> tuple[int, int]:
        return next(iter(self._spans.values()))

    def _fail(self, error: OSError) -> None:
        log.warning("readings of stored questions are kept in memory alone: %s", error)
        self.close()


def pack(reading: Reading) -> bytes | None:
    """What is needed of a reading to compare it; None where it is not worth keeping."""
    states = reading.states
    names = "\0".join(reading.pieces).encode("utf-8", "surrogatepass")
    if not 0 < len(reading.pieces) <= MOST_PIECES or names.count(b"\0") != len(reading.pieces) - 1:
        return None
    lengths = np.sqrt(np.einsum("ij,ij->i", states, states))
    unit = states / np.maximum(lengths, np.float32(1e-9))[:, None]
    scales = np.maximum(np.abs(unit).max(axis=1), np.float32(1e-9)) / np.float32(_WIDEST)
    narrow = np.rint(unit / scales[:, None]).astype("<i2")
    facts = facts_of(reading.text) if len(reading.text) <= SHORT_CHARS else b""
    text = reading.text.encode("utf-8", "surrogatepass")
    head = _HEAD.pack(states.shape[0], states.shape[1], len(names), len(text), len(facts))
    numbers = (reading.vector.astype("<f4").tobytes(), scales.astype("<f4").tobytes(), narrow.tobytes())
    return b"".join((head, *numbers, names, text, facts))


def unpack(kept: Sequence[bytes | None], texts: Sequence[str]) -> list[Reading | None]:
    """The reading of each text from what is kept; None where that is nothing, or of another one.

    The numbers of all are widened in one go, and their pieces' names are read in one go: a dozen calls for each cost
    more than the numbers.
    """
    found: list[Reading | None] = [None] * len(texts)
    parts: list[tuple[bytes, bytes, NDArray[np.int16], bytes]] = []
    spans: list[tuple[int, int]] = []  # which it is, and how many pieces it has
    dim = 0
    for n, packed in enumerate(kept):
        if packed is None:
            continue
        count, width, num_names, num_text, num_facts = _HEAD.unpack_from(packed)
        facts_at = len(packed) - num_facts
        text_at = facts_at - num_text
        text = texts[n]
        if packed[text_at:facts_at] != text.encode("utf-8", "surrogatepass") or width != (dim or width):
            continue
        dim = width
        scales_at = _HEAD.size + 4 * dim
        states_at = scales_at + 4 * count
        states = np.frombuffer(packed, _NARROW, count * dim, states_at)
        names = packed[text_at - num_names : text_at]
        parts.append((packed[_HEAD.size : scales_at], packed[scales_at:states_at], states, names))
        spans.append((n, count))
        if num_facts:
            remember(text, packed[facts_at:])
    if not parts:
        return found
    vectors, scales, narrow, spelled = zip(*parts, strict=True)
    rows = np.frombuffer(b"".join(vectors), _FLOAT).reshape(-1, dim)
    wide: NDArray[np.float32] = np.concatenate(narrow, dtype=np.float32).reshape(-1, dim)
    wide *= np.frombuffer(b"".join(scales), _FLOAT)[:, None]
    pieces = b"\0".join(spelled).decode("utf-8", "surrogatepass").split("\0")
    at = 0
    for row, (n, count) in zip(rows, spans, strict=True):
        found[n] = Reading(texts[n], row, tuple(pieces[at : at + count]), wide[at : at + count])
        at += count
    return found


def _place(key: Key) -> bytes:
    return b"reading\0" + key[0] + key[1].encode()


def _nameless(folder: Path) -> int:
    with tempfile.TemporaryFile(dir=folder) as file:
        return os.dup(file.fileno())
