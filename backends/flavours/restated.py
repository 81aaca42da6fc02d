"""What a streamed response says more than once, and whether it says the same every time. Pure.

    ....delta  ....delta   the text in pieces
    ....done, part.done    the same text, whole
    output_item.done       the same once more, in its item
    response.completed     and once more, in the response: this is what is kept, and told again

Servers have ended streams with an output that lacks what was said, or has the last piece of it alone (vLLM, ChatGPT's
own), and whatever says a piece again on the way makes the pieces too long. The client hears it all and may believe any
of it, so only an answer that is the same everywhere can be kept. What was said in one way alone contradicts nothing.
"""

from collections.abc import Iterator, Mapping
from typing import Any

Place = tuple[str, int, int]  # kind of text, number of its item, number within that
Texts = dict[Place, str]

# Of a text that grows: what its events are called, and where an event or an item has it whole.
_NAMES = {
    "output_text": "text",
    "refusal": "refusal",
    "reasoning_text": "text",
    "reasoning_summary_text": "text",
    "function_call_arguments": "arguments",
    "custom_tool_call_input": "input",
    "mcp_call_arguments": "arguments",
    "code_interpreter_call_code": "code",
}
_OF_PARTS = {
    "output_text": "output_text",
    "refusal": "refusal",
    "reasoning_text": "reasoning_text",
    "summary_text": "reasoning_summary_text",
}
_OF_ITEMS = {
    "function_call": "function_call_arguments",
    "custom_tool_call": "custom_tool_call_input",
    "mcp_call": "mcp_call_arguments",
    "code_interpreter_call": "code_interpreter_call_code",
}
_PART_ENDS = ("content_part.done", "reasoning_summary_part.done")
_WHO = ("call_id", "name")  # of a call: no piece says it, each item does


class Restated:
    """Everything one stream has said, by how it was said."""

    def __init__(self) -> None:
        self._pieces: dict[Place, list[str]] = {}
        self._ended: Texts = {}
        self._items: dict[int, Texts] = {}
        self._differs = False

    def hear(self, kind: str, event: Mapping[str, Any]) -> None:
        """An event before the last one; `kind` is its type."""
        said = kind.removeprefix("response.")
        if said == "output_item.done":
            self._hear_item(event)
        elif said in _PART_ENDS:
            for stem, text in _texts_of_part(event.get("part")):
                self._end(_place(stem, event), text)
        else:
            stem, _, how = said.rpartition(".")
            self._hear_text(stem, how, event)

    def has_item(self, event: Mapping[str, Any]) -> bool:
        """Whether the item that ends here has ended before."""
        number = event.get("output_index")
        return isinstance(number, int) and number in self._items

    def contradicts(self, response: Mapping[str, Any]) -> bool:
        """Whether anything that was said, each way of saying it by itself, is not what the whole response says."""
        output = response.get("output") or ()
        whole = _joined({place: text for number, item in enumerate(output) for place, text in _texts_of(number, item)})
        pieces = {place: "".join(texts) for place, texts in self._pieces.items()}
        items = {place: text for texts in self._items.values() for place, text in texts.items()}
        said = (_joined(texts) for texts in (pieces, self._ended, items))
        return self._differs or any(whole.get(stem, "") != text for each in said for stem, text in each.items())

    def _hear_text(self, stem: str, how: str, event: Mapping[str, Any]) -> None:
        name = _NAMES.get(stem)
        text = event.get("delta" if how == "delta" else name) if name is not None else None
        if not isinstance(text, str):
            return
        if how == "delta":
            self._pieces.setdefault(_place(stem, event), []).append(text)
        elif how == "done":
            self._end(_place(stem, event), text)

    def _hear_item(self, event: Mapping[str, Any]) -> None:
        number = event.get("output_index")
        number = number if isinstance(number, int) else len(self._items)
        texts = dict(_texts_of(number, event.get("item")))
        self._differs |= self._items.setdefault(number, texts) != texts

    def _end(self, place: Place, text: str) -> None:
        self._differs |= self._ended.setdefault(place, text) != text


def _place(stem: str, event: Mapping[str, Any]) -> Place:
    within = event.get("summary_index" if stem == "reasoning_summary_text" else "content_index")
    return stem, _number(event.get("output_index")), _number(within)


def _number(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _joined(texts: Texts) -> dict[str, str]:
    """The texts of each kind in the order of the output, in one: servers do not agree on what counts as an item."""
    joined: dict[str, list[str]] = {}
    for place in sorted(texts):
        joined.setdefault(place[0], []).append(texts[place])
    return {stem: "".join(said) for stem, said in joined.items()}


def _texts_of(number: int, item: Any) -> Iterator[tuple[Place, str]]:
    if not isinstance(item, Mapping):
        return
    for name in ("summary", "content"):
        parts = item.get(name)
        for within, part in enumerate(parts if isinstance(parts, list) else ()):
            for stem, text in _texts_of_part(part):
                yield (stem, number, within), text
    called = _OF_ITEMS.get(str(item.get("type")))
    if called is not None:
        for kind, name in ((called, _NAMES[called]), *((f"{called} {name}", name) for name in _WHO)):
            if isinstance(said := item.get(name), str):
                yield (kind, number, 0), said


def _texts_of_part(part: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(part, Mapping):
        return
    stem = _OF_PARTS.get(str(part.get("type")))
    if stem is not None and isinstance(text := part.get(_NAMES[stem]), str):
        yield stem, text
