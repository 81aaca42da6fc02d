"""A client of Anthropic's API in a few lines: events folded into the message they spell, as its own library does it."""

from typing import Any

import orjson

from backends.chat import Completion, Delta, Usage, collect
from gateway.shapes.messages.reply import MessageEnvelope


def read_events(raw: bytes) -> list[dict[str, Any]]:
    """The events of a stream; each is named after its type."""
    events = []
    for block in raw.decode().split("\n\n")[:-1]:
        name, data = block.split("\n")
        event = orjson.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        events.append(event)
    return events


def folded(events: list[dict[str, Any]]) -> dict[str, Any]:
    """The message; asserts that blocks open, grow and close in turn."""
    assert [events[0]["type"], events[-1]["type"]] == ["message_start", "message_stop"]
    message: dict[str, Any] = events[0]["message"]
    open_at, given = None, ""
    for event in events[1:]:
        kind, blocks = event["type"], message["content"]
        if kind == "content_block_start":
            assert open_at is None
            assert event["index"] == len(blocks)
            open_at, given = event["index"], ""
            blocks.append(event["content_block"])
        elif kind == "content_block_delta":
            assert event["index"] == open_at
            given += event["delta"].get("partial_json", "")
            _grow(blocks[open_at], event["delta"])
        elif kind == "content_block_stop":
            assert event["index"] == open_at
            if given:
                blocks[open_at]["input"] = orjson.loads(given)
            open_at = None
        elif kind == "message_delta":
            message |= event["delta"]
            message["usage"] |= event["usage"]
    assert open_at is None
    return message


def _grow(block: dict[str, Any], delta: dict[str, Any]) -> None:
    kind = delta["type"].removesuffix("_delta")
    if kind in ("text", "thinking"):
        block[kind] += delta[kind]
    elif kind == "signature":
        block["signature"] = delta["signature"]
    elif kind == "citations":
        block.setdefault("citations", []).append(delta["citation"])


def streamed(deltas: list[Delta], usage: Usage | None = None) -> dict[str, Any]:
    """What a client makes of a stream of these."""
    envelope = MessageEnvelope("m")
    raw = b"".join([envelope.start(), *(envelope.chunk(delta) for delta in deltas)])
    usage = usage or next((delta.usage for delta in reversed(deltas) if delta.usage), Usage())
    message = folded(read_events(raw + envelope.end(usage, deltas[-1].extra if deltas else {})))
    assert message.pop("id") == envelope.id
    return message


def whole(completion: Completion) -> dict[str, Any]:
    """The same as one object."""
    message: dict[str, Any] = orjson.loads(MessageEnvelope("m").completion(completion, completion.usage))
    assert message.pop("id").startswith("msg_")
    return message


def both(deltas: list[Delta]) -> dict[str, Any]:
    """The message, which is the same streamed and whole."""
    message = streamed(deltas)
    assert message == whole(collect(deltas))
    return message
