"""Everything a caller can be told went wrong, and its one shape on the wire: OpenAI's."""

from collections.abc import Sequence
from math import ceil
from typing import Any

from backends.errors import BackendBusy, BackendError, RequestRejected


class GatewayError(Exception):
    """The gateway refuses or fails a request. `status`, `kind` and `code` are part of the public contract."""

    status = 500
    kind = "server_error"
    code: str | None = None
    headers: Sequence[tuple[bytes, bytes]] = ()  # what is told beside it

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


class InvalidRequest(GatewayError):
    """The request cannot be understood; `param` names the field."""

    status, kind, code = 400, "invalid_request_error", "invalid_request"


class BodyTooLarge(GatewayError):
    status, kind, code = 413, "invalid_request_error", "body_too_large"


class HeadTooLarge(GatewayError):
    """Headers, or the address, are longer than anybody needs."""

    status, kind, code = 431, "invalid_request_error", "headers_too_large"

    def __init__(self, message: str, *, status: int = 431) -> None:
        super().__init__(message)
        self.status = status


class TooSlow(GatewayError):
    """A request did not come in within its time."""

    status, kind, code = 408, "invalid_request_error", "request_timeout"


class Overloaded(GatewayError):
    """There is more to do than the server can hold: it says so before its memory ends."""

    status, kind, code = 503, "server_error", "overloaded"

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class NotCached(GatewayError):
    """`only-if-cached` was asked and nothing is stored (RFC 9111: 504)."""

    status, kind, code = 504, "invalid_request_error", "not_cached"


class Stopping(GatewayError):
    """The server was told to stop, and what it still does is at its end."""

    status, kind, code = 503, "server_error", "stopping"


class ModelNotFound(GatewayError):
    """No local model has this name."""

    status, kind, code = 404, "invalid_request_error", "model_not_found"


class BackendNotFound(GatewayError):
    """No backend has this name."""

    status, kind, code = 404, "invalid_request_error", "backend_not_found"


class ModelConflict(GatewayError):
    """A local model has this name already."""

    status, kind, code = 409, "invalid_request_error", "model_exists"


class PricesChanged(GatewayError):
    """The price list is not the one that was to be replaced: somebody else has changed it since."""

    status, kind, code = 409, "invalid_request_error", "prices_changed"


class UnknownId(GatewayError):
    """No response or entry of this id is known to whoever asks; it may be another's."""

    status, kind, code = 404, "invalid_request_error", "not_found"


class TooManyReaders(GatewayError):
    """As many follow the live feed as may."""

    status, kind, code = 503, "server_error", "too_many_readers"


class UnknownResponse(GatewayError):
    """The response that is to be continued is not known to whoever asks; OpenAI's own words and status."""

    status, kind, code = 400, "invalid_request_error", "previous_response_not_found"

    def __init__(self, response_id: str) -> None:
        super().__init__(
            f"Previous response with id {response_id!r} not found: this gateway keeps what was said to a response in "
            "memory, for a while. Send the conversation as input.",
            "previous_response_id",
        )


class StoreAway(GatewayError):
    """The store of answers cannot be asked just now, and this request is about nothing else."""

    status, kind, code = 503, "server_error", "store_unavailable"


class NotAdmin(GatewayError):
    """The admin API wants a key, and this is not it."""

    status, kind, code = 401, "authentication_error", "invalid_admin_key"


class NotAuthorised(GatewayError):
    """The caller's key is unknown, revoked or over, or one is needed."""

    status, kind, code = 401, "invalid_request_error", "invalid_api_key"


class IssuerAway(GatewayError):
    """No token can be checked: the identity provider has not said by which keys yet."""

    status, kind, code = 503, "server_error", "identity_provider_unavailable"

    def __init__(self, retry_after_s: float) -> None:
        super().__init__("The identity provider cannot be reached, so no token can be checked just now.")
        self.retry_after_s = retry_after_s


class ScopeLacking(GatewayError):
    """The caller is known, and may not do this."""

    status, kind, code = 403, "permission_error", "scope_lacking"

    def __init__(self, scope: str) -> None:
        super().__init__(f"This credential lacks the scope {scope!r}.")
        self.scope = scope


