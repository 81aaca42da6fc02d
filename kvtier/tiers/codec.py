"""How rows are written: as they are, or as int8 with one scale per token and head.

numpy only: a torch operation outside the engine's thread would start a second team of OpenMP threads beside its own.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kvtier.geometry import ITEM_BYTES, KVGeometry
from kvtier.tiers.base import Rows

Codec = Literal["raw", "int8"]
CODECS: tuple[Codec, ...] = ("raw", "int8")
SCALE_BYTES = 4


class NotFinite(ValueError):
    """Rows with infinities or NaN have no int8 form."""


def payload_bytes(geometry: KVGeometry, codec: Codec, num_tokens: int) -> int:
    """Size of the payload of `num_tokens` tokens."""
    if codec == "raw":
        return geometry.bytes_per_token * num_tokens
    return (
        geometry.bytes_per_token
        // ITEM_BYTES[geometry.dtype]
        // geometry.head_dim
        * num_tokens
        * (geometry.head_dim + SCALE_BYTES)
    )


def encode(geometry: KVGeometry, codec: Codec, rows: Rows) -> Rows:
    """The payload of `rows`. Raises `NotFinite`."""
    if codec == "raw":
        return rows
    items = rows.size // ITEM_BYTES[geometry.dtype]
    heads = items // geometry.head_dim
    payload = np.empty(heads * (geometry.head_dim + SCALE_BYTES), np.uint8)
    scales = payload[: heads * SCALE_BYTES].view(np.float32)
    quants = payload[heads * SCALE_BYTES :].view(np.int8).reshape(heads, geometry.head_dim)
    source = rows.reshape(heads, -1)
    for part in _parts(heads, geometry.head_dim):  # pieces that stay in the processor's cache
        values = _as_float32(source[part].reshape(-1), geometry.dtype).reshape(-1, geometry.head_dim)
        most = np.abs(values).max(axis=1)
        if not np.isfinite(most).all():
            raise NotFinite
        scale = np.where(most > 0, most / 127.0, 1.0).astype(np.float32)
        scales[part] = scale
        quants[part] = np.rint(values / scale[:, None])
    return payload


def decode(geometry: KVGeometry, payload: Rows, rows: Rows) -> None:
    """Fill `rows` from an int8 payload; they are within half a scale of what was encoded."""
    heads = payload.size // (geometry.head_dim + SCALE_BYTES)
    scales = payload[: heads * SCALE_BYTES].view(np.float32)
    quants = payload[heads * SCALE_BYTES :].view(np.int8).reshape(heads, geometry.head_dim)
    into = rows.reshape(heads, geometry.head_dim * ITEM_BYTES[geometry.dtype])
    for part in _parts(heads, geometry.head_dim):
        values = quants[part].astype(np.float32)
        values *= scales[part, None]
        into[part] = _from_float32(values, geometry.dtype).view(np.uint8)


def _parts(heads: int, head_dim: int) -> list[slice]:
    step = max(1, 262144 // head_dim)  # fewer calls: each takes the interpreter's lock anew
    return [slice(start, start + step) for start in range(0, heads, step)]


def _as_float32(items: Rows, dtype: str) -> NDArray[np.float32]:
    if dtype == "float32":
        return items.view(np.float32)
    if dtype == "float16":
        return items.view(np.float16).astype(np.float32)
    return (items.view(np.uint16).astype(np.uint32) << 16).view(np.float32)


def _from_float32(values: NDArray[np.float32], dtype: str) -> NDArray[np.generic]:
    if dtype == "float32":
        return values
    if dtype == "float16":
        return values.astype(np.float16)
    bits = values.view(np.uint32)
    bits += 0x8000  # to the nearest bfloat16, which is the upper half
    return (bits >> 16).astype(np.uint16)
