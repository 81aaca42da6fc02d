"""Where a client sends its calls, and how. Pure: a `Sent` becomes what httpx is asked for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from twicetold.controls import CacheOptions
from twicetold.errors import APIConnectionError, APITimeoutError, NotSentError, TwicetoldError
from twicetold.retrying import Retries
from twicetold.sending import Sent

DEFAULT_URL = "http://127.0.0.1:8420"
TIMEOUT_S = 600.0  # a long answer of a slow model
CONNECT_S = 5.0


@dataclass(frozen=True, slots=True)
class Config:
    """What all calls of a client share."""

    base_url: str = DEFAULT_URL
    api_key: str | None = field(default=None, repr=False)
    admin_key: str | None = field(default=None, repr=False)
    model: str | None = None
    timeout_s: float = TIMEOUT_S
    retries: Retries = field(default_factory=Retries)
    cache: CacheOptions = field(default_factory=lambda: CacheOptions())  # of every call that does not say otherwise
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        base_url: str,
        api_key: str | None,
        admin_key: str | None,
        model: str | None,
        timeout: float,
        retries: Retries | int,
        cache: CacheOptions | None,
        headers: Mapping[str, str] | None,
    ) -> "Config":
        """`base_url` with or without the /v1 that OpenAI's clients want."""
        root = _checked(base_url).rstrip("/").removesuffix("/v1")
        patience = Retries(most=retries) if isinstance(retries, int) else retries
        return cls(root, api_key, admin_key, model, timeout, patience, cache or CacheOptions(), headers or {})

    def model_of(self, model: str | None) -> str:
        chosen = model or self.model
        if chosen is None:
            raise TwicetoldError("name a model, in the call or in the client")
        return chosen

    def options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of a call over those of the client."""
        return {**self.cache, **options}

    def request(self, sent: Sent) -> dict[str, Any]:
        """The arguments of `httpx.Client.build_request`."""
        key = self.admin_key if sent.is_admin else self.api_key
        own = {"accept": "application/json, text/event-stream", "user-agent": "twicetold-python"}
        content = {"content-type": sent.kind} if sent.body is not None else {}
        credential = {"authorization": f"Bearer {key}"} if key else {}
        limit_s = self.timeout_s if sent.timeout_s is None else sent.timeout_s
        return {
            "method": sent.method,
            "url": self.base_url + sent.path,
            "content": sent.body,
            "params": list(sent.query) or None,
            "headers": {**own, **content, **credential, **self.headers, **sent.headers},
            "timeout": httpx.Timeout(limit_s, connect=min(CONNECT_S, limit_s)),
        }


def _checked(base_url: str) -> str:
    """Raises `ValueError`: who mistypes an address hears it here, and not as a connection that fails."""
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as error:
        raise ValueError(f"base_url: {base_url!r} is no address: {error}") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(f"base_url: an address like {DEFAULT_URL} is wanted, not {base_url!r}")
    return base_url


def failure_of(error: httpx.HTTPError) -> APIConnectionError:
    """What httpx says, in our words."""
    words = str(error) or type(error).__name__
    if isinstance(error, httpx.ConnectTimeout | httpx.ConnectError | httpx.PoolTimeout):
        return NotSentError(f"no connection: {words}")
    if isinstance(error, httpx.TimeoutException):
        return APITimeoutError(f"no answer in time: {words}")
    return APIConnectionError(f"the connection broke: {words}")
