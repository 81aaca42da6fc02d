"""The events of a streamed response, as the official client types them.

    response.created, response.in_progress
      response.output_item.added              reasoning | message | function_call | custom_tool_call
        response.content_part.added             of a reasoning and a message
          ....delta  ....delta  ....done
        response.content_part.done
      response.output_item.done
    response.completed | response.incomplete

Thoughts and the message are closed when something else begins. Calls of tools stay open to the end: their pieces may
take turns.
"""

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from backends.chat import Delta, Fields
from gateway.shapes.responses.items import (
    annotations_of,
    call_item,
    logprobs_of,
    message_item,
    prefix_of,
    reasoning_item,
    refusal_part,
    status_of,
    text_of,
    text_part,
    thought_of,
)

Event = dict[str, Any]

_DELTAS = {
    "reasoning_text": "response.reasoning_text",
    "output_text": "response.output_text",
    "refusal": "response.refusal",
}


@dataclass(slots=True)
class _Part:
    """One content part on its way."""

    kind: str
    pieces: list[str] = field(default_factory=list)
    logprobs: list[Any] = field(default_factory=list)
    annotations: list[Fields] = field(default_factory=list)
    is_done: bool = False

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    def whole(self) -> Fields:
        if self.kind == "output_text":
            return text_part(self.text, self.logprobs, self.annotations)
        return refusal_part(self.text) if self.kind == "refusal" else {"type": self.kind, "text": self.text}


@dataclass(slots=True)
class _Item:
    """One output item on its way: parts, or a call."""

    id: str
    index: int
    kind: str  # reasoning | message | call
    parts: list[_Part] = field(default_factory=list)
    call: dict[str, Any] = field(default_factory=dict)
    is_done: bool = False

    def whole(self, status: str) -> dict[str, Any]:
        if self.kind == "call":
            return call_item(self.id, self.call, status)
        if self.kind == "reasoning":
            return reasoning_item(self.id, "".join(part.text for part in self.parts), status)
        return message_item(self.id, [part.whole() for part in self.parts], status)


