"""Everything a caller can be told went wrong, and its one shape on the wire: OpenAI's."""

from typing import Any

from backends.errors import BackendError, RequestRejected


class GatewayError(Exception):
    """The gateway refuses or fails a request. `status`, `kind` and `code` are part of the public contract."""

    status = 500
    kind = "server_error"
    code: str | None = None

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


class InvalidRequest(GatewayError):
    """The request cannot be understood; `param` names the field."""

    status, kind, code = 400, "invalid_request_error", "invalid_request"


class BodyTooLarge(GatewayError):
    status, kind, code = 413, "invalid_request_error", "body_too_large"


class NotCached(GatewayError):
    """`only-if-cached` was asked and nothing is stored (RFC 9111: 504)."""

    status, kind, code = 504, "invalid_request_error", "not_cached"


def describe(error: GatewayError | BackendError) -> tuple[int, dict[str, Any]]:
    """HTTP status and OpenAI's error body."""
    if isinstance(error, RequestRejected):
        own = {"message": error.message, "type": _kind(error.status), "param": error.param, "code": error.code}
        return error.status, {"error": {**own, **(error.error or {})}}
    if isinstance(error, BackendError):
        return error.status, error_body(error.message, _kind(error.status), None, error.code)
    return error.status, error_body(error.message, error.kind, error.param, error.code)


def error_body(message: str, kind: str, param: str | None, code: str | None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _kind(status: int) -> str:
    if status == 429:
        return "rate_limit_error"
    return "invalid_request_error" if 400 <= status < 500 else "server_error"
