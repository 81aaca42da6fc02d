"""Slot numbers by a hash of what lies there: ten bytes a slot, and no object of its own.

A dict of a million names takes 130 MB, and stops everything for as long as it takes to grow. This is linear hashing
(Litwin, 1980): buckets of some eight slots, and one bucket is split with each few that come. A bucket is one piece of
bytes: four of the hash and four of the slot, again and again. Whoever asks compares what lies in the slots.
"""

from struct import Struct

FILL = 8  # slots of a bucket, on average
SLOT_BYTES = 10  # about what one takes, the buckets' own bytes included

_PAIR = Struct("<II")  # hash, slot
_MASK = 0xFFFFFFFF


class Slots:
    """Any number of slots for a hash. Not safe between threads."""

    __slots__ = ("_buckets", "_size")

    def __init__(self) -> None:
        self._buckets = [b""]
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def find(self, hashed: int) -> list[int]:
        """Slots that may hold what has this hash."""
        hashed &= _MASK
        bucket = self._buckets[self._at(hashed)]
        return [slot for one, slot in _PAIR.iter_unpack(bucket) if one == hashed] if bucket else []

    def add(self, hashed: int, slot: int) -> None:
        hashed &= _MASK
        self._buckets[self._at(hashed)] += _PAIR.pack(hashed, slot)
        self._size += 1
        if self._size > FILL * len(self._buckets):
            self._split()

    def remove(self, hashed: int, slot: int) -> None:
        """Forget a slot that was added with this hash."""
        self._put(hashed, slot, b"")
        self._size -= 1

    def move(self, hashed: int, slot: int, to: int) -> None:
        """What lay in `slot` lies in `to` now."""
        self._put(hashed, slot, _PAIR.pack(hashed & _MASK, to))

    def _put(self, hashed: int, slot: int, instead: bytes) -> None:
        hashed &= _MASK
        at, pair = self._at(hashed), _PAIR.pack(hashed, slot)
        bucket = self._buckets[at]
        place = bucket.find(pair)
        while place % _PAIR.size:  # the end of one pair and the beginning of the next
            assert place >= 0, f"slot {slot} is not here"
            place = bucket.find(pair, place + 1)
        assert place >= 0, f"slot {slot} is not here"
        self._buckets[at] = bucket[:place] + instead + bucket[place + _PAIR.size :]

    def _at(self, hashed: int) -> int:
        count = len(self._buckets)
        mask = (1 << (count - 1).bit_length()) - 1
        at = hashed & mask
        return at if at < count else at & (mask >> 1)

    def _split(self) -> None:
        """One more bucket: it takes its part of another."""
        new = len(self._buckets)
        old = new & ~(1 << (new.bit_length() - 1))
        self._buckets.append(b"")
        mask = (1 << new.bit_length()) - 1
        stay: list[bytes] = []
        go: list[bytes] = []
        for pair in _PAIR.iter_unpack(self._buckets[old]):
            (go if pair[0] & mask == new else stay).append(_PAIR.pack(*pair))
        self._buckets[old], self._buckets[new] = b"".join(stay), b"".join(go)
