"""Work that lets others go on between its steps: a generator that yields there, and returns what it came to."""

from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")


def finished(work: Generator[None, None, T]) -> T:
    """What it comes to, without a pause."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            done: T = end.value
            return done
