"""A segment as bytes: it says what it is, and nobody without the secret can make or change one.

    0        magic, version, length of the header, length of the payload, MAC of the head, MAC of the payload
    88       header: JSON, see `_header`
    4096 n   payload: raw rows `[layers, keys and values, kv heads, tokens, head dim]`, or their int8 form

The head's MAC covers all of the head and the payload's MAC, so an index can be built from heads alone and be believed.
Nothing is ever unpickled. The MAC is keyed BLAKE3: a restore verifies every byte it brings back, at 4.8 GB/s instead
of BLAKE2b's 0.95 on one core with AVX-512. With a seal (`sealing.py`) the places and the MAC of the head are the same;
header and payload can be read by nobody without its key, and what opens the payload's pieces verifies them.
"""

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from hmac import compare_digest
from typing import TYPE_CHECKING

import numpy as np
from blake3 import blake3

from kvtier.geometry import KVGeometry
from kvtier.keys import ID_BYTES, KEY_BYTES
from kvtier.tiers.base import SEGMENT_BLOCKS, Found, Restored, Rows, Segment, Wanted
from kvtier.tiers.buffers import Buffers
from kvtier.tiers.codec import CODECS, Codec, decode, encode, payload_bytes

if TYPE_CHECKING:
    from kvtier.tiers.sealing import SegmentSeal

MAGIC = b"2TKVSEG\0"
VERSION = 1
SEALED_VERSION = 2
ALIGN = 4096
PIECE_BYTES = 256 << 10
MOST_HEAD_BYTES = 64 * ALIGN  # no head of ours is longer
NOBODY = "unknown"  # whose a segment is that was written before segments told: anybody's, so it goes with anybody's
KEEP_BYTES = 64 << 20  # of memory for restored rows
_FIXED = struct.Struct("<8sIIQ32s32s")
_SIGNED = struct.Struct("<8sIIQ32s")  # the fixed part without the head's MAC


class BadSegment(Exception):
    """These bytes are not the segment asked for, or none at all."""


@dataclass(frozen=True, slots=True)
class Head:
    """A verified head."""

    segment: Segment
    payload_start: int
    payload_bytes: int
    payload_mac: bytes
    payload_key: bytes = b""  # of a sealed one
    payload_tags: bytes = b""

    @property
    def num_bytes(self) -> int:
        return self.payload_start + self.payload_bytes


