"""From the text of an answer to parts of a message: what was thought, what is said, what is called."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from backends.chat import Fields
from backends.local.speech.text import beginning_at_end
from backends.local.speech.tools import SPACE, CallParser, Dialect

OPENING, CLOSING = "<think>", "</think>"


@dataclass(frozen=True, slots=True)
class Manner:
    """How one answer is to be read."""

    dialect: Dialect | None = None  # None: no call is looked for
    is_sure: bool = False  # a grammar sees to it that calls are sound
    thinks: bool = False  # an answer may begin with what was thought
    has_begun_thinking: bool = False  # the prompt ends inside of it
    markers: Mapping[int, str] = field(default_factory=dict)  # special tokens that count as text


PLAIN = Manner()


class Speech:
    """Reads one answer."""

    def __init__(self, manner: Manner) -> None:
        self._thoughts = ThoughtParser(has_begun=manner.has_begun_thinking) if manner.thinks else None
        self._calls = CallParser(manner.dialect, is_sure=manner.is_sure) if manner.dialect is not None else None

    @property
    def has_calls(self) -> bool:
        return self._calls is not None and self._calls.has_calls

    def push(self, text: str) -> list[Fields]:
        """The parts of the message that `text` completes."""
        if self._thoughts is None:
            return self._said(text)
        thought, said = self._thoughts.push(text)
        return [*_thought(thought), *self._said(said)]

    def flush(self) -> list[Fields]:
        """What was held back, when no more text comes."""
        parts: list[Fields] = []
        if self._thoughts is not None:
            thought, said = self._thoughts.flush()
            parts += [*_thought(thought), *self._said(said)]
        return parts + (self._calls.flush() if self._calls is not None else [])

    def _said(self, text: str) -> list[Fields]:
        if self._calls is not None:
            return self._calls.push(text)
        return [{"content": text}] if text else []


class ThoughtParser:
    """Cuts off what was thought: the text between the tags, if the answer begins with it."""

    def __init__(self, *, has_begun: bool) -> None:
        self._state = "thinks" if has_begun else "starts"
        self._has_thought = False
        self._held = ""

    def push(self, text: str) -> tuple[str, str]:
        """What is now known to be thought, and to be said."""
        thought = said = ""
        self._held += text
        if self._state == "starts":
            self._start()
        if self._state == "thinks":
            thought = self._think()
        if self._state == "begins":  # lines between the thought and what is said
            self._held = self._held.lstrip(SPACE)
            self._state = "says" if self._held else "begins"
        if self._state == "says":
            said, self._held = self._held, ""
        return thought, said

    def flush(self) -> tuple[str, str]:
        """What was held back, at the end."""
        held, self._held = self._held, ""
        return (held.rstrip(SPACE), "") if self._state == "thinks" else ("", held)

    def _start(self) -> None:
        begun = self._held.lstrip(SPACE)
        if begun.startswith(OPENING):
            self._held = begun[len(OPENING) :]
            self._state = "thinks"
        elif not OPENING.startswith(begun):
            self._state = "says"

    def _think(self) -> str:
        """The thought so far, without the white space around it."""
        thought, tag, said = self._held.partition(CLOSING)
        if not self._has_thought:
            thought = thought.lstrip(SPACE)
        if tag:
            self._held, self._state = said, "begins"
            return thought.rstrip(SPACE)
        told = thought[: len(thought) - beginning_at_end(thought, [CLOSING])].rstrip(SPACE)
        self._held = thought[len(told) :]
        self._has_thought = self._has_thought or bool(told)
        return told


def _thought(text: str) -> list[Fields]:
    return [{"reasoning_content": text}] if text else []
