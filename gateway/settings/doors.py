"""What may be said of who comes in, and how: [oidc], [tls], hosts."""

from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gateway.settings.declared import SettingsError

if TYPE_CHECKING:
    from gateway.settings import OidcSettings, Settings

# A public key checks these: what anybody can read makes no token.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")


def check_doors(settings: "Settings") -> None:
    """Raises `SettingsError`."""
    if settings.oidc.issuer:
        _check_oidc(settings.oidc)
    elif settings.oidc.audience or settings.oidc.jwks_url:
        raise SettingsError("oidc.issuer is missing: whose tokens are taken")
    for key in ("key", "key_password_env", "client_ca"):
        if getattr(settings.tls, key) and not settings.tls.cert:
            raise SettingsError(f"tls.{key} is set and tls.cert is not: name the file with the certificate")
    for host in settings.hosts:
        if not host or "/" in host or host != host.strip():
            raise SettingsError(f"hosts must be names without a scheme, as chat.example.com; got {host!r}")


def _check_oidc(oidc: "OidcSettings") -> None:
    if not oidc.audience:
        raise SettingsError("oidc.audience is missing: a token that is meant for somebody else is none for us")
    if not oidc.tenant_claim:
        raise SettingsError("oidc.tenant_claim is missing: what of a token names its tenant")
    if not oidc.algorithms:
        raise SettingsError("oidc.algorithms is empty")
    for algorithm in oidc.algorithms:
        if algorithm not in ALGORITHMS:
            raise SettingsError(f"oidc.algorithms may hold {', '.join(ALGORITHMS)}; got {algorithm!r}")
    for key in ("issuer", "jwks_url"):
        if (url := getattr(oidc, key)) and not is_safe_url(url):
            raise SettingsError(f"oidc.{key} must be an https:// address, or http:// on this machine")


def is_safe_url(url: str) -> bool:
    """Whether what is read there comes from whom it says: over TLS, or from this machine."""
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and (
            parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))
        )
    except ValueError:
        return False


def is_loopback(host: str) -> bool:
    """Whether a name or address is this machine's own, for itself only."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
