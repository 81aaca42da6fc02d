"""Content blocks of an answer, as they grow, and whether a chat message says all of them. Pure."""

from typing import Any

import orjson

from backends.chat import Fields


class Block:
    """A block that is being streamed."""

    __slots__ = ("citations", "number", "texts", "wire")

    def __init__(self, wire: dict[str, Any]) -> None:
        self.wire = wire
        self.texts: dict[str, list[str]] = {}  # of the fields that grew, in pieces
        self.citations: list[Any] = []
        self.number: int | None = None  # among the calls of tools

    def whole(self) -> dict[str, Any]:
        """As it is now."""
        grown: dict[str, Any] = {
            key: "".join([self.wire.get(key) or "", *texts]) for key, texts in self.texts.items() if key != "input"
        }
        if given := "".join(self.texts.get("input", ())):
            grown["input"] = _loose_json(given)
        if self.citations:
            grown["citations"] = [*(self.wire.get("citations") or ()), *self.citations]
        return self.wire | grown


class Telling:
    """Whether the blocks of a message say more than the message does: then they are told, from the first on."""

    def __init__(self) -> None:
        self._held: list[dict[str, Any]] | None = []  # None: they are being told

    def closed(self, block: dict[str, Any]) -> list[dict[str, Any]]:
        """The blocks to tell now that this one is whole."""
        if self._held is None:
            return [block]
        self._held.append(block)
        return [] if are_said(self._held) else self._begun()

    def another_text(self) -> list[dict[str, Any]]:
        """The blocks to tell before a text begins."""
        has_text = any(block.get("type") == "text" for block in self._held or ())
        return self._begun() if has_text else []

    def _begun(self) -> list[dict[str, Any]]:
        told, self._held = self._held or [], None
        return told


_PLACES = {"thinking": 0, "redacted_thinking": 0, "text": 1, "tool_use": 2}
_SAID = frozenset({"type", "text"})


def says_something(block: dict[str, Any]) -> bool:
    """Whether it is no empty text, which the API sends at times and never takes back."""
    return block.get("type") != "text" or bool(block.get("text") or block.get("citations"))


def are_said(blocks: list[dict[str, Any]]) -> bool:
    """Whether a message says all of these: thoughts, then one text without citations, then calls of tools."""
    kinds = [block.get("type") for block in blocks]
    places = [_PLACES.get(str(kind), -1) for kind in kinds]
    if -1 in places or places != sorted(places) or kinds.count("text") > 1:
        return False
    texts = [block for block in blocks if block.get("type") == "text"]
    return all({key for key, value in text.items() if value} <= _SAID for text in texts)


def beside(block: Fields) -> Fields:
    """What a call says beside its name and arguments: who calls."""
    return {key: value for key, value in block.items() if key not in ("type", "id", "name", "input", "index")}


def _loose_json(text: str) -> Any:
    """An input; one that was cut short, as the text that it is."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return {"arguments": text}
