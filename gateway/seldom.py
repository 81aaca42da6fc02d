"""Words about what fails at every request: said the first time, then once a minute at most, with a count."""

import logging
import time
from collections.abc import Callable

EVERY_S = 60.0
MOST_STEPS = 100  # names are few; more begin anew


class Seldom:
    """What was said of each step, and when."""

    def __init__(
        self, log: logging.Logger, every_s: float = EVERY_S, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._log = log
        self._every_s = every_s
        self._now = now
        self._said: dict[str, tuple[float, int]] = {}  # when a step was told of, and its failures since

    def warn(self, step: str, text: str, *args: object) -> None:
        """Warn, unless this step was told of a moment ago."""
        now_s, (said_s, silent) = self._now(), self._said.get(step, (float("-inf"), 0))
        if now_s - said_s < self._every_s:
            self._said[step] = said_s, silent + 1
            return
        if len(self._said) >= MOST_STEPS:
            self._said.clear()
        self._said[step] = now_s, 0
        more = f" (and {silent} times more since this was last said)" if silent else ""
        self._log.warning(text + "%s", *args, more)
