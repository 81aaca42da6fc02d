"""Bodies that come packed although they were not asked for so: unpacked piece by piece, never more than is allowed."""

import zlib

MOST_MEMBERS = 256  # of gzip that end in one piece: each copies what follows it

_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS
_CODINGS = {"gzip": True, "x-gzip": True, "deflate": False}


class Unpacking:
    """One body."""

    def __init__(self, coding: str) -> None:
        """Raises ValueError for a coding that is not known."""
        if coding not in _CODINGS:
            raise ValueError(coding)
        self._is_gzip = _CODINGS[coding]
        self._unpacker: zlib._Decompress | None = None

    def next(self, packed: bytes | None, max_bytes: int) -> bytes | None:
        """What these bytes hold, a byte more than `max_bytes` at most; None: no more follow.

        Raises ValueError for what is not packed so, or not to its end. No bytes at all are an empty body.
        """
        if packed is None:
            if self._unpacker is not None and not self._unpacker.eof:
                raise ValueError("cut off")
            return None
        try:
            return self._unpacked(packed, max_bytes + 1)
        except zlib.error as error:
            raise ValueError(str(error)) from error

    def _unpacked(self, packed: bytes, room: int) -> bytes:
        said = list[bytes]()
        members = 0
        while packed and room > 0:
            if self._unpacker is None or self._unpacker.eof:
                self._unpacker = self._next_member(packed, members)
                members += 1
            said.append(self._unpacker.decompress(packed, room))
            room -= len(said[-1])
            packed = self._unpacker.unused_data
        return said[0] if len(said) == 1 else b"".join(said)

    def _next_member(self, packed: bytes, members: int) -> "zlib._Decompress":
        """gzip may follow upon gzip (RFC 1952); deflate is one, with the header it should have or without."""
        if self._is_gzip and members < MOST_MEMBERS:
            return zlib.decompressobj(_GZIP)
        if self._is_gzip or self._unpacker is not None:
            raise ValueError("bytes behind its end")
        return zlib.decompressobj(_ZLIB if packed[0] & 15 == zlib.DEFLATED else _RAW)
