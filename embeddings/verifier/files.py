"""Verifiers as bytes: the safetensors format, with a version, the family and the features' names in its header.

Bytes that are damaged, of another version, or fitted on features this build does not compute are refused by name.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embeddings.base import EmbedderError
from embeddings.verifier.features import FEATURES
from embeddings.verifier.forest import check_forest
from embeddings.verifier.model import Arrays, Verifier

FORMAT = "twicetold-verifier-1"
_HEADER = "verifier"
_KNOWN = json.dumps(FEATURES)


def dump(verifier: Verifier) -> bytes:
    """The verifier as bytes; the same verifier, the same bytes."""
    from safetensors.numpy import save

    header = {"format": FORMAT, "family": verifier.family, "features": _KNOWN, "name": verifier.name}
    arrays = {name: np.ascontiguousarray(array) for name, array in verifier.arrays.items()}
    return bytes(save(arrays, {_HEADER: json.dumps(header)}))  # one string: the library writes several in any order


def parse(data: bytes) -> Verifier:
    """The verifier in `data`. Raises `EmbedderError` naming what is wrong."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    header = _header(data)
    _expect("format", header.get("format"), FORMAT)
    _expect("features", header.get("features"), _KNOWN)
    try:
        arrays: dict[str, NDArray[Any]] = load(data)
    except (SafetensorError, ValueError, KeyError, TypeError) as exc:
        raise EmbedderError(f"the verifier's arrays cannot be read: {exc}") from exc
    _check(arrays)
    verifier = Verifier(header.get("family", ""), arrays)
    _expect("name", header.get("name"), verifier.name)
    return verifier


def _header(data: bytes) -> dict[str, str]:
    """The strings that safetensors keeps beside the arrays: length in 8 bytes, then JSON."""
    try:
        outer = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        found = json.loads(outer["__metadata__"][_HEADER])
        return {str(key): str(value) for key, value in found.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise EmbedderError(f"the verifier's header cannot be read: {exc!r}") from exc


def _expect(field: str, found: str | None, expected: str) -> None:
    if found != expected:
        raise EmbedderError(f"the verifier's {field} is {(found or 'missing')[:80]!r}, not {expected[:80]!r}")


def _check(arrays: Arrays) -> None:
    for name, (shape, dtype) in _forms(arrays).items():
        array = arrays.get(name)
        if array is None or array.shape != shape or array.dtype != dtype:
            raise EmbedderError(f"the verifier's {name} is not an array of {dtype} of shape {shape}")
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array.astype(np.float64)).all():
            raise EmbedderError(f"the verifier's {name} has numbers that are not finite")
        if name.endswith("scale") and not (array > np.zeros((), array.dtype)).all():
            raise EmbedderError(f"the verifier's {name} is not above 0 everywhere")
    if unknown := set(arrays) - set(_forms(arrays)):
        raise EmbedderError(f"the verifier has arrays nobody knows: {', '.join(sorted(unknown))[:80]}")
    if "forest_roots" in arrays:
        check_forest(arrays, len(FEATURES))


def _forms(arrays: Arrays) -> Mapping[str, tuple[tuple[int, ...], type[np.generic]]]:
    """The shape and type that every array must have, given which are there."""
    count = len(FEATURES)
    forms: dict[str, tuple[tuple[int, ...], type[np.generic]]] = {
        **dict.fromkeys(("mean", "scale", "weights"), ((count,), np.float32)),
        "bias": ((1,), np.float32),
    }
    dim, directions = arrays["basis"].shape if "basis" in arrays and arrays["basis"].ndim == 2 else (0, 0)
    if "basis" in arrays:
        forms["basis"] = ((dim, directions), np.float32)
        forms["product_mean"] = forms["product_scale"] = ((3 * directions,), np.float32)
    if "blend" in arrays:
        forms["own"] = ((count + 1 + 3 * directions,), np.float32)
        forms["blend"] = ((4 if "forest_roots" in arrays else 3,), np.float32)
    if "forest_roots" in arrays:
        nodes = arrays["forest_feature"].size if "forest_feature" in arrays else 0
        forms["forest_roots"] = ((arrays["forest_roots"].size,), np.int32)
        forms["forest_feature"] = ((nodes,), np.int16)
        forms["forest_right"] = ((nodes,), np.int32)
        forms["forest_threshold"] = ((nodes,), np.float32)
    return forms
