"""How often something was asked for lately, kept or not: a few bits per request, so it can be told of what is gone.

A count-min sketch with conservative update that is halved now and then, as TinyLFU keeps it (Einziger, Friedman and
Manes, 2017). The keys are digests, so four slices of one are its four hashes. It errs upwards only.
"""

from collections.abc import Iterator

AVERAGE_BYTES = 4096  # an entry, to guess how many a budget holds
WINDOW = 8  # requests remembered for each entry that fits
MIN_WINDOW = 4096
MAX_WINDOW = 8 << 20
_SLICES = (0, 8, 16, 24)
_HALF = bytes(count >> 1 for count in range(256))


class Popularity:
    """Counts uses of 32-byte digests, recent ones more. Not safe between threads."""

    def __init__(self, budget_bytes: int) -> None:
        """For a cache of this size; it takes less than a hundredth of it, and 16 MiB at most."""
        self._window = min(MAX_WINDOW, max(MIN_WINDOW, WINDOW * budget_bytes // AVERAGE_BYTES))
        width = 1 << (2 * self._window - 1).bit_length()
        self._counts = bytearray(width)
        self._mask = width - 1
        self._added = 0

    def add(self, digest: bytes, times: int = 1) -> int:
        """Note a use, or several, or none; how many are known then."""
        cells = tuple(self._cells(digest))
        known = min(255, min(self._counts[cell] for cell in cells) + times)
        for cell in cells:
            if self._counts[cell] < known:
                self._counts[cell] = known
        self._added += times
        if self._added >= self._window:
            self._counts = bytearray(self._counts.translate(_HALF))
            self._added //= 2
        return known

    def _cells(self, digest: bytes) -> Iterator[int]:
        for start in _SLICES:
            yield int.from_bytes(digest[start : start + 8], "little") & self._mask
