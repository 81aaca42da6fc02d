"""Keys of bare forms, kept on disk: a start with many stored questions reads none of them again.

    <path>     blake2b of the rest, the version of bare forms, then name and key of every entry, 16 bytes each

No words, and digests that are nothing without the scope. The store is the truth: it says which entries there are, and
a name that is not here is read. A file that is damaged, or of another version, is as good as none.
"""

import logging
import os
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

log = logging.getLogger(__name__)

SIZE = 16  # of a name, and of a key
DIGEST_BYTES = 32
VERSION_BYTES = 16
NO_FORM = bytes(SIZE)  # the key of what has no bare form


class KeptForms:
    """The file `path`. Any thread, one at a time."""

    def __init__(self, path: Path, version: str) -> None:
        self._path = path
        self._version = version.encode().ljust(VERSION_BYTES)[:VERSION_BYTES]

    def read(self) -> bytes:
        """Names and keys, one after the other."""
        try:
            raw = self._path.read_bytes()
        except OSError:
            return b""
        digest, body = raw[:DIGEST_BYTES], raw[DIGEST_BYTES:]
        if not body.startswith(self._version) or blake2b(body, digest_size=DIGEST_BYTES).digest() != digest:
            log.warning("%s is damaged or of another version: bare forms are read anew", self._path.name)
            return b""
        return body[VERSION_BYTES:]

    def write(self, pairs: bytes) -> None:
        """Keep these. A failure is told and forgotten."""
        body = self._version + pairs
        half = self._path.with_suffix(".half")
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(blake2b(body, digest_size=DIGEST_BYTES).digest() + body)
            half.replace(self._path)
        except OSError as error:
            log.warning("bare forms are not kept, the next start reads them anew: %s", error)
            with suppress(OSError):
                half.unlink()
