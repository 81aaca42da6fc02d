"""Verifiers as bytes: the safetensors format, with a version, the family and the features' names in its header.

Bytes that are damaged, of another version, or fitted on features this build does not compute are refused by name.
"""

import json
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from embeddings.base import EmbedderError
from embeddings.verifier.features import FEATURES
from embeddings.verifier.model import Verifier

FORMAT = "twicetold-verifier-1"
_SHAPES = {"mean": len(FEATURES), "scale": len(FEATURES), "weights": len(FEATURES), "bias": 1}


def dump(verifier: Verifier) -> bytes:
    """The verifier as bytes; the same verifier, the same bytes."""
    from safetensors.numpy import save

    header = {"format": FORMAT, "family": verifier.family, "features": json.dumps(FEATURES), "name": verifier.name}
    return bytes(save({name: np.ascontiguousarray(array) for name, array in verifier.arrays.items()}, header))


def parse(data: bytes) -> Verifier:
    """The verifier in `data`. Raises `EmbedderError` naming what is wrong."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    header = _header(data)
    _expect("format", header.get("format"), FORMAT)
    _expect("features", header.get("features"), json.dumps(FEATURES))
    try:
        arrays: dict[str, NDArray[np.float32]] = load(data)
    except (SafetensorError, ValueError, KeyError, TypeError) as exc:
        raise EmbedderError(f"the verifier's arrays cannot be read: {exc}") from exc
    _check(arrays)
    verifier = Verifier(header.get("family", ""), arrays)
    _expect("name", header.get("name"), verifier.name)
    return verifier


def _header(data: bytes) -> dict[str, str]:
    """The strings that safetensors keeps beside the arrays: length in 8 bytes, then JSON."""
    try:
        found = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
        return {str(key): str(value) for key, value in found.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise EmbedderError(f"the verifier's header cannot be read: {exc!r}") from exc


def _expect(field: str, found: str | None, expected: str) -> None:
    if found != expected:
        raise EmbedderError(f"the verifier's {field} is {(found or 'missing')[:80]!r}, not {expected[:80]!r}")


def _check(arrays: Mapping[str, NDArray[np.float32]]) -> None:
    for name, length in _SHAPES.items():
        array = arrays.get(name)
        if array is None or array.shape != (length,) or array.dtype != np.float32 or not np.isfinite(array).all():
            raise EmbedderError(f"the verifier's {name} is not {length} finite float32 numbers")
    if not (arrays["scale"] > 0).all():
        raise EmbedderError("the verifier's scale is not above 0 everywhere")
