"""The credential of a request: whoever presents the same one is the same tenant. And who may use the admin API."""

import hmac
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlsplit

from gateway.errors import AdminRefused, NotAdmin
from gateway.settings.doors import is_loopback

_KEYS = (
    "x-api-key",
    "api-key",
    "x-litellm-api-key",
    "x-bf-vk",
    "x-portkey-api-key",
    "helicone-auth",
    "cf-aig-authorization",
)
CREDENTIALS = ("authorization", *_KEYS)  # headers that say who asks, as they are looked for


def credential_of(authorization: str | None) -> str | None:
    """The bearer token, or None."""
    if authorization is None:
        return None
    scheme, _, token = authorization.partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else authorization.strip() or None


class Headers(Protocol):
    """Request headers, by lower-case name."""

    def get(self, name: str, /) -> str | None: ...


def read_credential(headers: Headers) -> str | None:
    """What a caller shows: a bearer token, else Anthropic's `x-api-key`, else Azure's `api-key`, else the key of
    another gateway, whose tenants stay apart here too."""
    shown = credential_of(headers.get("authorization"))
    return shown or next((key for name in _KEYS if (key := credential_of(headers.get(name)))), None)


@dataclass(frozen=True, slots=True)
class AdminRule:
    """Who may use the admin API: who has the key; without a key, who is on this machine and nobody else can be."""

    key: str = field(repr=False)
    is_local: bool  # only this machine can reach the server

    def is_key(self, authorization: str | None) -> bool:
        """Whether it is the admin key."""
        given = (credential_of(authorization) or "").encode("utf-8", "surrogateescape")
        return bool(self.key) and hmac.compare_digest(given, self.key.encode("utf-8"))

    def check(self, authorization: str | None, host: str | None) -> None:
        """`host` is the Host header: a page that had its own name resolve to this machine sends that name. Raises
        `NotAdmin` or `AdminRefused`."""
        if self.key:
            if not self.is_key(authorization):
                raise NotAdmin("The admin API needs the admin key as a bearer token.")
        elif not self.is_local:
            raise AdminRefused(
                "The admin API is closed: others can reach this server and no admin key is configured (admin_key_env)."
            )
        elif not is_loopback(hostname(host)):
            raise AdminRefused("Without an admin key the admin API answers on localhost and loopback addresses only.")


def hostname(host: str | None) -> str:
    """The name in a Host header, without its port; empty for what is none."""
    try:
        return urlsplit(f"//{host or ''}").hostname or ""
    except ValueError:
        return ""
