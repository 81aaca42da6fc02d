"""The seal with keys: AES-256-GCM, one key that seals and older ones that still open.

    magic 4 | key's name 4 | salt 8 | nonce 12 | sealed bytes | tag 16

Nonces are drawn, so a key of its own is derived from the salt for each process and every `SEALS_PER_SALT` seals:
within one, two equal nonces are less likely than 2^-40. The place is authenticated, not stored.
"""

import os
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.seal.seal import MAGIC, OVERHEAD_BYTES, Unsealed, is_sealed

KEY_BYTES = 32
NAME_BYTES, SALT_BYTES, NONCE_BYTES, TAG_BYTES = 4, 8, 12, 16
SEALS_PER_SALT = 1 << 28
_SALT_AT = len(MAGIC) + NAME_BYTES
_NONCE_AT = _SALT_AT + SALT_BYTES
_WORDS_AT = _NONCE_AT + NONCE_BYTES
assert _WORDS_AT + TAG_BYTES == OVERHEAD_BYTES
TOKEN_BYTES = 12


def key_of(text: str) -> bytes:
    """The key that a text of enough chance stands for."""
    return blake2b(text.encode(), digest_size=KEY_BYTES, person=b"seal key").digest()


class KeyRing:
    """Seals with the first key, opens with all. Any thread may use it."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise ValueError("a seal takes keys of 32 bytes, one at least")
        self.keys = tuple(dict.fromkeys(keys))
        self._by_name = {_name(key): key for key in self.keys}
        self._token_keys = [_derived(key, b"seal token", b"") for key in self.keys]
        self._current = _name(self.keys[0])
        self.name = self._current.hex()
        self.older = ("", *(name.hex() for name in self._by_name if name != self._current))
        self._parts = lru_cache(maxsize=1024)(self._part)  # a file has as many salts as processes wrote it
        self._left = 0

    def __repr__(self) -> str:
        return f"KeyRing({self.name})"  # never a key

    def seal(self, plain: bytes, place: bytes) -> bytes:
        if self._left <= 0:
            self._salt, self._left = os.urandom(SALT_BYTES), SEALS_PER_SALT
        self._left -= 1
        salt, nonce = self._salt, os.urandom(NONCE_BYTES)
        sealed = self._parts(self._current, salt).encrypt(nonce, plain, place)
        return b"".join((MAGIC, self._current, salt, nonce, sealed))

    def open(self, sealed: bytes, place: bytes) -> bytes:
        if sealed[: len(MAGIC)] != MAGIC or len(sealed) < OVERHEAD_BYTES:
            raise Unsealed("it is not sealed")
        name = sealed[len(MAGIC) : _SALT_AT]
        if name not in self._by_name:
            raise Unsealed(f"it is sealed under the key {name.hex()}, which is not given", is_foreign=True)
        part = self._parts(name, sealed[_SALT_AT:_NONCE_AT])
        try:
            return part.decrypt(sealed[_NONCE_AT:_WORDS_AT], sealed[_WORDS_AT:], place)
        except InvalidTag as error:
            raise Unsealed("it was changed, or belongs elsewhere") from error

    def tokens(self, word: str) -> tuple[str, ...]:
        raw = word.encode("utf-8", "surrogatepass")
        return tuple(blake2b(raw, key=key, digest_size=TOKEN_BYTES).hexdigest() for key in self._token_keys)

    def keys_for(self, purpose: str) -> tuple[bytes, ...]:
        """Keys of their own for somebody who seals elsewhere, in the same order."""
        return tuple(_derived(key, b"seal elsewhere", purpose.encode()) for key in self.keys)

    def _part(self, name: bytes, salt: bytes) -> AESGCM:
        return AESGCM(_derived(self._by_name[name], b"seal part", salt))


class Opening:
    """Seals nothing any more, and opens what was sealed."""

    name = ""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring
        self.older = (ring.name, *ring.older[1:])

    def seal(self, plain: bytes, place: bytes) -> bytes:  # noqa: ARG002
        return plain

    def open(self, sealed: bytes, place: bytes) -> bytes:
        return self._ring.open(sealed, place) if is_sealed(sealed) else sealed

    def tokens(self, word: str) -> tuple[str, ...]:
        return (word, *self._ring.tokens(word))


def _name(key: bytes) -> bytes:
    return _derived(key, b"seal name", b"")[:NAME_BYTES]


def _derived(key: bytes, purpose: bytes, salt: bytes) -> bytes:
    return blake2b(salt, key=key, digest_size=KEY_BYTES, person=purpose).digest()
