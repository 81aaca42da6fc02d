"""Segments as files of one directory, under a byte budget.

    kv/<model>/<key>.seg    the model is a digest of everything that changes bits
    kv/<model>/.lock        locked by every process that serves the model; a folder that nobody serves is a stranger,
                            counts towards the budget, and is the first to go when room is needed

A file appears whole, by rename, or not at all: a process killed in the middle of a write leaves a temporary file,
which is locked by its writer while that lives and swept away by whoever starts next. Nothing is synced: what a power
failure garbles fails its MAC, and is deleted and missed. Several processes may share the directory: each has an index
of its own and takes a file that is gone for a miss.
"""

import fcntl
import logging
import os
import re
import shutil
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from stat import S_ISREG

from kvtier.tiers.base import Found, Restored, Rows, Segment, TierError, Wanted
from kvtier.tiers.codec import NotFinite
from kvtier.tiers.index import Entry, SegmentIndex
from kvtier.tiers.segment import ALIGN, MOST_HEAD_BYTES, NOBODY, BadSegment, Head, SegmentForm, is_plain

SUFFIX = ".seg"
TEMPORARY = ".tmp"
TRASH = ".trash"
_A_MODEL = re.compile(r"[0-9a-f]{32}")  # the name of its folder
LOCK = ".lock"
INDEX_PATIENCE_S = 2.0  # how long a lookup right after the start waits for the index
READERS = 2

log = logging.getLogger(__name__)


