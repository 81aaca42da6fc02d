"""An answer as a message of Anthropic's API: one object, or events.

    message_start, ping
    content_block_start, content_block_delta ..., content_block_stop      one block after the other
    message_delta, message_stop

Deltas say of which block they are by what they carry: `reasoning_content`, `content`, a numbered tool call. A whole
block in `thinking_blocks` or `content_blocks` closes the one that was streamed, or is one that was not.
"""

import uuid
from collections.abc import Iterator
from typing import Any

from backends.chat import Choice, Completion, Delta, Fields, Usage
from gateway.shapes.base import dump, named_event
from gateway.shapes.messages.blocks import blocks_of
from gateway.shapes.messages.errors import error_of
from gateway.shapes.messages.usage import usage_of
from gateway.shapes.messages.writer import BlockWriter

_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
_THEIRS = frozenset(
    {"end_turn", "max_tokens", "stop_sequence", "tool_use", "pause_turn", "refusal", "model_context_window_exceeded"}
)
_OF_THE_END = ("stop_sequence", "stop_details", "container")  # of an envelope's extra fields, those a message has


class MessageEnvelope:
    """What every piece of one response repeats, and which block is open."""

    def __init__(self, model: str) -> None:
        self.id = f"msg_{uuid.uuid4().hex}"
        self._model = model
        self._has_begun = False
        self._writer = BlockWriter()
        self._finish: str | None = None
        self._has_refused = False
        self._extra: dict[str, Any] = {}  # what was told beside the deltas

    def start(self) -> bytes:
        """Nothing: the message begins with the first delta, which may know what the prompt cost."""
        return b""

    def chunk(self, delta: Delta) -> bytes:
        events = [] if self._has_begun else list(self._beginning(delta.usage or Usage(), delta.extra))
        self._has_begun = True
        self._extra |= delta.extra
        if delta.index == 0:
            self._finish = delta.finish_reason or self._finish
            self._has_refused |= bool(delta.fields.get("refusal"))
            events += self._writer.write(delta.fields)
        return b"".join(map(named_event, events))

    def end(self, usage: Usage, extra: Fields) -> bytes:
        events = [] if self._has_begun else list(self._beginning(usage, extra))
        events += self._writer.close()
        told = {**self._extra, **extra}
        ended = _ending(self._finish, told, has_calls=self._writer.has_calls, has_refused=self._has_refused)
        events.append({"type": "message_delta", "delta": ended, "usage": usage_of(usage)})
        events.append({"type": "message_stop"})
        return b"".join(map(named_event, events))

    def completion(self, completion: Completion, usage: Usage) -> bytes:
        choice = completion.choices[0] if completion.choices else Choice({}, None)
        content = blocks_of(choice.message)
        ended = _ending(
            choice.finish_reason,
            completion.extra,
            has_calls=any(block.get("type") == "tool_use" for block in content),
            has_refused=bool(choice.message.get("refusal")),
        )
        return dump({**self._head(completion.extra), "content": content, **ended, "usage": usage_of(usage)})

    def error_event(self, status: int, body: Fields, /) -> bytes:
        return named_event(error_of(status, body))

    def _beginning(self, usage: Usage, extra: Fields) -> Iterator[Fields]:
        counted = {**usage_of(usage), "output_tokens": 0}
        ended = {"stop_reason": None, "stop_sequence": None}
        yield {"type": "message_start", "message": {**self._head(extra), "content": [], **ended, "usage": counted}}
        yield {"type": "ping"}

    def _head(self, extra: Fields) -> dict[str, Any]:
        model = extra.get("model")
        return {
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": model if isinstance(model, str) else self._model,
        }


def _ending(finish: str | None, extra: Fields, *, has_calls: bool, has_refused: bool) -> dict[str, Any]:
    """Why it ended, in the API's words, an Anthropic upstream's own first."""
    own = extra.get("stop_reason")
    if isinstance(own, str) and own in _THEIRS:
        reason: str | None = own
    elif has_refused:
        reason = "refusal"
    elif has_calls and finish == "stop":  # some servers say so though they call
        reason = "tool_use"
    else:
        reason = _REASONS.get(finish or "stop", "end_turn")
    told = {key: extra[key] for key in _OF_THE_END if extra.get(key) is not None}
    return {"stop_reason": reason, "stop_sequence": None, **told}
