"""Anthropic's error shape. Pure."""

from backends.chat import Fields

_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    529: "overloaded_error",
}


def error_of(status: int, body: Fields) -> Fields:
    """OpenAI's error body as Anthropic's. Clients go by the status, and so does the kind; the text names the field."""
    error = body.get("error") or {}
    kind = _KINDS.get(status, "invalid_request_error" if 400 <= status < 500 else "api_error")
    if status == 504 and error.get("code") != "not_cached":
        kind = "timeout_error"
    return {"type": "error", "error": {"type": kind, "message": str(error.get("message") or "The request failed.")}}
