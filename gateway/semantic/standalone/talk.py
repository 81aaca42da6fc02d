"""A conversation read from its canonical request. Pure."""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Literal

import orjson

Topics = tuple[tuple[str, ...], ...]  # turn by turn

MAX_BYTES = 64 * 1024  # of a request that is read again
MAX_TURNS = 64
_RULERS = ("system", "developer")


@dataclass(frozen=True, slots=True)
class Turn:
    """One message."""

    role: Literal["user", "assistant"]
    text: str


@dataclass(frozen=True, slots=True)
class Talk:
    """A conversation whose last turn is a user's, and in which all is text."""

    setting: bytes  # everything that has to agree: the request without the words of its turns
    history: tuple[Turn, ...]  # at least one
    last: str

    def key(self, scope: bytes, topics: Topics) -> bytes:
        """What has to agree, as 32 bytes; `scope` is a digest under the server's secret."""
        agreed = orjson.dumps([self.setting.decode(), topics])
        return blake2b(agreed, key=scope[:64], digest_size=32, person=b"talk").digest()

    @property
    def asked(self) -> tuple[str, ...]:
        """What the user said before."""
        return tuple(turn.text for turn in self.history if turn.role == "user")

    @property
    def said(self) -> tuple[str, ...]:
        """What the assistant said."""
        return tuple(turn.text for turn in self.history if turn.role == "assistant")

    @property
    def digest(self) -> bytes:
        """Names the very words."""
        said = [self.setting.decode(), *([turn.role, turn.text] for turn in self.history), self.last]
        return blake2b(orjson.dumps(said), digest_size=16).digest()


def talk_of(canonical: bytes) -> Talk | None:
    """The conversation of a canonical request; None where it is none, or more than turns of text and rules before them:
    tools, pictures, names, rules in the middle."""
    if len(canonical) > MAX_BYTES:
        return None
    body = orjson.loads(canonical)
    messages: list[dict[str, Any]] = body["messages"]
    rules = [message for message in messages if message.get("role") in _RULERS]
    turns = [_turn(message) for message in messages[len(rules) :]]
    if messages[: len(rules)] != rules or not 2 <= len(turns) <= MAX_TURNS:
        return None
    *history, last = [turn for turn in turns if turn is not None]
    if len(history) + 1 != len(turns) or last.role != "user" or not last.text:
        return None
    setting = orjson.dumps({**body, "messages": [*rules, {"history": True}]}, option=orjson.OPT_SORT_KEYS)
    return Talk(setting, tuple(history), last.text)


def _turn(message: dict[str, Any]) -> Turn | None:
    role, content = message.get("role"), message.get("content")
    if role not in ("user", "assistant") or set(message) != {"role", "content"}:
        return None
    if isinstance(content, list):
        if any(set(part) != {"type", "text"} or not isinstance(part["text"], str) for part in content):
            return None
        content = "\n".join(part["text"] for part in content)
    return Turn(role, content.strip()) if isinstance(content, str) else None
