"""A folder that keeps records: one file for each, by its name."""

import asyncio
import time
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Generic

from gateway.errors import StoreAway
from gateway.keptfile import write_whole
from gateway.racks.kind import Kind, R


class FolderRack(Generic[R]):
    """Whoever writes a file gives it its name when it is whole. `pattern` is of the names of records."""

    def __init__(
        self, folder: Path, kind: Kind[R], *, pattern: str = "*", file_of: Callable[[R], str] | None = None
    ) -> None:
        self._folder = folder
        self._kind = kind
        self._pattern = f"{pattern}.json"
        self._file_of = file_of or kind.name_of
        self._seen_ns = self._read_ns = -1

    async def changed(self) -> bool:
        """A folder's clock is coarse: one that was changed a moment before it was read is read again."""
        stamp_ns = self._stamp()
        return stamp_ns != self._seen_ns or stamp_ns > self._read_ns - 10**9

    async def load(self) -> Sequence[R]:
        stamp_ns, now_ns = self._stamp(), time.time_ns()
        found = await asyncio.to_thread(self._read)
        self._seen_ns, self._read_ns = stamp_ns, now_ns
        return found

    async def save(self, record: R) -> None:
        await asyncio.to_thread(self._write, record)

    def _read(self) -> Sequence[R]:
        try:
            return self._kind.known({str(path): path.read_bytes() for path in self._files()})
        except OSError as error:
            raise StoreAway(f"{self._folder} cannot be read: {error}") from error

    def _files(self) -> list[Path]:
        """Not by `glob`, to which a folder that may not be read is an empty one. Raises `OSError`."""
        try:
            return sorted(path for path in self._folder.iterdir() if fnmatchcase(path.name, self._pattern))
        except FileNotFoundError:
            return []

    def _write(self, record: R) -> None:
        path = self._folder / f"{self._file_of(record)}.json"
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(path, self._kind.spelled(record).decode())
        except OSError as error:
            raise StoreAway(f"{path} cannot be written: {error}") from error

    def _stamp(self) -> int:
        try:
            return self._folder.stat().st_mtime_ns
        except OSError:
            return 0
