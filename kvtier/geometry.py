"""The shape of what is kept: how many bytes a token and a block take, and which layouts may be mixed."""

import hashlib
from dataclasses import astuple, dataclass

ITEM_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True, slots=True)
class KVGeometry:
    """Keys and values of one model: every layer of a block lies together. Raises ValueError on a senseless shape."""

    num_layers: int
    num_kv_heads: int
    head_dim: int
    dtype: str  # 'float32', 'bfloat16' or 'float16'
    block_tokens: int = 32

    def __post_init__(self) -> None:
        if self.dtype not in ITEM_BYTES:
            raise ValueError(f"dtype {self.dtype!r} is none of {', '.join(ITEM_BYTES)}")
        for name in ("num_layers", "num_kv_heads", "head_dim", "block_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} is less than 1")

    @property
    def bytes_per_token(self) -> int:
        return self.num_layers * 2 * self.num_kv_heads * self.head_dim * ITEM_BYTES[self.dtype]

    @property
    def block_bytes(self) -> int:
        return self.bytes_per_token * self.block_tokens

    @property
    def block_shape(self) -> tuple[int, int, int, int, int]:
        """One block: `[layers, keys and values, kv heads, tokens, head dim]`."""
        return (self.num_layers, 2, self.num_kv_heads, self.block_tokens, self.head_dim)

    @property
    def digest(self) -> bytes:
        """16 bytes that differ whenever two layouts could not read each other's blocks."""
        return hashlib.blake2b(repr(astuple(self)).encode(), digest_size=16, person=b"kv-geometry").digest()
