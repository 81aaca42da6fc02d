"""Readings of stored questions: what the embedder made of their word pieces when it made their vectors.

A question is compared with up to eight stored ones, piece by piece, and to read one again costs as much as to read the
question itself. So the states are kept when the vector is made: as 16-bit integers of length 1, which moves a cosine by
less than 1e-4; and what is read of the words, which takes half a millisecond more. The newest are in memory, the others
in a file without a name, sealed where there is a key. The file ends with the process, forgets the oldest when it is
full, and has what is dropped overwritten. A reading that is not here is made anew.

    memory   OrderedDict, least lately used first -> the file
    file     |  oldest  |    | newest |  free  |      a ring; no reading is cut in two
"""

import logging
import os
import struct
import tempfile
from collections import OrderedDict
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embeddings.base import Reading
from embeddings.verifier.features import facts_of, remember
from gateway.seal import NO_SEAL, Seal, Unsealed

log = logging.getLogger(__name__)

MIB = 2**20
MOST_PIECES = 160  # a longer text is read again: few are that long, and each would be worth thirty others
_HEAD = struct.Struct("<16sHHII")
SHORT_CHARS = 300  # of texts whose words are read right when they are kept
_WIDEST = 32767.0

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

    def find(self, scope: bytes, name: str, text: str) -> Reading | None:
        """The reading of this entry's question, if it is kept and of this text."""
        key = (scope, name)
        packed = self._near.get(key)
        if packed is not None:
            self._near.move_to_end(key)
        elif (packed := self._fetched(key)) is not None:
            self._put(key, packed)
        return None if packed is None else unpack(packed, text)

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

    def _fetched(self, key: Key) -> bytes | None:
        sealed = None if self._far is None else self._far.get(key)
        try:
            return None if sealed is None else self._seal.open(sealed, _place(key))
        except Unsealed as error:
            log.warning("a kept reading does not open: %s", error)
            return None


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
    head = _HEAD.pack(_digest(reading.text), states.shape[0], states.shape[1], len(names), len(facts))
    numbers = (reading.vector.astype("<f4").tobytes(), scales.astype("<f4").tobytes(), narrow.tobytes())
    return b"".join((head, *numbers, names, facts))


def unpack(packed: bytes, text: str) -> Reading | None:
    """The reading of `text`; None where it is of another one."""
    digest, count, dim, num_names, num_facts = _HEAD.unpack_from(packed)
    if digest != _digest(text):
        return None
    at = _HEAD.size
    vector: NDArray[np.float32] = np.frombuffer(packed, "<f4", dim, at)
    scales = np.frombuffer(packed, "<f4", count, at + 4 * dim)
    at += 4 * (dim + count)
    states = np.frombuffer(packed, "<i2", count * dim, at).reshape(count, dim) * scales[:, None]
    end = len(packed) - num_facts
    pieces = packed[end - num_names : end].decode("utf-8", "surrogatepass").split("\0")
    if num_facts:
        remember(text, packed[end:])
    return Reading(text, vector, tuple(pieces), states)


def _digest(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _place(key: Key) -> bytes:
    return b"reading\0" + key[0] + key[1].encode()


def _nameless(folder: Path) -> int:
    with tempfile.TemporaryFile(dir=folder) as file:
        return os.dup(file.fileno())