class DiskTier:
    """Keeps at most `budget_bytes` in `directory`, other models' files included."""

    name = "disk"
    is_remote = False

    def __init__(self, directory: Path, budget_bytes: int, form: SegmentForm) -> None:
        self._root = directory
        self._directory = directory / form.model
        self._budget_bytes = budget_bytes
        self._form = form
        self._lock = threading.Lock()  # around the index and every change of the set of our files
        self._index = SegmentIndex(form.geometry.block_tokens)
        self._strangers: deque[tuple[Path, int]] = deque()  # other models' files, used longest ago first
        self._stranger_bytes = 0
        self._epoch = 0  # of `clear`
        self._counts = {"writes": 0, "write_bytes": 0, "refused": 0, "errors": 0, "bad": 0, "evictions": 0}
        self._is_indexed = threading.Event()
        self._readers = ThreadPoolExecutor(READERS, "kv-disk-read")
        self._in_use = -1
        try:
            self._take()
        except OSError as error:
            if not self._directory.is_dir():
                raise TierError(f"cannot use {directory}: {error}") from error
            log.warning("kept prefixes are read and none is written: %s", error)
        self._indexer = threading.Thread(target=self._build_index, name="kv-disk-index", daemon=True)
        self._indexer.start()

    def _take(self) -> None:
        """Make the folder ours to write in."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for made in (self._root, self._directory):
            made.chmod(0o700)  # segments hold the words of conversations
        self._in_use = _hold(self._directory)

    def find(self, wanted: Wanted) -> Sequence[Found]:
        """The run of segments from `wanted.start` on."""
        self._is_indexed.wait(INDEX_PATIENCE_S)
        with self._lock:
            run = self._index.find(wanted)
            if run:
                self._index.touch(run[-1].key)
        return run

    def load(self, wanted: Wanted, run: Sequence[Found]) -> Iterator[Restored]:
        """Read and verify a run, a few segments at a time."""
        loads = [self._readers.submit(self._read, wanted, found) for found in run]
        try:
            for load in loads:
                restored = load.result()
                if restored is None:
                    return
                yield restored
        finally:
            for load in loads:
                load.cancel()

    def holds(self, segment: Segment) -> bool:
        """Whether the segment, or one that begins with it, is here."""
        with self._lock:
            return self._index.covers(segment.parent, segment.packed)

    def save(self, segment: Segment, rows: Rows) -> bool:
        """Write a segment; False when it cannot be found again, or is larger than the budget."""
        self._is_indexed.wait(INDEX_PATIENCE_S)
        with self._lock:
            epoch = self._epoch
            if self._index.covers(segment.parent, segment.packed):
                return True
            is_reachable = not segment.start or self._index.get(segment.parent) is not None
        try:
            head, payload = self._form.write(segment, rows)
        except NotFinite:
            is_reachable = False
        if not is_reachable or len(head) + payload.size > self._budget_bytes:
            self._count(refused=1)
            return False
        num_bytes = len(head) + payload.size
        entry = Entry(segment.key, segment.parent, segment.packed, segment.start, num_bytes, segment.owner)
        try:
            if self._in_use < 0:
                self._take()  # it may be writable by now
            is_kept = self._write(entry, head, payload, epoch)
        except OSError as error:
            self._count(errors=1)
            raise TierError(f"cannot write a segment: {error}") from error
        if is_kept:
            self._count(writes=1, write_bytes=entry.num_bytes)
        return is_kept

    def clear(self) -> None:
        """Forget every segment of this model: at once in the index, and by one rename on the disk."""
        self._is_indexed.wait(INDEX_PATIENCE_S)
        trash = self._root / f"{TRASH}-{token_hex(8)}"
        with self._lock:
            self._epoch += 1
            self._index.clear()
            try:
                with suppress(FileNotFoundError):  # it vanished, or an earlier try ended behind this line
                    self._directory.rename(trash)
                held, self._in_use = self._in_use, -1  # the next write takes the folder, if this does not
                if held >= 0:
                    os.close(held)
                self._take()
            except OSError as error:
                raise TierError(f"cannot clear {self._directory.name}: {error}") from error
        for trash in self._root.glob(f"{TRASH}-*"):  # that of earlier tries too
            shutil.rmtree(trash, ignore_errors=True)

    def erase(self, owner: str) -> int:
        """Delete the segments under a mark, those of models that nobody serves now included."""
        self._is_indexed.wait()
        with self._lock:
            doomed = self._index.of((owner, NOBODY))
            for entry in doomed:
                self._index.remove(entry.key)
        try:
            for entry in doomed:
                self._path(entry.key).unlink(missing_ok=True)
            return len(doomed) + erase_files(self._root, self._form, owner)
        except OSError as error:
            raise TierError(f"cannot erase segments: {error}") from error

    def snapshot(self) -> dict[str, int]:
        """Counters, and what is resident now."""
        with self._lock:
            resident = {
                "segments": len(self._index),
                "blocks": self._index.num_blocks,
                "resident_bytes": self._index.num_bytes,
                "stranger_bytes": self._stranger_bytes,
            }
            return {**self._counts, **resident}

    def check(self) -> None:
        """Raise RuntimeError, with the numbers, when the index is broken. For tests."""
        self._is_indexed.wait()
        with self._lock:
            self._index.check()

    def close(self) -> None:
        """End the reader threads."""
        self._readers.shutdown(wait=True, cancel_futures=True)
        self._indexer.join()
        if self._in_use >= 0:
            os.close(self._in_use)
            self._in_use = -1

    def _path(self, key: bytes) -> Path:
        return self._directory / f"{key.hex()}{SUFFIX}"

    def _read(self, wanted: Wanted, found: Found) -> Restored | None:
        path = self._path(found.key)
        try:
            with _opened(path) as descriptor:
                head = self._form.read_head(_read_head(descriptor, self._form))
                if head.num_bytes != os.fstat(descriptor).st_size:
                    raise BadSegment("it is cut off")
                restored = self._form.restore(
                    head, wanted, found, self.name, lambda piece, at: _read_at(descriptor, piece, at)
                )
            with suppress(OSError):  # a folder that may only be read has no last use
                os.utime(path)
        except (OSError, BadSegment) as error:
            self._lose(found.key, path, error)
            return None
        return restored

    def _lose(self, key: bytes, path: Path, error: Exception) -> None:
        """A file that is gone is forgotten; a bad one is deleted too."""
        with self._lock:
            self._index.remove(key)
        if isinstance(error, FileNotFoundError):
            return
        if isinstance(error, BadSegment):
            with suppress(OSError):  # it is forgotten at least
                path.unlink(missing_ok=True)
            self._count(bad=1)
        else:
            self._count(errors=1)
        log.warning("a segment cannot be used and is a miss: %s", error)

    def _write(self, entry: Entry, head: bytes, payload: Rows, epoch: int) -> bool:
        """Write beside, make room, rename; False when there is no room, or the tier was cleared meanwhile."""
        temporary = self._directory / f"{entry.key.hex()}-{token_hex(8)}{TEMPORARY}"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # says that we live
            _write_all(descriptor, [memoryview(head), memoryview(payload.data)])
            with self._lock:
                if epoch != self._epoch:
                    return False
                self._index.touch(entry.parent)
                if not self._make_room(entry.num_bytes, entry.parent):
                    self._counts["refused"] += 1
                    return False
                temporary.rename(self._path(entry.key))
                replaced = self._index.add(entry)
            for old in replaced:
                if old.key != entry.key:
                    self._path(old.key).unlink(missing_ok=True)
            return True
        finally:
            temporary.unlink(missing_ok=True)
            os.close(descriptor)

    def _make_room(self, num_bytes: int, parent: bytes = b"") -> bool:
        """Delete strangers, then the leaves used longest ago, until so many more bytes fit.

        False when the next to go would be `parent`, which was used last: a chain that fills the budget keeps its head.
        """
        while self._index.num_bytes + self._stranger_bytes + num_bytes > self._budget_bytes:
            if self._strangers:
                path, size = self._strangers.popleft()
                self._stranger_bytes -= size
                if is_in_use(path.parent):
                    continue
            else:
                oldest = self._index.oldest()
                if oldest is None or oldest.key == parent:
                    return False
                self._index.remove(oldest.key)
                path = self._path(oldest.key)
            path.unlink(missing_ok=True)
            self._counts["evictions"] += 1
        return True

    def _build_index(self) -> None:
        """Learn from their heads which segments are here; sweep up what dead processes left."""
        began = time.perf_counter()
        found: list[tuple[float, Entry]] = []
        try:
            found = self._read_entries()
            strangers = self._find_strangers()
            with self._lock:
                covered = self._index.rebuild(found)
                self._strangers = deque((path, size) for _, path, size in strangers)
                self._stranger_bytes = sum(size for _, size in self._strangers)
                self._make_room(0)
            for entry in covered:
                self._path(entry.key).unlink(missing_ok=True)
        except OSError as error:
            self._count(errors=1)
            log.warning("the index of segments is not complete: %s", error)
        finally:
            self._is_indexed.set()
        if found:
            self._form.buffers.warm(sum(entry.num_bytes for _, entry in found))
            log.info("%d segments indexed in %.3f s", len(found), time.perf_counter() - began)

    def _read_entries(self) -> list[tuple[float, Entry]]:
        """The entries of all segments; what is in their place and cannot be read is left alone."""
        found = []
        for path in self._directory.iterdir():
            try:
                if path.suffix == TEMPORARY:
                    _sweep(path)
                elif path.suffix == SUFFIX and (known := self._read_entry(path)) is not None:
                    found.append(known)
            except OSError as error:
                self._count(errors=1)
                log.warning("a file among the segments is left out: %s", error)
        return found

    def _read_entry(self, path: Path) -> tuple[float, Entry] | None:
        """The index entry of a file by its head; a file that is none of ours is deleted."""
        try:
            with _opened(path) as descriptor:
                stat = os.fstat(descriptor)
                if not S_ISREG(stat.st_mode):
                    raise OSError(f"{path.name} is no file")
                head = self._form.read_head(_read_head(descriptor, self._form))
            if head.num_bytes != stat.st_size or path.stem != head.segment.key.hex():
                raise BadSegment("its size or its name is not its own")
        except FileNotFoundError:
            return None
        except BadSegment as error:
            self._count(bad=1)
            log.warning("a segment is deleted: %s", error)
            path.unlink(missing_ok=True)
            return None
        return stat.st_mtime, _entry(head)

    def _find_strangers(self) -> list[tuple[float, Path, int]]:
        strangers = []
        for folder in self._root.iterdir():
            if folder.name.startswith(TRASH):
                shutil.rmtree(folder, ignore_errors=True)
            elif folder != self._directory and folder.is_dir() and not is_in_use(folder):
                for path in folder.glob(f"*{SUFFIX}"):
                    with suppress(OSError):  # another process may sweep the same folder
                        if self._form.seal is not None and _is_plain(path):
                            path.unlink(missing_ok=True)  # words that lie there in plain, of a model that is not served
                            continue
                        stat = path.stat()
                        if S_ISREG(stat.st_mode):
                            strangers.append((stat.st_mtime, path, stat.st_size))
        return sorted(strangers)

    def _count(self, **more: int) -> None:
        with self._lock:
            for name, number in more.items():
                self._counts[name] += number


def erase_files(root: Path, form: SegmentForm, owner: str) -> int:
    """Delete every segment below `root` under a mark, whatever model it is of, and what dead writers left; how many.

    A process that has one of them in its index takes it for a miss. What does not open under the
    keys that are given may be theirs, and goes, too; what is no segment of this secret is left to whoever serves its
    model: it is of no use to anybody. Raises OSError.
    """
    count = 0
    for folder in root.iterdir() if root.is_dir() else ():
        if folder.name.startswith(TRASH):
            shutil.rmtree(folder, ignore_errors=True)
            continue
        if not _A_MODEL.fullmatch(folder.name):  # as `lost+found` of a disk of its own
            continue
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.suffix == TEMPORARY:
                _sweep(path)
            elif path.suffix == SUFFIX and _owner_of(path, form) in (owner, NOBODY):
                path.unlink(missing_ok=True)
                count += 1
    return count


def _owner_of(path: Path, form: SegmentForm) -> str | None:
    try:
        with _opened(path) as descriptor:
            return form.read_owner(_read_head(descriptor, form)) if S_ISREG(os.fstat(descriptor).st_mode) else None
    except (FileNotFoundError, BadSegment):
        return None


def _hold(folder: Path) -> int:
    """Say that a folder is in use, until the descriptor is closed or the process is dead."""
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


def is_in_use(folder: Path) -> bool:
    """Whether some process serves the model of a folder."""
    try:
        descriptor = os.open(folder / LOCK, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """A descriptor to read from. Never waits, not even for somebody to write into a pipe."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _is_plain(path: Path) -> bool:
    with _opened(path) as descriptor:
        return is_plain(os.pread(descriptor, ALIGN, 0))


def _entry(head: Head) -> Entry:
    segment = head.segment
    return Entry(segment.key, segment.parent, segment.packed, segment.start, head.num_bytes, segment.owner)


def _read_head(descriptor: int, form: SegmentForm) -> bytes:
    data = os.pread(descriptor, ALIGN, 0)
    size = form.head_bytes(data)
    return os.pread(descriptor, size, 0) if ALIGN < size <= MOST_HEAD_BYTES else data


def _read_at(descriptor: int, piece: memoryview, at: int) -> None:
    while piece:
        count = os.preadv(descriptor, [piece], at)
        if not count:
            raise BadSegment("it is cut off")
        piece, at = piece[count:], at + count


def _write_all(descriptor: int, parts: list[memoryview]) -> None:
    for part in parts:
        rest = part.cast("B")
        while rest:
            rest = rest[os.write(descriptor, rest) :]


def _sweep(path: Path) -> None:
    """Delete a temporary file whose writer is dead: a live one holds its lock."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
    except BlockingIOError:
        return
    finally:
        os.close(descriptor)
