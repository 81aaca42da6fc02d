"""Where a prefix belongs that nobody has seen: the same place for every gateway, without a word between them.

Rendezvous hashing: every replica draws a number for the key, and the highest wins. A replica that joins takes its share
of the keys from all the others and moves no other; one that leaves gives its keys to all the others. Loads are bounded
by `affinity.py`, for which a home is cheaper, not a must.
"""

from hashlib import blake2b

MASK = 2**64 - 1


def seed_of(replica: str) -> int:
    """The number a replica draws with. Names, and so draws, are equal on every gateway."""
    return int.from_bytes(blake2b(replica.encode(), digest_size=8, person=b"placement").digest(), "little")


def draw(key: int, seed: int) -> int:
    """What a replica draws for a key: splitmix64 of both."""
    mixed = ((key ^ seed) + 0x9E3779B97F4A7C15) & MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & MASK
    return mixed ^ (mixed >> 31)
