"""What was made of a text lately, by its text; what was made of it elsewhere can be put back. Any thread may ask."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Known(Generic[T]):
    """A memo of up to `most` texts; the one that came first goes first."""

    def __init__(self, make: Callable[[str], T], most: int) -> None:
        self._make = make
        self._most = most
        self._made: dict[str, T] = {}
        self._lock = threading.Lock()

    def __contains__(self, text: str) -> bool:
        return text in self._made

    def of(self, text: str) -> T:
        """What is made of `text`."""
        found = self._made.get(text)
        return self.put(text, self._make(text)) if found is None else found

    def put(self, text: str, value: T) -> T:
        """Know `value` to be what is made of `text`."""
        with self._lock:
            self._made[text] = value
            if len(self._made) > self._most:
                del self._made[next(iter(self._made))]
        return value
