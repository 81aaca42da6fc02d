"""What deltas add, as the events of numbered blocks, of which one is open at a time.

Calls of tools that are told at once, in pieces of this one and of that one, come one after the other: pieces of a
later call wait until the open one is whole, or something else begins.
"""

from collections.abc import Iterator

import orjson

from backends.chat import Fields
from gateway.shapes.messages.blocks import arguments_of, calls_of, objects, opening_of, reasoning_of, text_of


class BlockWriter:
    """The blocks of one message in the making."""

    def __init__(self) -> None:
        self.has_calls = False
        self._count = 0  # blocks begun
        self._open = ""  # what the open block is: thinking, text, a call's name here; empty: none is
        self._told = 0  # blocks told whole in `content_blocks`, from the first on
        self._arguments: list[str] = []  # of the open call, in pieces
        self._waiting: dict[str, list[Fields]] = {}  # pieces of calls that come after it

    def write(self, fields: Fields) -> Iterator[Fields]:
        """The events of one delta."""
        if blocks := objects(fields.get("content_blocks")):
            for block in blocks:
                yield from self._told_whole(block)
            return
        yield from self._thought(fields)
        for name in ("content", "refusal"):
            if said := text_of(fields.get(name)):
                yield from self._opened("text", {"type": "text", "text": ""})
                yield self._grown({"type": "text_delta", "text": said})
        for call in calls_of(fields):
            yield from self._called(f"call {call.get('index') or 0}", call)

    def close(self) -> Iterator[Fields]:
        """End the open block, and say what waits for that."""
        yield from self._closed()
        while self._waiting:
            name = next(iter(self._waiting))
            for piece in self._waiting.pop(name):
                yield from self._piece(name, piece)
            yield from self._closed()

    def _closed(self) -> Iterator[Fields]:
        if self._open:
            self._open = ""
            yield {"type": "content_block_stop", "index": self._count - 1}

    def _opened(self, kind: str, block: Fields) -> Iterator[Fields]:
        if self._open == kind:
            return
        yield from self.close()
        yield from self._begun(kind, block)

    def _begun(self, kind: str, block: Fields) -> Iterator[Fields]:
        self._open, self._count = kind, self._count + 1
        self._arguments = []
        yield {"type": "content_block_start", "index": self._count - 1, "content_block": block}

    def _grown(self, delta: Fields) -> Fields:
        return {"type": "content_block_delta", "index": self._count - 1, "delta": delta}

    # -- thoughts ----------------------------------------------------------------------------------------------------

    def _thought(self, fields: Fields) -> Iterator[Fields]:
        """Thoughts as they come, and the blocks that sign them. A message said at once has both, and then the blocks
        say it all."""
        signed, said = objects(fields.get("thinking_blocks")), reasoning_of(fields)
        if said and not signed:
            yield from self._opened("thinking", {"type": "thinking", "thinking": "", "signature": ""})
            yield self._grown({"type": "thinking_delta", "thinking": said})
        for block in signed:
            if self._open == "thinking" and block.get("type") == "thinking":
                if signature := block.get("signature"):
                    yield self._grown({"type": "signature_delta", "signature": signature})
                yield from self.close()
            else:
                yield from self._whole(block)

    # -- calls of tools ----------------------------------------------------------------------------------------------

    def _called(self, name: str, call: Fields) -> Iterator[Fields]:
        is_late = name != self._open and self._open.startswith("call ")
        if name in self._waiting or (is_late and not self._is_call_whole()):
            self._waiting.setdefault(name, []).append(call)
            return
        if name != self._open:
            yield from self.close()
        yield from self._piece(name, call)

    def _piece(self, name: str, call: Fields) -> Iterator[Fields]:
        if self._open != name:
            self.has_calls = True
            yield from self._begun(name, opening_of(call))
        if said := arguments_of(call):
            self._arguments.append(said)
            yield self._grown({"type": "input_json_delta", "partial_json": said})

    def _is_call_whole(self) -> bool:
        """Whether the arguments of the open call are all there."""
        try:
            orjson.loads("".join(self._arguments))
        except orjson.JSONDecodeError:
            return False
        return True

    # -- whole blocks ------------------------------------------------------------------------------------------------

    def _told_whole(self, block: Fields) -> Iterator[Fields]:
        """A block of `content_blocks`: one that went by already, the open one, which it completes, or a new one."""
        place, self._told = self._told, self._told + 1
        if place >= self._count:
            yield from self.close()
        if place >= self._count:
            yield from self._whole(block)
        elif place == self._count - 1 and self._open:
            for citation in objects(block.get("citations")) if self._open == "text" else ():
                yield self._grown({"type": "citations_delta", "citation": citation})
            yield from self.close()

    def _whole(self, block: Fields) -> Iterator[Fields]:
        """A block that was not streamed."""
        yield from self.close()
        opening, deltas = _in_pieces(block)
        self.has_calls |= block.get("type") == "tool_use"
        yield from self._begun("whole", opening)
        for delta in deltas:
            yield self._grown(delta)
        yield from self._closed()


def _in_pieces(block: Fields) -> tuple[Fields, list[Fields]]:
    """A block as it opens, and the deltas that fill it; one of a kind that does not grow opens whole."""
    kind = block.get("type")
    if kind == "text":
        said: list[Fields] = [{"type": "text_delta", "text": text_of(block.get("text"))}]
        cited = objects(block.get("citations"))
        opening = {**block, "text": "", **({"citations": []} if block.get("citations") is not None else {})}
        return opening, said + [{"type": "citations_delta", "citation": citation} for citation in cited]
    if kind == "thinking":
        said = [{"type": "thinking_delta", "thinking": text_of(block.get("thinking"))}]
        if signature := block.get("signature"):
            said.append({"type": "signature_delta", "signature": signature})
        return {**block, "thinking": "", "signature": ""}, said
    if kind in ("tool_use", "server_tool_use"):
        given = orjson.dumps(block.get("input") or {}, default=dict).decode()
        return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": given}]
    return block, []
