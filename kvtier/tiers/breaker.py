"""A circuit breaker: after a failure nobody asks for a while, for asking costs a timeout."""

import threading
import time

SHORTEST_BREAK_S, LONGEST_BREAK_S = 0.5, 30.0


class Breaker:
    """Refuses calls for a while after a failure, and for twice as long after each one more."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._closed_at = 0.0
        self._break_s = SHORTEST_BREAK_S

    @property
    def is_open(self) -> bool:
        with self._lock:
            return time.monotonic() < self._closed_at

    def fail(self) -> None:
        with self._lock:
            self._closed_at = time.monotonic() + self._break_s
            self._break_s = min(2 * self._break_s, LONGEST_BREAK_S)

    def succeed(self) -> None:
        with self._lock:
            self._closed_at, self._break_s = 0.0, SHORTEST_BREAK_S
