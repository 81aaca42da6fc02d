"""What a failure before the first delta allows. Pure.

the same backend again   it surely did not take the request, and may take it in a moment
elsewhere                another replica, then another model: everything that is not the caller's own fault
a mark against it        what a circuit breaker counts: it is broken. One that is merely busy is not
"""

from backends.errors import (
    BackendBusy,
    BackendError,
    BackendNotReady,
    BackendTimeout,
    BackendUnavailable,
    RequestRejected,
)
from backends.routing.gate import QueueFull

TOO_MANY = 429


def is_busy(error: BackendError) -> bool:
    """Whether it works, and has too much to do."""
    return isinstance(error, BackendBusy) or (isinstance(error, RequestRejected) and error.status == TOO_MANY)


def may_repeat(error: BackendError, max_wait_s: float) -> bool:
    """Whether the same backend may be asked once more, within a wait of `max_wait_s`."""
    if isinstance(error, QueueFull):
        return False
    if is_busy(error):
        return error.retry_after_s is not None and error.retry_after_s <= max_wait_s
    return isinstance(error, BackendUnavailable) and error.retryable


def may_go_elsewhere(error: BackendError) -> bool:
    """Whether somebody else may be asked instead."""
    return not isinstance(error, RequestRejected) or is_busy(error)


def is_mark(error: BackendError) -> bool:
    """Whether it speaks against the backend."""
    return may_go_elsewhere(error) and not is_busy(error) and not isinstance(error, BackendNotReady)


def has_lost_memory(error: BackendError) -> bool:
    """Whether the backend may have restarted, and what it kept of prefixes be gone."""
    return isinstance(error, BackendUnavailable) and not isinstance(error, BackendNotReady)


def word(error: BackendError) -> str:
    """A failure as a label of a metric."""
    if is_busy(error):
        return "busy"
    if isinstance(error, BackendTimeout):
        return "timeout"
    if isinstance(error, BackendNotReady):
        return "not_ready"
    if isinstance(error, BackendUnavailable):
        return "unavailable"
    return "rejected" if isinstance(error, RequestRejected) else "error"
