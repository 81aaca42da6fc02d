"""Everything that can go wrong, by what a caller would do about it. The server's own words are kept."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any


class TwicetoldError(Exception):
    """Any failure of this package."""


class APIConnectionError(TwicetoldError):
    """The server could not be reached, or the connection broke before the answer began."""


class NotSentError(APIConnectionError):
    """No connection could be made, so nothing was sent."""


class APITimeoutError(APIConnectionError):
    """The server took too long."""


class StreamError(TwicetoldError):
    """An answer broke off in its middle, or its server said that it failed. What came before it was good."""


class UnreadableError(TwicetoldError):
    """The server said something that is not what was asked for; it may be another server."""


class APIStatusError(TwicetoldError):
    """The server refused or failed a request, and said so."""

    def __init__(
        self,
        message: str,
        *,
        status: int,
        kind: str | None = None,
        code: str | None = None,
        param: str | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        field = f" (field {param})" if param else ""
        super().__init__(f"{status} {code or kind or 'error'}: {message}{field}")
        self.message = message  # the server's words
        self.status = status
        self.kind = kind  # `type` of OpenAI's error object
        self.code = code
        self.param = param  # the field that is wrong, as the server spells it
        self.body = body
        self.headers = dict(headers or {})

    @property
    def request_id(self) -> str | None:
        return self.headers.get("x-request-id")


class BadRequestError(APIStatusError):
    """400: the request cannot be understood; `param` names the field."""


class AuthenticationError(APIStatusError):
    """401: the key is missing, unknown, expired or revoked."""


class PermissionDeniedError(APIStatusError):
    """403: not for this key, or the admin API is closed."""


class NotFoundError(APIStatusError):
    """404: no such model, entry or response."""


class ConflictError(APIStatusError):
    """409."""


class RequestTooLargeError(APIStatusError):
    """413: the body is over the server's limit."""


class UnprocessableError(APIStatusError):
    """422."""


class RateLimitError(APIStatusError):
    """429."""


class ServerError(APIStatusError):
    """5xx: the gateway or its backend failed."""


class UnavailableError(ServerError):
    """503: not now; the server is starting, stopping, or its queue is full."""


class UpstreamTimeoutError(ServerError):
    """504: the backend took too long."""


class NotCachedError(APIStatusError):
    """Nothing stored answers this, and `only_if_cached` was asked."""


_BY_STATUS: Mapping[int, type[APIStatusError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    413: RequestTooLargeError,
    422: UnprocessableError,
    429: RateLimitError,
    503: UnavailableError,
    504: UpstreamTimeoutError,
}


def error_of(status: int, headers: Mapping[str, str], content: bytes) -> APIStatusError:
    """What a reply that is no success means: OpenAI's error shape, Anthropic's, or any other server's words."""
    body = _json(content)
    said = body.get("error") if isinstance(body, Mapping) else None
    fields: Mapping[str, Any] = said if isinstance(said, Mapping) else {}
    message = _text(fields.get("message")) or _text(said) or content.decode("utf-8", "replace").strip()[:500]
    code = _text(fields.get("code"))
    fallback = ServerError if status >= 500 else APIStatusError
    kind = NotCachedError if code == "not_cached" else _BY_STATUS.get(status, fallback)
    return kind(
        message or "no reason was given",
        status=status,
        kind=_text(fields.get("type")),
        code=code,
        param=_text(fields.get("param")),
        body=body,
        headers={name.lower(): value for name, value in headers.items()},
    )


def retry_after_s(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """What the server asks us to wait: `retry-after-ms`, or `Retry-After` in seconds or as a date."""
    for name, per_second in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            return max(0.0, float(headers[name]) / per_second)
        except (KeyError, ValueError):
            continue
    try:
        moment = parsedate_to_datetime(headers["retry-after"])
    except (KeyError, ValueError):
        return None
    moment = moment.replace(tzinfo=moment.tzinfo or UTC)
    return max(0.0, (moment - (now or datetime.now(UTC))).total_seconds())


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
