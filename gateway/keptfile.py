"""Small files that are replaced as a whole."""

import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path

PART = ".part"
STALE_S = 3600.0  # whoever began a part that long ago was killed in the middle


def write_whole(path: Path, text: str) -> None:
    """All of it or nothing, and for nobody else to read (0600). Whatever fails, what was there stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = f"{path.name}."
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, prefix=prefix, suffix=PART, delete=False, encoding="utf-8"
    ) as file:
        try:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
    _sync(path.parent)
    _sweep(path)


def _sync(folder: Path) -> None:
    """The new name outlives a power cut, where folders can be synced."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _sweep(path: Path) -> None:
    """Remove what was begun by who was killed."""
    with suppress(OSError):
        for part in path.parent.glob(f"{path.name}.*{PART}"):
            if time.time() - part.stat().st_mtime > STALE_S:
                part.unlink(missing_ok=True)
