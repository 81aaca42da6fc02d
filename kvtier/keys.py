"""Block keys: a keyed hash chain over the token ids of full blocks.

    root                             secret, model, tokenizer, layout and salt
    key 0 = H(root; root  | ids 0)   H(k; m) is BLAKE2b-256 keyed with k
    key 1 = H(root; key 0 | ids 1)   ids are little-endian u32

A key names a whole prefix, not only its own block, and nobody without the secret can make one. Two salts have two
roots, so nothing under one can be found, guessed or collided with from the other. Python's `hash()` is never involved:
it is 64 bits, and differs or collides from process to process.
"""

import sys
from array import array
from collections.abc import Sequence
from hashlib import blake2b

from kvtier.geometry import KVGeometry

KEY_BYTES = 32
ID_BYTES = 4


def chain_root(secret: bytes, model: str, tokenizer: str, geometry: KVGeometry, salt: str) -> bytes:
    """Root of every chain of one salt, 32 bytes. Raises ValueError without a secret."""
    return _root(b"kv-chain-root", secret, model.encode(), tokenizer.encode(), geometry.digest, salt.encode())


def public_root(secret: bytes, model: str, tokenizer: str, geometry: KVGeometry) -> bytes:
    """Root of what is for everybody, which is that of no salt. Raises ValueError without a secret."""
    return _root(b"kv-public-root", secret, model.encode(), tokenizer.encode(), geometry.digest)


def _root(purpose: bytes, secret: bytes, *fields: bytes) -> bytes:
    if not secret:
        raise ValueError("the secret of the block keys is empty")
    key = secret if len(secret) <= blake2b.MAX_KEY_SIZE else blake2b(secret).digest()
    mac = blake2b(key=key, digest_size=KEY_BYTES, person=purpose)
    for field in fields:
        mac.update(len(field).to_bytes(8, "little"))  # so that two fields cannot trade their border
        mac.update(field)
    return mac.digest()


def owner_mark(secret: bytes, owner: str) -> str:
    """What stands for an owner where blocks outlive RAM, 32 hexadecimal digits; nothing for nobody."""
    if not owner:
        return ""
    key = secret if len(secret) <= blake2b.MAX_KEY_SIZE else blake2b(secret).digest()
    return blake2b(owner.encode("utf-8", "surrogatepass"), key=key, digest_size=16, person=b"kv-owner").hexdigest()


def block_key(root: bytes, parent: bytes, packed: bytes) -> bytes:
    """Key of the block that holds the packed token ids after `parent` (the root before the first block)."""
    return blake2b(parent + packed, key=root, digest_size=KEY_BYTES).digest()


def block_keys(root: bytes, token_ids: Sequence[int], block_tokens: int) -> list[bytes]:
    """Keys of every full block of `token_ids`, first block first."""
    return Chain(root, block_tokens).keys(pack(token_ids))


def pack(token_ids: Sequence[int]) -> bytes:
    """Token ids as little-endian u32. Raises OverflowError on an id that does not fit."""
    packed = array("I", token_ids)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()


def unpack(packed: bytes) -> list[int]:
    """The token ids that were packed."""
    ids = array("I", packed)
    if sys.byteorder == "big":
        ids.byteswap()
    return ids.tolist()


def count_common_ids(one: bytes, other: bytes) -> int:
    """How many leading ids two packed sequences share."""
    low, high = 0, min(len(one), len(other)) // ID_BYTES
    if one[: high * ID_BYTES] == other[: high * ID_BYTES]:
        return high
    while high - low > 1:  # the first that differs is one of [low, high)
        middle = (low + high) // 2
        piece = slice(low * ID_BYTES, middle * ID_BYTES)
        low, high = (middle, high) if one[piece] == other[piece] else (low, middle)
    return low


class Chain:
    """Keys of one growing sequence. It remembers what it hashed, so each full block is hashed once.

    Asking about other tokens is always correct: what differs from the memory is hashed again from there.
    """

    __slots__ = ("_keys", "_packed", "block_bytes", "owner", "root", "sequence")

    def __init__(self, root: bytes, block_tokens: int, owner: str = "", sequence: int = 0) -> None:
        self.root = root
        self.sequence = sequence  # tells what one request computed from what it found
        self.owner = owner  # who the blocks are counted for, when they share a budget
        self.block_bytes = block_tokens * ID_BYTES
        self._packed = b""  # the ids under `_keys`
        self._keys: list[bytes] = []

    def keys(self, packed: bytes) -> list[bytes]:
        """Keys of every full block of the packed ids."""
        size = self.block_bytes
        wanted = len(packed) // size
        known = min(count_common_ids(packed, self._packed) * ID_BYTES // size, wanted)
        if known < wanted:
            self._hash_from(known, packed[: wanted * size])
        return self._keys[:wanted]

    def _hash_from(self, known: int, packed: bytes) -> None:
        keys, size = self._keys[:known], self.block_bytes
        parent = keys[-1] if keys else self.root
        for start in range(known * size, len(packed), size):
            parent = block_key(self.root, parent, packed[start : start + size])
            keys.append(parent)
        self._keys, self._packed = keys, packed
