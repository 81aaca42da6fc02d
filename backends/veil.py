"""Our own credentials taken out of what a server says of them: some repeat the key they were sent in their errors."""

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from backends.errors import BackendError, RequestRejected

MIN_CHARS = 6  # a shorter one is no secret, and stands in half of all words
VEIL = "***"

_SCHEMES = ("bearer", "basic", "digest")
_SECRET_HEADER = re.compile(r"auth|key|token|secret|password|cookie|credential|session|signature", re.IGNORECASE)


def secrets_of(url: str, api_key: str, headers: Mapping[str, str]) -> frozenset[str]:
    """What must not be repeated of what is configured: the key, a URL's password, values of headers named like one."""
    password = urlsplit(url.strip()).password or ""
    values = [value for name, value in headers.items() if _SECRET_HEADER.search(name)]
    parts = [part for value in values for part in re.split(r"[\s;,=]+", value) if part.lower() not in _SCHEMES]
    said = {api_key, password, unquote(password), *(value.strip() for value in values), *parts}
    return frozenset(secret for secret in said if len(secret) >= MIN_CHARS)


def veil(error: BackendError, secrets: Iterable[str]) -> None:
    """Take secrets out of everything an error says, in place: it may be on its way already."""
    longest_first = sorted(secrets, key=len, reverse=True)
    error.message = _veiled(error.message, longest_first)
    error.args = _veiled(error.args, longest_first)
    error.code = _veiled(error.code, longest_first)
    if isinstance(error, RequestRejected):
        error.param = _veiled(error.param, longest_first)
        error.error = _veiled(error.error, longest_first)


def _veiled(value: Any, secrets: list[str]) -> Any:
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, VEIL)
        return value
    if isinstance(value, Mapping):
        return {_veiled(key, secrets): _veiled(item, secrets) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_veiled(item, secrets) for item in value)
    return value
