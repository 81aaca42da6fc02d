"""Files of lines that may be packed (.gz, .zst), may be cut off in the middle, and are gone through as bytes."""

import gzip
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from gateway.settings import SettingsError

ENDINGS = (".jsonl", ".jsonl.gz", ".jsonl.zst")
GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


class Damaged(Exception):
    """A file ends where it should not, or cannot be read on."""


@contextmanager
def appending(path: Path, like: str) -> Iterator[BinaryIO]:
    """Write behind what is there, packed as a file of the name `like` is. A packed part is a member of its own."""
    if like.endswith(".gz"):
        with gzip.open(path, "ab", compresslevel=6) as file:
            yield cast("BinaryIO", file)
    elif like.endswith(".zst"):
        with _zstd().open(path, "ab") as file:
            yield file
    else:
        with path.open("ab") as file:
            yield file


@contextmanager
def reading(source: str) -> Iterator[BinaryIO]:
    """A file, packed or not, or standard input for "-". Raises `SettingsError`."""
    if source == "-":
        yield sys.stdin.buffer
        return
    try:
        with _opened(source, _head(Path(source))) as file:
            yield file
    except OSError as error:
        raise SettingsError(f"{source} cannot be read: {error.strerror or error}") from error


def lines_of(file: BinaryIO) -> Iterator[bytes]:
    """Every line with its end, the last one perhaps without. Raises `Damaged`."""
    try:
        yield from file
    except (OSError, EOFError, ValueError) as error:
        raise Damaged(str(error)) from error
    except Exception as error:  # zlib's and zstd's own
        if type(error).__name__ in ("error", "ZstdError"):
            raise Damaged(str(error)) from error
        raise


def whole_lines(path: Path, like: str) -> Iterator[bytes]:
    """The lines of a file that may have been cut off, as far as they are whole."""
    head = _head(path)
    if (like.endswith(".gz") and not head.startswith(GZIP)) or (like.endswith(".zst") and not head.startswith(ZSTD)):
        return
    with _opened(str(path), head) as file:
        try:
            for line in lines_of(file):
                if line.endswith(b"\n"):
                    yield line
        except Damaged:
            return


def packing(path: Path) -> str:
    """The ending of names of files that are packed as this one is; an empty one is not. Raises `SettingsError`."""
    try:
        head = _head(path)
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror or error}") from error
    if head.startswith(ZSTD):
        _zstd()
        return ".jsonl.zst"
    return ".jsonl.gz" if head.startswith(GZIP) else ".jsonl"


def can_write(name: str) -> None:
    """Raises `SettingsError` when a file of this name cannot be written."""
    if not name.endswith(ENDINGS):
        raise SettingsError(f"{name}: the name says how it is packed and must end in {', '.join(ENDINGS)}")
    if name.endswith(".zst"):
        _zstd()


def _head(path: Path) -> bytes:
    """What tells how a file is packed."""
    with path.open("rb") as file:
        return file.read(4)


def _opened(name: str, head: bytes) -> Any:
    if head.startswith(GZIP):
        return gzip.open(name, "rb")
    return _zstd().open(name, "rb") if head.startswith(ZSTD) else Path(name).open("rb")


def _zstd() -> Any:
    """Python 3.14 has it, others from the package zstandard."""
    for name in ("compression.zstd", "zstandard"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise SettingsError("a file packed with zstd needs a package: pip install zstandard; or use .gz")