class AdminRefused(GatewayError):
    """The admin API is closed to everybody, or to who asks this way."""

    status, kind, code = 403, "permission_error", "admin_refused"


class StrangePage(GatewayError):
    """A browser's page of a name that is not ours came to a server that asks for no key."""

    status, kind, code = 403, "permission_error", "foreign_page"

    def __init__(self) -> None:
        super().__init__(
            "This server asks for no key, and answers pages under the names of this machine only; an operator may"
            " name others in `hosts`."
        )


class TooManyAttempts(GatewayError):
    """Wrong admin keys came from this address; it may try again after `retry_after_s`."""

    status, kind, code = 429, "rate_limit_error", "too_many_attempts"

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class PutRefused(GatewayError):
    """Whoever cannot be told from everybody else puts no answers that everybody else would get."""

    status, kind, code = 403, "permission_error", "put_refused"


class ModelNotAllowed(GatewayError):
    """The policy of whoever asks has no such model, whether it exists or not."""

    status, kind, code = 403, "permission_error", "model_not_allowed"

    def __init__(self, model: str) -> None:
        super().__init__(f"This key may not ask model {model!r}; GET /v1/models lists those that it may.", "model")


class PolicyUnreadable(GatewayError):
    """What was said of whoever asks is kept and cannot be read, so nobody knows what it may."""

    status, kind, code = 403, "permission_error", "policy_unreadable"

    def __init__(self) -> None:
        super().__init__(
            "The policy of this tenant cannot be read, so it may do nothing until an administrator writes another one "
            "(PUT /admin/api/tenants/TENANT) or takes it back (DELETE)."
        )


class ControlNotAllowed(GatewayError):
    """A control of the cache that the policy of whoever asks does not allow."""

    status, kind, code = 403, "permission_error", "control_not_allowed"

    def __init__(self, control: str) -> None:
        super().__init__(f"This key may not use the cache control {control}.", control)


class RateLimited(GatewayError):
    """A limit by the minute, or on requests under way; it goes on after `retry_after_s`."""

    status, kind, code = 429, "rate_limit_error", "rate_limit_exceeded"

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class BudgetSpent(RateLimited):
    """A budget of a day or a month. To try again soon is of no use, and official clients are told not to."""

    kind, code = "insufficient_quota", "insufficient_quota"


class NotJson(GatewayError):
    """JSON only, by its content type: what a form of another site can send is refused."""

    status, kind, code = 415, "invalid_request_error", "unsupported_media_type"


def describe(error: GatewayError | BackendError) -> tuple[int, dict[str, Any]]:
    """HTTP status and OpenAI's error body."""
    if isinstance(error, RequestRejected):
        own = {"message": error.message, "type": _kind(error.status), "param": error.param, "code": error.code}
        return error.status, {"error": {**own, **(error.error or {}), "message": error.message}}  # a text, always
    if isinstance(error, BackendError):
        return error.status, error_body(error.message, _kind(error.status), None, error.code)
    return error.status, error_body(error.message, error.kind, error.param, error.code)


def retry_headers(error: GatewayError | BackendError) -> list[tuple[bytes, bytes]]:
    """When to try again, where that is known, or with what. Official clients try a 504 again unasked: in vain here."""
    if isinstance(error, NotCached):
        return [(b"x-should-retry", b"false")]
    if isinstance(error, BodyTooLarge):
        return [(b"connection", b"close")]  # what was not read of it is not waited for
    if isinstance(error, NotAuthorised | NotAdmin):
        return [(b"www-authenticate", b"Bearer")]  # with what to come again; a browser asks nobody for it
    retry_after_s = getattr(error, "retry_after_s", None)
    if retry_after_s is None and (error.status == 429 or isinstance(error, BackendBusy)):
        retry_after_s = 1.0  # its server did not say when, or nothing that is a time
    found = [] if retry_after_s is None else [(b"retry-after", str(max(1, ceil(retry_after_s))).encode("ascii"))]
    return [*found, (b"x-should-retry", b"false")] if isinstance(error, BudgetSpent) else found


def error_body(message: str, kind: str, param: str | None, code: str | None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _kind(status: int) -> str:
    if status == 429:
        return "rate_limit_error"
    return "invalid_request_error" if 400 <= status < 500 else "server_error"
