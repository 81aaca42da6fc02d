"""Chat answers as values: whole, in chunks, and folded from chunks. `raw` keeps what has no name here. No I/O."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from twicetold.cache import CacheInfo

JSON = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    cached_tokens: int = 0  # of prompt_tokens, how many were not computed again
    raw: JSON = field(default_factory=dict, repr=False)

    @classmethod
    def read(cls, wire: JSON | None) -> "Usage":
        wire = wire or {}
        prompt = wire.get("prompt_tokens", wire.get("input_tokens")) or 0
        completion = wire.get("completion_tokens", wire.get("output_tokens")) or 0
        details = wire.get("prompt_tokens_details") or wire.get("input_tokens_details") or {}
        total = wire.get("total_tokens") or prompt + completion
        return cls(prompt, completion, total, details.get("cached_tokens") or 0, wire)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of a function; `arguments` is its JSON as the model wrote it."""

    id: str
    name: str
    arguments: str
    raw: JSON = field(default_factory=dict, repr=False)

    def parsed(self) -> Any:
        """The arguments. Raises ValueError when the model wrote no JSON."""
        return json.loads(self.arguments)

    @classmethod
    def read(cls, wire: JSON) -> "ToolCall":
        function = wire.get("function") or wire.get("custom") or {}
        arguments = function.get("arguments", function.get("input"))
        return cls(wire.get("id") or "", function.get("name") or "", arguments or "", wire)


@dataclass(frozen=True, slots=True)
class Message:
    """What was said."""

    role: str
    content: str | None
    tool_calls: tuple[ToolCall, ...] = ()
    refusal: str | None = None
    reasoning: str | None = None
    raw: JSON = field(default_factory=dict, repr=False)

    @classmethod
    def read(cls, wire: JSON) -> "Message":
        content = wire.get("content")
        return cls(
            role=wire.get("role") or "assistant",
            content=content if isinstance(content, str) else None,
            tool_calls=tuple(ToolCall.read(call) for call in wire.get("tool_calls") or ()),
            refusal=wire.get("refusal"),
            reasoning=wire.get("reasoning_content") or wire.get("reasoning"),
            raw=wire,
        )


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the answers."""

    index: int
    message: Message
    finish_reason: str | None
    logprobs: JSON | None = None


@dataclass(frozen=True, slots=True)
class ChatAnswer:
    """A whole chat completion, and where it came from."""

    id: str
    model: str
    created: int
    choices: tuple[Choice, ...]
    usage: Usage
    cache: CacheInfo
    raw: JSON = field(default_factory=dict, repr=False)

    @property
    def message(self) -> Message:
        """Of the first choice."""
        return self.choices[0].message

    @property
    def text(self) -> str:
        """What the first choice says; empty when it is no text."""
        return (self.message.content or "") if self.choices else ""

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        return self.message.tool_calls if self.choices else ()

    @classmethod
    def read(cls, wire: JSON, cache: CacheInfo) -> "ChatAnswer":
        choices = [
            Choice(at, Message.read(choice["message"]), choice.get("finish_reason"), choice.get("logprobs"))
            for at, choice in enumerate(wire["choices"])
        ]
        usage = Usage.read(wire.get("usage"))
        return cls(wire["id"], wire.get("model") or "", wire.get("created") or 0, tuple(choices), usage, cache, wire)


@dataclass(frozen=True, slots=True)
class Chunk:
    """One piece of a streamed answer."""

    id: str
    text: str  # what is new in the first choice; often empty
    finish_reason: str | None  # of the first choice
    usage: Usage | None  # with the last one
    raw: JSON = field(repr=False)

    @classmethod
    def read(cls, wire: JSON) -> "Chunk":
        first: JSON = next((choice for choice in wire.get("choices") or () if not choice.get("index")), {})
        content = (first.get("delta") or {}).get("content")
        usage = Usage.read(wire["usage"]) if wire.get("usage") else None
        text = content if isinstance(content, str) else ""
        return cls(wire.get("id") or "", text, first.get("finish_reason"), usage, wire)


def fold(chunks: Iterable[Chunk], cache: CacheInfo) -> ChatAnswer:
    """The answer that chunks spell."""
    head: dict[str, Any] = {}
    usage: JSON = {}
    choices: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        wire = chunk.raw
        head = head or {key: value for key, value in wire.items() if key not in ("choices", "usage")}
        usage = wire.get("usage") or usage
        for choice in wire.get("choices") or ():
            at = choice.get("index") or 0
            whole = choices.setdefault(at, {"index": at, "message": {"role": "assistant", "content": None}})
            _grow(whole["message"], choice.get("delta") or {})
            if choice.get("logprobs"):
                _grow(whole.setdefault("logprobs", {}), choice["logprobs"])
            whole["finish_reason"] = choice.get("finish_reason") or whole.get("finish_reason")
    for whole in choices.values():
        if calls := whole["message"].get("tool_calls"):
            whole["message"]["tool_calls"] = [_unnumbered(call) for call in calls]
    in_order = [choices[at] for at in sorted(choices)]
    wire = {"id": "", **head, "object": "chat.completion", "choices": in_order, "usage": dict(usage)}
    return ChatAnswer.read(wire, cache)


_STATED_ONCE = frozenset({"role", "id", "type", "name"})  # some servers repeat these in every piece


def _grow(whole: dict[str, Any], piece: JSON) -> None:
    for key, value in piece.items():
        old = whole.get(key)
        if value is None:
            whole.setdefault(key, None)
        elif key == "tool_calls":
            whole[key] = _calls(old or [], value)
        elif isinstance(value, str) and isinstance(old, str) and key not in _STATED_ONCE:
            whole[key] = old + value
        elif isinstance(value, Mapping):
            whole[key] = dict(old or {})
            _grow(whole[key], value)
        elif isinstance(value, list):
            whole[key] = [*(old or []), *value]
        else:
            whole[key] = value


def _calls(calls: list[dict[str, Any]], pieces: Sequence[JSON]) -> list[dict[str, Any]]:
    """Tool calls come in numbered pieces."""
    for piece in pieces:
        number = piece.get("index", len(calls))
        call = next((call for call in calls if call["index"] == number), None)
        if call is None:
            calls.append(call := {"index": number})
        _grow(call, {key: value for key, value in piece.items() if key != "index"})
    return calls


def _unnumbered(call: JSON) -> dict[str, Any]:
    return {key: value for key, value in call.items() if key != "index"}
