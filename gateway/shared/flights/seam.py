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
        self._said: dict[int, str] = {}  # text by choice
        self._due: dict[int, str] = {}  # what a new generation still has to repeat of it
        self._is_plain = True  # nothing but text was passed on

    @property
    def is_fresh(self) -> bool:
        """Whether nothing was passed on yet."""
        return not self._said and self._is_plain

    def again(self) -> None:
        """A new generation begins. Raises `Parted` where text is not all that was said."""
        if not self._is_plain:
            raise Parted
        self._due = dict(self._said)

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
            self._said[delta.index] = self._said.get(delta.index, "") + delta.text

    def _fitted(self, delta: Delta) -> Delta | None:
        due = self._due.get(delta.index)
        if due is None:
            self._note(delta)
            return delta
        if delta.finish_reason is not None and len(delta.text) < len(due):
            raise Parted
        text = delta.text
        if not (due.startswith(text) or text.startswith(due)):
            raise Parted
        if len(text) < len(due):
            self._due[delta.index] = due[len(text) :]
            return None
        del self._due[delta.index]
        fields = {key: value for key, value in delta.fields.items() if key != "role"}
        rest = replace(delta, fields={**fields, "content": text[len(due) :]})
        self._note(rest)
        return rest