class OutputStream:
    """What a stream has said so far, and the events of what comes next. `name` makes the ids of items."""

    def __init__(self, name: str) -> None:
        self.finish_reason: str | None = None
        self._name = name
        self._items: list[_Item] = []
        self._calls: dict[int, _Item] = {}

    def take(self, delta: Delta) -> Iterator[Event]:
        """The events of one delta of the one answer."""
        if delta.index != 0:
            return
        self.finish_reason = delta.finish_reason or self.finish_reason
        fields = delta.fields
        if thought := thought_of(fields):
            yield from self._said("reasoning", "reasoning_text", thought)
        text, logprobs, citations = text_of(fields), logprobs_of(delta.logprobs), annotations_of(fields)
        if text or logprobs or citations:
            yield from self._said("message", "output_text", text, logprobs, citations)
        refusal = fields.get("refusal")
        if isinstance(refusal, str) and refusal:
            yield from self._said("message", "refusal", refusal)
        for call in fields.get("tool_calls") or ():
            yield from self._called(call)

    def end(self) -> Iterator[Event]:
        """The events that close what is open; an answer that said nothing was an empty message."""
        if not self._calls and all(item.kind == "reasoning" for item in self._items):
            yield from self._said("message", "output_text", "")
        for item in self._items:
            yield from self._close(item, status_of(self.finish_reason))

    def output(self, *, is_whole: bool = True) -> list[dict[str, Any]]:
        """All that was said; of what was broken off, what is still open is incomplete."""
        last = status_of(self.finish_reason)
        return [
            item.whole("completed" if item.kind == "reasoning" else last)
            if is_whole or item.is_done
            else item.whole("incomplete")
            for item in self._items
        ]

    # -- thoughts and the message ------------------------------------------------------------------------------------

    def _said(
        self, kind: str, part_kind: str, text: str, logprobs: list[Any] | None = None, cited: list[Fields] | None = None
    ) -> Iterator[Event]:
        item = self._items[-1] if self._items else None
        if item is None or item.kind != kind or item.is_done:
            yield from self._close_said()
            item = yield from self._open(kind, "rs" if kind == "reasoning" else "msg")
        part = item.parts[-1] if item.parts else None
        if part is None or part.kind != part_kind:
            if part is not None:
                yield from self._close_part(item, part)
            part = _Part(part_kind)
            item.parts.append(part)
            yield {**_at(item), "type": "response.content_part.added", "part": part.whole()}
        more: dict[str, Any] = {"logprobs": logprobs or []} if part_kind == "output_text" else {}
        part.logprobs += logprobs or []
        if text or logprobs:
            part.pieces.append(text)
            yield {**_at(item), "type": f"{_DELTAS[part_kind]}.delta", "delta": text, **more}
        for citation in cited or ():
            part.annotations.append(citation)
            number = {"annotation_index": len(part.annotations) - 1, "annotation": citation}
            yield {**_at(item), "type": "response.output_text.annotation.added", **number}

    def _close_part(self, item: _Item, part: _Part) -> Iterator[Event]:
        if part.is_done:
            return
        part.is_done = True
        said: dict[str, Any] = {"refusal" if part.kind == "refusal" else "text": part.text}
        if part.kind == "output_text":
            said["logprobs"] = part.logprobs
        at = {**_at(item), "content_index": item.parts.index(part)}
        yield {**at, "type": f"{_DELTAS[part.kind]}.done", **said}
        yield {**at, "type": "response.content_part.done", "part": part.whole()}

    # -- calls of tools ----------------------------------------------------------------------------------------------

    def _called(self, piece: Mapping[str, Any]) -> Iterator[Event]:
        number = piece.get("index")
        number = number if isinstance(number, int) else len(self._calls)
        item = self._calls.get(number)
        if item is None:
            yield from self._close_said()
            start = {**piece, **{kind: {**piece[kind], name: ""} for kind, name in _SAID if piece.get(kind)}}
            item = self._calls[number] = yield from self._open("call", prefix_of(piece), start)
        for kind, name in _SAID:
            said = piece.get(kind)
            if not isinstance(said, Mapping):
                continue
            own = item.call.setdefault(kind, {"name": ""})
            own["name"] = said.get("name") or own.get("name") or ""
            if more := said.get(name):
                own[name] = (own.get(name) or "") + more
                at = {"item_id": item.id, "output_index": item.index}
                yield {**at, "type": f"{_CALLS[kind]}.delta", "delta": more}

    # -- items -------------------------------------------------------------------------------------------------------

    def _open(self, kind: str, prefix: str, call: dict[str, Any] | None = None) -> Generator[Event, None, _Item]:
        index = len(self._items)
        item = _Item(f"{prefix}_{self._name}_{index}", index, kind, call=call or {})
        self._items.append(item)
        yield {"type": "response.output_item.added", "output_index": index, "item": item.whole("in_progress")}
        return item

    def _close_said(self) -> Iterator[Event]:
        for item in self._items:
            if item.kind != "call":
                yield from self._close(item, "completed")

    def _close(self, item: _Item, status: str) -> Iterator[Event]:
        if item.is_done:
            return
        item.is_done = True
        for part in item.parts:
            yield from self._close_part(item, part)
        whole = item.whole("completed" if item.kind == "reasoning" else status)
        if item.kind == "call":
            kind, name = next(pair for pair in _SAID if pair[0] in item.call or pair[0] == "function")
            at = {"item_id": item.id, "output_index": item.index}
            yield {**at, "type": f"{_CALLS[kind]}.done", name: whole[name]}
        yield {"type": "response.output_item.done", "output_index": item.index, "item": whole}


_SAID = (("custom", "input"), ("function", "arguments"))
_CALLS = {"custom": "response.custom_tool_call_input", "function": "response.function_call_arguments"}


def _at(item: _Item) -> Event:
    return {"item_id": item.id, "output_index": item.index, "content_index": max(0, len(item.parts) - 1)}
