"""Embeddings as values. No I/O."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from twicetold.answers import Usage


@dataclass(frozen=True, slots=True)
class Embeddings:
    """One vector for each text, in the order of the texts."""

    vectors: tuple[tuple[float, ...], ...]
    model: str
    usage: Usage
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def read(cls, wire: Mapping[str, Any]) -> "Embeddings":
        rows = sorted(wire["data"], key=lambda row: row["index"])
        vectors = tuple(tuple(row["embedding"]) for row in rows)
        return cls(vectors, wire.get("model") or "", Usage.read(wire.get("usage")), wire)
