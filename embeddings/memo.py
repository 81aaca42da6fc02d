"""What was read lately, bounded in bytes: the least recently used goes first. The caller holds the lock."""

from collections import OrderedDict

from embeddings.base import Reading


class ReadingMemo:
    """Readings by their text, together never larger than `limit_bytes`."""

    def __init__(self, limit_bytes: int) -> None:
        self.size_bytes = 0
        self._limit_bytes = limit_bytes
        self._kept: OrderedDict[str, Reading] = OrderedDict()

    def get(self, text: str) -> Reading | None:
        """The reading of `text`, which is then the one used last."""
        found = self._kept.get(text)
        if found is not None:
            self._kept.move_to_end(text)
        return found

    def put(self, reading: Reading) -> None:
        """Keep `reading`, unless it alone is too large."""
        if (old := self._kept.pop(reading.text, None)) is not None:
            self.size_bytes -= old.size_bytes
        self._kept[reading.text] = reading
        self.size_bytes += reading.size_bytes
        while self.size_bytes > self._limit_bytes:
            self.size_bytes -= self._kept.popitem(last=False)[1].size_bytes
