"""When a backend that fails is left alone, and when it is tried again. Pure: whoever asks says what time it is.

closed     everything goes there; so many failures in a row, or so large a share of the last ones, open it
open       nothing goes there until it has rested
half-open  one request at a time goes there: it closes the circuit, or opens it for twice as long
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Literal

State = Literal["closed", "open", "half_open"]


@dataclass(frozen=True, slots=True)
class BreakerRule:
    """When the circuit opens and for how long. `failures` = 0: never."""

    failures: int = 5  # in a row
    share: float = 0.5  # or failures among the last `window` requests, once there were so many
    window: int = 20
    open_s: float = 5.0
    max_open_s: float = 60.0


@dataclass(slots=True)
class Breaker:
    """The circuit of one backend. Times are seconds of one clock."""

    rule: BreakerRule
    times_opened: int = 0
    _in_a_row: int = 0
    _recent: deque[bool] = field(default_factory=deque)  # True: failed
    _open_until_s: float | None = None  # None: closed
    _rest_s: float = 0.0
    _is_probing: bool = False

    def state(self, now_s: float) -> State:
        if self._open_until_s is None:
            return "closed"
        return "open" if now_s < self._open_until_s else "half_open"

    def allows(self, now_s: float) -> bool:
        """Whether a request may go there now."""
        state = self.state(now_s)
        return state == "closed" or (state == "half_open" and not self._is_probing)

    def wait_s(self, now_s: float) -> float:
        """How long until one may be tried; 0 when it may now."""
        return 0.0 if self._open_until_s is None else max(0.0, self._open_until_s - now_s)

    def begin(self, now_s: float) -> bool:
        """Note that a request goes there. True: it is the probe of a half-open circuit, and owes `end`."""
        if self.state(now_s) != "half_open" or self._is_probing:
            return False
        self._is_probing = True
        return True

    def end(self, is_probe: bool) -> None:
        """The request is over, whatever came of it; one that was left by its caller says nothing."""
        if is_probe:
            self._is_probing = False

    def succeeded(self, is_probe: bool) -> None:
        """An answer has ended by itself. One that began before the circuit opened does not close it."""
        if self._open_until_s is not None and not is_probe:
            return
        self._open_until_s, self._rest_s, self._in_a_row = None, 0.0, 0
        self._note(False)

    def failed(self, now_s: float) -> None:
        """A failure that speaks against the backend."""
        if self.rule.failures == 0:
            return
        self._in_a_row += 1
        self._note(True)
        state = self.state(now_s)
        if state == "half_open" or (state == "closed" and self._has_enough):
            self._open(now_s)

    @property
    def _has_enough(self) -> bool:
        if self._in_a_row >= self.rule.failures:
            return True
        return len(self._recent) >= self.rule.window and sum(self._recent) >= self.rule.share * len(self._recent)

    def _note(self, has_failed: bool) -> None:
        self._recent.append(has_failed)
        if len(self._recent) > self.rule.window:
            self._recent.popleft()

    def _open(self, now_s: float) -> None:
        self._rest_s = min(self.rule.max_open_s, 2 * self._rest_s or self.rule.open_s)
        self._open_until_s = now_s + self._rest_s
        self.times_opened += 1
        self._in_a_row = 0
        self._recent.clear()
