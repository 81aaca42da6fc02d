"""From token ids to text that may be shown: whole characters, and never a part of a stop string."""

from collections.abc import Callable, Mapping, Sequence

HALF_CHARACTER = "\ufffd"  # what a decoder makes of bytes that are no character yet
LONGEST_WAIT = 32  # tokens; longer runs without a whole character are not text, and are shown as they are


class Detokeniser:
    """Turns tokens into text as they come, at a cost per token that does not grow with the text.

    A token's text depends on the tokens before it (spaces, bytes of one character), so a short window is decoded with
    and without the new tokens, and the difference is the new text (the scheme of text-generation-inference):

        # ids    ... prefix ........ read ........ end
        #            |  shown, context  |  not shown yet  |
    """

    def __init__(self, decode: Callable[[Sequence[int]], str], markers: Mapping[int, str] | None = None) -> None:
        """`markers` are special tokens that `decode` leaves out, and that are text here."""
        self._decode = decode
        self._markers = markers or {}
        self._window: list[int] = []
        self._read = 0  # how many ids of the window are shown

    def push(self, token_id: int) -> str:
        """The text this token completes; empty inside a character."""
        if token_id in self._markers:
            text = self.flush() + self._markers[token_id]
            self._window, self._read = [], 0
            return text
        self._window.append(token_id)
        text = self._new_text()
        is_whole = text and not text.endswith(HALF_CHARACTER)
        if not is_whole and len(self._window) - self._read < LONGEST_WAIT:
            return ""
        self._window = self._window[self._read :]
        self._read = len(self._window)
        return text

    def push_all(self, token_ids: Sequence[int]) -> str:
        """The text these tokens complete, decoded at once where they end with a character."""
        if self._markers.keys().isdisjoint(token_ids):
            window, read = self._window, self._read
            self._window = [*window, *token_ids]
            text = self._new_text()
            if text and not text.endswith(HALF_CHARACTER):
                self._window = self._window[read:]
                self._read = len(self._window)
                return text
            self._window = window
        return "".join(map(self.push, token_ids))

    def flush(self) -> str:
        """What is left at the end, broken characters and all."""
        text = self._new_text()
        self._read = len(self._window)
        return text

    def _new_text(self) -> str:
        return self._decode(self._window)[len(self._decode(self._window[: self._read])) :]


class StopMatcher:
    """Finds the first stop string, however the text is cut, and holds back what may become one."""

    def __init__(self, stops: Sequence[str]) -> None:
        self.is_stopped = False
        self.found = ""  # the stop string that was complete first
        self._stops = stops
        self._held = ""

    def push(self, text: str) -> str:
        """The text that may be shown now. Once a stop string is complete, `is_stopped`, and nothing follows."""
        if self.is_stopped:
            return ""
        held = self._held + text
        found = [(at + len(stop), at) for stop in self._stops if (at := held.find(stop)) >= 0]
        if found:
            end, start = min(found)  # the one complete first, wherever the text was cut
            self.is_stopped, self.found = True, held[start:end]
            self._held = ""
            return held[:start]
        size = beginning_at_end(held, self._stops)
        self._held = held[len(held) - size :]
        return held[: len(held) - size]

    def flush(self) -> str:
        """What was held back, when no more text comes."""
        held, self._held = self._held, ""
        return held


def beginning_at_end(text: str, wanted: Sequence[str]) -> int:
    """Length of the longest end of `text` that one of the `wanted` texts begins with, short of all of it."""
    longest = max(map(len, wanted), default=0) - 1
    for size in range(min(longest, len(text)), 0, -1):
        if any(each.startswith(text[-size:]) for each in wanted):
            return size
    return 0
