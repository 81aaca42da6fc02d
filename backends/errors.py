"""What can go wrong behind the gateway, said once. Each library's own exceptions are mapped where they appear."""

from collections.abc import Mapping
from typing import Any


class BackendError(Exception):
    """A backend could not give an answer. `status` and `code` are what the caller should see.

    `retryable` says whether asking again, or elsewhere, may help; it is only acted on before the first delta.
    """

    status = 502
    code = "backend_error"
    retryable = False

    def __init__(self, message: str, *, retryable: bool | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_s = retry_after_s
        if retryable is not None:
            self.retryable = retryable


class BackendUnavailable(BackendError):
    """Nobody answers: refused, unreachable, the engine process is down."""

    status, code, retryable = 502, "backend_unavailable", True


class BackendNotReady(BackendUnavailable):
    """It is there and does not answer now, however soon it is asked again: loading, or being unloaded."""

    status, code, retryable = 503, "backend_not_ready", False


class BackendTimeout(BackendError):
    """It answers too slowly: connect, first token, or between tokens."""

    status, code, retryable = 504, "backend_timeout", True


class BackendGarbage(BackendError):
    """It answers, but not with a chat completion; or it was cut off in the middle."""

    status, code, retryable = 502, "backend_bad_response", False


class UpstreamAuth(BackendError):
    """The upstream refuses the operator's key. Its words stay here: they may quote the key."""

    status, code, retryable = 502, "upstream_auth", False


class UpstreamBilling(BackendError):
    """The account of the operator there has no credit left, or its quota is used up."""

    status, code, retryable = 502, "upstream_billing", False


class BackendBusy(BackendError):
    """The backend's queue is full."""

    status, code, retryable = 503, "backend_overloaded", True


class RequestRejected(BackendError):
    """The backend refuses this very request (4xx): the caller's fault, passed on as the backend said it."""

    status, code = 400, "invalid_request"

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        status: int = 400,
        error: Mapping[str, Any] | None = None,  # the backend's own error object, passed on as it came
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, retryable=status == 429, retry_after_s=retry_after_s)
        self.param = param
        self.status = status
        self.error = error
        if code is not None:
            self.code = code
