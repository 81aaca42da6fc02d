"""One vector in as few bytes as lose nothing, and in either spelling of the API. Pure.

Most servers tell 32-bit floats, in base64 or as decimals; those are kept as such. Decimals that need 64 bits keep them.
"""

from array import array
from base64 import b64decode, b64encode
from binascii import Error as BadBase64
from dataclasses import dataclass
from math import isfinite
from typing import Any, Literal

Code = Literal["f", "d", "s"]  # 32 bits, 64 bits, base64 that is no list of floats


@dataclass(frozen=True, slots=True)
class Vector:
    """Numbers in the machine's own order, or a text as it came."""

    code: Code
    data: bytes

    def floats(self) -> list[float] | str:
        """As a list; what is none, as it came."""
        return self.data.decode() if self.code == "s" else array(self.code, self.data).tolist()

    def base64(self) -> str:
        """As 32-bit floats in base64."""
        if self.code == "s":
            return self.data.decode()
        if self.code == "f":
            return b64encode(self.data).decode()
        return b64encode(array("f", array("d", self.data).tolist()).tobytes()).decode()


def read_vector(said: Any, *, is_floats: bool = True) -> Vector | None:
    """A vector as an upstream says it; None for what is none. `is_floats`: base64 holds 32-bit floats."""
    if isinstance(said, str):
        return _from_base64(said, is_floats)
    if not isinstance(said, list) or not said:
        return None
    if not all(
        isinstance(number, int | float) and not isinstance(number, bool) and isfinite(number) for number in said
    ):
        return None
    single = array("f", said)
    return Vector("f", single.tobytes()) if single.tolist() == said else Vector("d", array("d", said).tobytes())


def _is_number(value: Any) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool) and isfinite(value)


def _from_base64(said: str, is_floats: bool) -> Vector | None:
    try:
        raw = b64decode(said, validate=True)
    except (BadBase64, ValueError):
        return None
    return Vector("f", raw) if is_floats and raw and len(raw) % 4 == 0 else Vector("s", said.encode())
