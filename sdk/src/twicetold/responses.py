"""What /v1/responses answers, as a value. No I/O."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from twicetold.answers import Usage
from twicetold.cache import CacheInfo


@dataclass(frozen=True, slots=True)
class ResponseAnswer:
    """A whole response, and where it came from."""

    id: str
    model: str
    status: str
    output: tuple[Mapping[str, Any], ...]
    usage: Usage
    cache: CacheInfo
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def text(self) -> str:
        """What its messages say."""
        parts = [part for item in self.output if item.get("type") == "message" for part in item.get("content") or ()]
        return "".join(part.get("text") or "" for part in parts if part.get("type") == "output_text")

    @classmethod
    def read(cls, wire: Mapping[str, Any], cache: CacheInfo) -> "ResponseAnswer":
        usage = Usage.read(wire.get("usage"))
        return cls(wire["id"], wire.get("model") or "", wire["status"], tuple(wire["output"]), usage, cache, wire)
