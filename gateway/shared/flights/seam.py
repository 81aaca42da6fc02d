"""Where an answer that broke off is continued by a generation of its own. Pure.

A caller that has read a part of an answer can be given the rest only from a generation that said the same so far, as
a model at temperature 0 does. So the new one is compared with what was passed on: what agrees is swallowed, what goes
further is passed on, and where they part there is nothing to do but to say that the answer was cut off.
"""

from dataclasses import replace

from backends.chat import Delta
from backends.errors import BackendGarbage

PLAIN = frozenset({"role", "content"})


class Parted(BackendGarbage):
    """The new generation says something else than what was passed on already."""

    def __init__(self) -> None:
        super().__init__("The gateway that generated this answer went away in the middle of it.")


class Seam:
    """What was passed on of one answer."""

    def __init__(self) -> None:
        self._said: dict[int, list[str]] = {}  # by choice, a text in pieces
        self._due: dict[int, tuple[str, int]] = {}  # what a new generation has to repeat, and how much of it it has
        self._is_plain = True  # nothing but text was passed on

    @property
    def is_fresh(self) -> bool:
        """Whether nothing was passed on yet."""
        return not self._said and self._is_plain

    def again(self) -> None:
        """A new generation begins. Raises `Parted` where text is not all that was said."""
        if not self._is_plain:
            raise Parted
        self._said = {index: ["".join(pieces)] for index, pieces in self._said.items()}
        self._due = {index: (text, 0) for index, (text,) in self._said.items()}

    def fit(self, delta: Delta) -> Delta | None:
        """What of a delta is new. Raises `Parted`."""
        if self._due:
            return self._fitted(delta)
        self._note(delta)
        return delta

    def _note(self, delta: Delta) -> None:
        is_text = not delta.fields.keys() - PLAIN and delta.logprobs is None and delta.finish_reason is None
        self._is_plain = self._is_plain and is_text
        if delta.fields:
            self._said.setdefault(delta.index, []).append(delta.text)

    def _fitted(self, delta: Delta) -> Delta | None:
        if delta.index not in self._due:
            self._note(delta)
            return delta
        due, begin = self._due[delta.index]
        text, num_due = delta.text, len(due) - begin
        if delta.finish_reason is not None and len(text) < num_due:
            raise Parted
        if not due.startswith(text[:num_due], begin):
            raise Parted
        if len(text) < num_due:
            self._due[delta.index] = (due, begin + len(text))
            return None
        del self._due[delta.index]
        fields = {key: value for key, value in delta.fields.items() if key != "role"}
        rest = replace(delta, fields={**fields, "content": text[num_due:]})
        self._note(rest)
        return rest
