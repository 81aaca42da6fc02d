"""Refuses calls for a while after a failure; one call is then let through to see whether the server is back."""

import time
from collections.abc import Callable

SHORTEST_S, LONGEST_S = 0.25, 4.0


class Breaker:
    """Belongs to one event loop."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._break_s = SHORTEST_S
        self._open_until = 0.0
        self._broken_since: float | None = None
        self._is_trying = False

    @property
    def is_open(self) -> bool:
        """Whether the last thing heard was a failure."""
        return self._broken_since is not None

    @property
    def away_s(self) -> float:
        """For how long nothing has succeeded; 0 while all is well."""
        return 0.0 if self._broken_since is None else self._now() - self._broken_since

    def may_pass(self) -> bool:
        """Whether to try at all: always while all is well, else one at a time and not too often."""
        if self._broken_since is None:
            return True
        if self._is_trying or self._now() < self._open_until:
            return False
        self._is_trying = True
        return True

    def fail(self) -> None:
        now = self._now()
        if self._broken_since is None:
            self._broken_since, self._break_s = now, SHORTEST_S
        elif now >= self._open_until:
            self._break_s = min(2 * self._break_s, LONGEST_S)
        self._open_until = max(self._open_until, now + self._break_s)
        self._is_trying = False

    def succeed(self) -> None:
        self._broken_since, self._open_until, self._is_trying = None, 0.0, False

    def give_up(self) -> None:
        """Whoever tried went away before anything was heard."""
        self._is_trying = False
