"""A request as the bytes of its prompt, in the order in which engines read it: tools, then message by message. Pure."""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from backends.chat import ChatRequest

WALL = 16  # bytes before every prompt: who may share a prefix with whom
MAX_BYTES = 1 << 20  # of a prompt; what comes behind is not compared
TOOLS = "tools"
BYTES_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class Prompt:
    """Prompt `text`, behind its wall; message `number` (-1: the tools) of `role` begins at `starts[i]`."""

    text: bytes
    starts: tuple[int, ...]
    messages: tuple[tuple[int, str], ...]

    def place(self, at: int) -> tuple[int, str, int, int]:
        """The message in which a byte lies: its number, its role, and where it begins and ends."""
        index = max(0, bisect_right(self.starts, at) - 1)
        end = self.starts[index + 1] if index + 1 < len(self.starts) else len(self.text)
        return (*self.messages[index], self.starts[index], end)


def prompt_of(request: ChatRequest) -> Prompt:
    """The prompt of a request."""
    pieces = [request.kv_salt[:WALL].encode("utf-8", "replace")[:WALL].ljust(WALL)]
    starts: list[int] = []
    messages: list[tuple[int, str]] = []
    size = WALL
    named = [(-1, TOOLS, request.params["tools"])] if request.params.get("tools") else []
    for number, role, content in [*named, *((at, _role(one), one) for at, one in enumerate(request.messages))]:
        piece = _dumped(content) if role == TOOLS and number < 0 else _message(role, content)
        starts.append(size)
        messages.append((number, role))
        pieces.append(piece)
        size += len(piece)
        if size >= MAX_BYTES:
            break
    return Prompt(b"".join(pieces)[:MAX_BYTES], tuple(starts), tuple(messages))


def tokens_in(num_bytes: int) -> int:
    """About how many tokens bytes of a prompt are."""
    return num_bytes // BYTES_PER_TOKEN


def _role(message: Mapping[str, Any]) -> str:
    return str(message.get("role") or "")


def _message(role: str, message: Mapping[str, Any]) -> bytes:
    content = message.get("content")
    texts = [_text(part) for part in content] if isinstance(content, list | tuple) else [_text(content)]
    calls = message.get("tool_calls")
    return b"\n".join([role.encode("utf-8", "replace"), *texts, *([_dumped(calls)] if calls else []), b""])


def _text(part: Any) -> bytes:
    if isinstance(part, Mapping) and isinstance(part.get("text"), str):
        part = part["text"]
    if isinstance(part, str):
        return part.encode("utf-8", "surrogatepass")
    return b"" if part is None else _dumped(part)


def _dumped(value: Any) -> bytes:
    try:
        return orjson.dumps(value, default=dict)
    except orjson.JSONEncodeError:
        return repr(value).encode("utf-8", "replace")