class SegmentForm:
    """Reads and writes the segments of one model in one layout and codec, under one secret."""

    def __init__(
        self,
        geometry: KVGeometry,
        *,
        secret: bytes,
        model: str,
        tokenizer: str,
        codec: Codec = "raw",
        seal: "SegmentSeal | None" = None,
    ) -> None:
        if not secret:
            raise ValueError("the secret of the segments is empty")
        if codec not in CODECS:
            raise ValueError(f"codec {codec!r} is none of {', '.join(CODECS)}")
        self.geometry = geometry
        self.codec: Codec = codec
        self.seal = seal
        self.version = VERSION if seal is None else SEALED_VERSION
        identity = blake2b(person=b"kv-segment-model", digest_size=16)
        for field in (model.encode(), tokenizer.encode(), geometry.digest, codec.encode()):
            identity.update(len(field).to_bytes(8, "little") + field)
        self.model = identity.hexdigest()
        # in names, as in all that a deployment keeps in a Redis: those with other secrets never meet
        self.namespace = blake2b(key=_key(secret), digest_size=4, person=b"redis names").hexdigest()
        self._head_key = _derive(secret, b"kv-segment-head")
        self._payload_key = _derive(secret, b"kv-segment-data")
        self.buffers = Buffers(geometry.block_bytes * SEGMENT_BLOCKS, KEEP_BYTES)

    def write(self, segment: Segment, rows: Rows) -> tuple[bytes, Rows]:
        """Head, padded to where the payload begins, and payload. Raises `NotFinite`."""
        payload = encode(self.geometry, self.codec, rows)
        if payload.size != payload_bytes(self.geometry, self.codec, segment.num_tokens):
            raise ValueError(f"{rows.size} bytes are not the rows of {segment.num_tokens} tokens")
        if self.seal is None:
            head = self._head(_json(self._header(segment)), payload.size, self._payload_mac(payload))
            return head, payload
        from kvtier.tiers.sealing import seal_payload

        sealed, key, tags = seal_payload(payload)
        header = _json({**self._header(segment), "key": key.hex(), "tags": tags.hex()})
        return self._head(self.seal.wrap(header, _bound(payload.size)), payload.size, bytes(32)), sealed

    def _head(self, header: bytes, size: int, mac: bytes) -> bytes:
        signed = _SIGNED.pack(MAGIC, self.version, len(header), size, mac)
        fixed = _FIXED.pack(MAGIC, self.version, len(header), size, self._head_mac(signed, header), mac)
        head = fixed + header
        return head.ljust(_aligned(len(head)), b"\0")

    def read_head(self, data: bytes | memoryview) -> Head:
        """The head at the beginning of `data`. Raises `BadSegment`."""
        header, start, size, mac = self._read_header(data)
        try:
            key, tags = (bytes.fromhex(str(header.get(name, ""))) for name in ("key", "tags"))
            return Head(self._segment(header, size), start, size, mac, key, tags)
        except (KeyError, TypeError, ValueError, AttributeError, AssertionError) as error:
            raise BadSegment(f"its header is of another version: {error!r}") from error

    def _read_header(self, data: bytes | memoryview) -> tuple[dict[str, object], int, int, bytes]:
        """The verified header, where the payload begins, its length and MAC. Raises `BadSegment`."""
        version, header, start, size, mac = self._signed(data)
        if version != self.version:
            raise BadSegment("it is not sealed" if self.seal is not None else "it is sealed, and there is no key")
        return _said(header if self.seal is None else self._unwrapped(header, size)), start, size, mac

    def _signed(self, data: bytes | memoryview) -> tuple[int, bytes, int, int, bytes]:
        """Version, header as it is kept, where the payload begins, its length and MAC, of what was made under this
        secret. Raises `BadSegment`."""
        if len(data) < _FIXED.size:
            raise BadSegment(f"{len(data)} bytes are too few")
        magic, version, header_bytes, size, head_mac, mac = _FIXED.unpack(data[: _FIXED.size])
        if magic != MAGIC or version not in (VERSION, SEALED_VERSION):
            raise BadSegment("no segment of this version")
        header = bytes(data[_FIXED.size : _FIXED.size + header_bytes])
        signed = _SIGNED.pack(magic, version, header_bytes, size, mac)
        if len(header) != header_bytes or not compare_digest(self._head_mac(signed, header), head_mac):
            raise BadSegment("the head is damaged, cut off, or made under another secret")
        return version, header, _aligned(_FIXED.size + header_bytes), size, mac

    def _unwrapped(self, header: bytes, size: int) -> bytes:
        if self.seal is None:
            raise BadSegment("it is sealed, and there is no key")
        from kvtier.tiers.sealing import NotOpened

        try:
            return self.seal.unwrap(header, _bound(size))
        except NotOpened as error:
            raise BadSegment(str(error)) from error

    def read_owner(self, data: bytes | memoryview) -> str:
        """The mark of whose the segment at the beginning of `data` is, of whatever model, sealed or not; of what does
        not open, `NOBODY`: it may be anybody's. Raises `BadSegment`."""
        version, header, _, size, _ = self._signed(data)
        if version == SEALED_VERSION:
            try:
                header = self._unwrapped(header, size)
            except BadSegment:
                return NOBODY
        return str(_said(header).get("owner", NOBODY))

    def head_bytes(self, data: bytes | memoryview) -> int:
        """How many bytes the head at the beginning of `data` claims, before it is verified; 0 for no segment."""
        if len(data) < _FIXED.size:
            return 0
        magic, version, header_bytes, *_ = _FIXED.unpack(data[: _FIXED.size])
        is_one = magic == MAGIC and version in (VERSION, SEALED_VERSION)
        return _aligned(_FIXED.size + header_bytes) if is_one else 0

    def restore(
        self, head: Head, wanted: Wanted, found: Found, tier: str, read: Callable[[memoryview, int], None]
    ) -> Restored:
        """The rows of a segment that is the one wanted, byte for byte. Raises `BadSegment`.

        `read` fills a piece of memory with the bytes from an offset on. Each piece is hashed while it is still in the
        processor's cache, which saves half the time.
        """
        self.check_wanted(head.segment, wanted, found)
        memory = self.buffers.take(head.payload_bytes)
        payload = memory[: head.payload_bytes]
        self._fill(memoryview(payload.data), head, read)
        if self.codec != "raw":
            memory, packed = self.buffers.take(num_bytes := self._row_bytes(head.segment)), payload
            payload = memory[:num_bytes]
            decode(self.geometry, packed, payload)
        restored = Restored(tier, head.segment.start, found.stop, head.segment.num_tokens, payload)
        self.buffers.give_back_after(restored, memory)
        return restored

    def _fill(self, view: memoryview, head: Head, read: Callable[[memoryview, int], None]) -> None:
        """Read and verify a payload. Raises `BadSegment`."""
        if self.seal is not None:
            from kvtier.tiers.sealing import NotOpened, open_payload

            try:
                open_payload(
                    view, head.payload_key, head.payload_tags, lambda piece, at: read(piece, head.payload_start + at)
                )
            except NotOpened as error:
                raise BadSegment(str(error)) from error
            return
        mac = blake3(key=self._payload_key)
        for at in range(0, head.payload_bytes, PIECE_BYTES):
            piece = view[at : at + PIECE_BYTES]
            read(piece, head.payload_start + at)
            mac.update(piece)
        if not compare_digest(mac.digest(), head.payload_mac):
            raise BadSegment("the payload is damaged")

    def check_wanted(self, segment: Segment, wanted: Wanted, found: Found) -> None:
        """Raise `BadSegment` unless the segment continues the chain of `wanted` with its very tokens."""
        if segment.key != found.key or segment.start != found.start:
            raise BadSegment("it is another segment")
        if segment.parent != wanted.parent(segment.start):
            raise BadSegment("it follows another prefix")
        common = (found.stop - found.start) * ID_BYTES
        if segment.packed[:common] != wanted.ids(segment.start)[:common] or len(segment.packed) < common:
            raise BadSegment("it holds other tokens")
        size = self.geometry.block_tokens
        first, num_full = segment.start // size, (found.stop - found.start) // size
        if list(segment.keys[:num_full]) != list(wanted.keys[first : first + num_full]):
            raise BadSegment("its blocks have other keys")

    def _header(self, segment: Segment) -> dict[str, object]:
        return {
            "model": self.model,
            "layout": self.geometry.digest.hex(),
            "dtype": self.geometry.dtype,
            "codec": self.codec,
            "owner": segment.owner,
            "start": segment.start,
            "num_tokens": segment.num_tokens,
            "parent": segment.parent.hex(),
            "keys": [key.hex() for key in segment.keys],  # each is the parent of the next
            "tokens": segment.packed.hex(),
        }

    def _segment(self, header: dict[str, object], size: int) -> Segment:
        """The segment that a header, known to be ours, describes."""
        if header["model"] != self.model or header["layout"] != self.geometry.digest.hex():
            raise BadSegment("it belongs to another model or layout")
        if header["codec"] != self.codec or header["dtype"] != self.geometry.dtype:
            raise BadSegment(f"it is {header['codec']} of {header['dtype']}")
        keys, start = header["keys"], header["start"]
        assert isinstance(keys, list)
        assert isinstance(start, int)
        segment = Segment(
            bytes.fromhex(str(header["parent"])),
            tuple(bytes.fromhex(key) for key in keys),
            bytes.fromhex(str(header["tokens"])),
            start,
            str(header.get("owner", NOBODY)),
        )
        num_blocks = -(-segment.num_tokens // self.geometry.block_tokens)
        if (
            not 1 <= num_blocks == len(segment.keys) <= SEGMENT_BLOCKS
            or {len(segment.parent), *map(len, segment.keys)} != {KEY_BYTES}
            or start % (SEGMENT_BLOCKS * self.geometry.block_tokens)
            or size != payload_bytes(self.geometry, self.codec, segment.num_tokens)
        ):
            raise BadSegment("its header contradicts itself")
        return segment

    def _row_bytes(self, segment: Segment) -> int:
        return self.geometry.bytes_per_token * segment.num_tokens

    def _head_mac(self, signed: bytes, header: bytes) -> bytes:
        return blake3(signed + header, key=self._head_key).digest()

    def _payload_mac(self, payload: Rows) -> bytes:
        return blake3(np.ascontiguousarray(payload).data, key=self._payload_key).digest()


def is_plain(data: bytes) -> bool:
    """Whether these are the first bytes of a segment that is not sealed."""
    return data[: len(MAGIC) + 4] == MAGIC + VERSION.to_bytes(4, "little")


def _said(header: bytes) -> dict[str, object]:
    said = json.loads(header)
    if not isinstance(said, dict):
        raise BadSegment("its header is of another version")
    return said


def _bound(size: int) -> bytes:
    """What a sealed header stands beside."""
    return MAGIC + SEALED_VERSION.to_bytes(4, "little") + size.to_bytes(8, "little")


def _json(header: dict[str, object]) -> bytes:
    return json.dumps(header, separators=(",", ":")).encode()


def _derive(secret: bytes, purpose: bytes) -> bytes:
    return blake2b(key=_key(secret), digest_size=32, person=purpose).digest()


def _key(secret: bytes) -> bytes:
    return secret if len(secret) <= blake2b.MAX_KEY_SIZE else blake2b(secret).digest()


def _aligned(size: int) -> int:
    return -(-size // ALIGN) * ALIGN
