"""Segments that nobody can read without a key: AES-256-GCM, head and payload each in its own way.

    head       name of the key 4 | salt 12 | nonce 12 | sealed header | tag       under a key of the salt's own
    payload    pieces of 256 KiB, the piece's number for a nonce, under a key drawn for this segment alone; it stands in
               the sealed header, with the pieces' tags

So a payload keeps its length and place, and opening one is the check of every byte as well: a sealed segment has no
other MAC on its payload. Keys are tried by name: the first seals, all open.
"""

import os
from collections.abc import Callable, Sequence
from hashlib import blake2b

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kvtier.tiers.base import Rows

PIECE_BYTES = 256 << 10
KEY_BYTES = 32
_NAME_BYTES, _SALT_BYTES, _NONCE_BYTES, _TAG_BYTES = 4, 12, 12, 16
_SALT_AT, _NONCE_AT = _NAME_BYTES, _NAME_BYTES + _SALT_BYTES
_HEADER_AT = _NONCE_AT + _NONCE_BYTES


class NotOpened(Exception):
    """Another key, another place, or changed bytes."""


class SegmentSeal:
    """Seals with the first key, opens with all. Any thread may use it."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise ValueError("a seal takes keys of 32 bytes, one at least")
        self._keys = {_name(key): key for key in reversed(keys)}
        self._current = _name(keys[0])

    def wrap(self, header: bytes, bound: bytes) -> bytes:
        """`header` sealed, bound to what stands around it."""
        salt, nonce = os.urandom(_SALT_BYTES), os.urandom(_NONCE_BYTES)
        return b"".join((self._current, salt, nonce, self._cipher(self._current, salt).encrypt(nonce, header, bound)))

    def unwrap(self, raw: bytes, bound: bytes) -> bytes:
        """The header in `raw`. Raises `NotOpened`."""
        name, salt = raw[:_SALT_AT], raw[_SALT_AT:_NONCE_AT]
        if name not in self._keys or len(raw) < _HEADER_AT + _TAG_BYTES:
            raise NotOpened("it is sealed under a key that is not given")
        try:
            return self._cipher(name, salt).decrypt(raw[_NONCE_AT:_HEADER_AT], raw[_HEADER_AT:], bound)
        except InvalidTag as error:
            raise NotOpened("its head was changed") from error

    def _cipher(self, name: bytes, salt: bytes) -> AESGCM:
        return AESGCM(blake2b(salt, key=self._keys[name], digest_size=KEY_BYTES, person=b"segment head").digest())


def wrapped_bytes(header: int) -> int:
    """What a header of this length weighs when it is sealed."""
    return _HEADER_AT + header + _TAG_BYTES


def seal_payload(payload: Rows) -> tuple[Rows, bytes, bytes]:
    """The payload sealed, its key, and the tags of its pieces one after the other."""
    key, tags = os.urandom(KEY_BYTES), bytearray()
    cipher, plain = AESGCM(key), memoryview(np.ascontiguousarray(payload).data).cast("B")
    sealed = np.empty(len(plain) + _TAG_BYTES, np.uint8)  # a tag stands where the next piece begins, until it does
    view = memoryview(sealed.data)
    for number, at in enumerate(range(0, len(plain), PIECE_BYTES)):
        stop = min(at + PIECE_BYTES, len(plain))
        cipher.encrypt_into(_nonce(number), plain[at:stop], None, view[at : stop + _TAG_BYTES])
        tags += view[stop : stop + _TAG_BYTES]
    return sealed[: len(plain)], key, bytes(tags)


def open_payload(into: memoryview, key: bytes, tags: bytes, read: Callable[[memoryview, int], None]) -> None:
    """Fill `into` piece by piece; `read` fills memory with sealed bytes from an offset on. Raises `NotOpened`."""
    num_pieces = -(-len(into) // PIECE_BYTES)
    if len(tags) != num_pieces * _TAG_BYTES or len(key) != KEY_BYTES:
        raise NotOpened("its tags are not those of its payload")
    cipher, scratch = AESGCM(key), memoryview(bytearray(min(PIECE_BYTES, len(into)) + _TAG_BYTES))
    for number in range(num_pieces):
        at = number * PIECE_BYTES
        size = min(PIECE_BYTES, len(into) - at)
        read(scratch[:size], at)
        scratch[size : size + _TAG_BYTES] = tags[number * _TAG_BYTES : (number + 1) * _TAG_BYTES]
        try:
            cipher.decrypt_into(_nonce(number), scratch[: size + _TAG_BYTES], None, into[at : at + size])
        except InvalidTag as error:
            raise NotOpened("its payload was changed") from error


def _nonce(number: int) -> bytes:
    return number.to_bytes(_NONCE_BYTES, "little")


def _name(key: bytes) -> bytes:
    return blake2b(key=key, digest_size=_NAME_BYTES, person=b"segment key name").digest()
