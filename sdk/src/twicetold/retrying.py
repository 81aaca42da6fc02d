"""When is a call sent once more, and after how long? Pure: a failure in, seconds or None out.

Only what was refused, or never answered, is sent again: once the first byte of an answer is there, nothing is.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from twicetold.errors import (
    APIConnectionError,
    APIStatusError,
    NotCachedError,
    NotSentError,
    TwicetoldError,
    retry_after_s,
)
from twicetold.sending import Sent

_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
_NEVER_DONE = frozenset({429, 503})  # refused before anything was done: even what must not be done twice may be sent


@dataclass(frozen=True, slots=True)
class Retries:
    """How often, and how patiently."""

    most: int = 2  # sends after the first
    first_s: float = 0.5
    longest_s: float = 8.0  # of our own pauses
    most_patient_s: float = 60.0  # of a pause the server asks for; who asks for more is not waited for
    jitter: Callable[[], float] = random.random

    def __post_init__(self) -> None:
        if self.most < 0:
            raise ValueError(f"retries: 0 or more are wanted, not {self.most}")

    def wait_s(self, error: TwicetoldError, sent: int, *, is_repeatable: bool) -> float | None:
        """Seconds until the next send after `sent` of them, or None: give up."""
        if sent > self.most or not _may_pass(error, is_repeatable=is_repeatable):
            return None
        asked_s = retry_after_s(error.headers) if isinstance(error, APIStatusError) else None
        if asked_s is not None:
            return asked_s if asked_s <= self.most_patient_s else None
        pause_s: float = min(self.longest_s, self.first_s * 2 ** (sent - 1))
        return pause_s * (0.5 + self.jitter() / 2)  # those who failed together do not come back together


class Attempts:
    """The sends of one call."""

    def __init__(self, retries: Retries, sent: Sent) -> None:
        self._retries = retries
        self._is_repeatable = sent.is_repeatable
        self._sent = 0

    def wait_s(self, error: TwicetoldError, cause: Exception | None = None) -> float:
        """Seconds until the next send, after one that failed. Raises `error` when there is to be none."""
        self._sent += 1
        pause_s = self._retries.wait_s(error, self._sent, is_repeatable=self._is_repeatable)
        if pause_s is None:
            raise error from cause
        return pause_s


def _may_pass(error: TwicetoldError, *, is_repeatable: bool) -> bool:
    if isinstance(error, NotSentError):
        return True
    if isinstance(error, APIConnectionError):
        return is_repeatable
    if not isinstance(error, APIStatusError) or isinstance(error, NotCachedError):
        return False
    return error.status in (_STATUSES if is_repeatable else _NEVER_DONE)
