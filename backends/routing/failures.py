"""What a failure before the first delta allows. Pure.

the same backend again   it surely did not take the request, and may take it in a moment
elsewhere                another replica, then another model: everything that is not the caller's own fault
a mark against it        what a circuit breaker counts: it is broken. One that is merely busy is not
a certain mark           it did not even take the request, so it cannot have been for what was asked
a model it lacks         says nothing of its other models, and nothing of the caller
"""

from backends.errors import (
    BackendBusy,
    BackendError,
    BackendNotReady,
    BackendTimeout,
    BackendUnavailable,
    RequestRejected,
    UpstreamBilling,
)
from backends.routing.gate import QueueFull

TOO_MANY = 429
NOT_FOUND = 404


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
    return not isinstance(error, RequestRejected) or is_busy(error) or lacks_model(error)


def lacks_model(error: BackendError) -> bool:
    """Whether the server has not got the model that it was asked for."""
    if not isinstance(error, RequestRejected):
        return False
    return error.code == "model_not_found" or (error.status == NOT_FOUND and error.param in (None, "model"))


def is_mark(error: BackendError) -> bool:
    """Whether it speaks against the backend."""
    return not isinstance(error, RequestRejected | BackendNotReady) and not is_busy(error)


def is_certain(error: BackendError) -> bool:
    """Whether this mark was made whatever the request was."""
    return isinstance(error, BackendUnavailable) and error.retryable


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
    if isinstance(error, UpstreamBilling):
        return "billing"
    if lacks_model(error):
        return "no_model"
    if isinstance(error, BackendUnavailable):
        return "unavailable"
    return "rejected" if isinstance(error, RequestRejected) else "error"
