"""Numbers of streamed tool calls. Some servers (Gemini's among them) give every call of an answer the number 0."""

from collections.abc import Iterator, Sequence
from typing import Any


class CallNumbers:
    """Of one choice: a call that begins where another began gets a number of its own."""

    __slots__ = ("_calls", "_last", "_taken")

    def __init__(self) -> None:
        self._calls: dict[int, tuple[int, str | None]] = {}  # the server's number -> ours, and the id it began with
        self._taken: set[int] = set()  # of ours
        self._last = -1  # of ours, the highest

    def renumbered(self, pieces: Sequence[Any]) -> list[Any]:
        """The pieces, each with the number of its call; one without a number keeps none."""
        return list(self._renumbered(pieces))

    def _renumbered(self, pieces: Sequence[Any]) -> Iterator[Any]:
        for piece in pieces:
            theirs, call_id = piece.get("index"), piece.get("id") or None
            if theirs is None:
                yield piece
                continue
            known = self._calls.get(theirs)
            if known is None or (call_id not in (None, known[1]) and _names_a_function(piece)):
                known = self._calls[theirs] = (self._next(theirs), call_id)
            yield piece if known[0] == theirs else {**piece, "index": known[0]}

    def _next(self, wanted: int) -> int:
        number = self._last + 1 if wanted in self._taken else wanted
        self._taken.add(number)
        self._last = max(self._last, number)
        return number


def _names_a_function(piece: Any) -> bool:
    function = piece.get("function")
    return isinstance(function, dict) and bool(function.get("name"))
