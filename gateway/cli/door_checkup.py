"""What `twicetold doctor` says of who comes in, and of what is sealed: TLS, the admin API, keys, tokens, [seal]."""

import asyncio
import time
from collections.abc import Iterator

from gateway.callers.racks import FOLDER
from gateway.callers.records import KEYS
from gateway.cli.checkup import Finding
from gateway.engines import Unavailable
from gateway.identity.secret import SecretLocked, read_secret
from gateway.services.callers import issuer_of
from gateway.services.seal import seal_of
from gateway.settings import Settings, SettingsError
from gateway.tls import context_of


def door_findings(settings: Settings) -> Iterator[Finding]:
    """In the order of who is asked."""
    yield _tls(settings)
    yield _admin(settings)
    yield _keys(settings)
    if settings.oidc.issuer:
        yield _tokens(settings)
    yield _seal(settings)


def _tls(settings: Settings) -> Finding:
    tls = settings.tls
    if not tls.cert:
        if settings.is_local:
            return Finding("TLS", "ok", "plain HTTP, on this machine only")
        return Finding("TLS", "warn", "plain HTTP: keys can be read on their way", "set tls.cert, or a proxy in front")
    try:
        context_of(tls)
    except SettingsError as error:
        return Finding("TLS", "bad", str(error), "correct [tls]")
    callers = "callers need a certificate" if tls.client_ca else "callers need none"
    return Finding("TLS", "ok", f"{tls.cert}; {callers}")


def _admin(settings: Settings) -> Finding:
    if settings.admin_key:
        return Finding("admin API", "ok", "open to who has the admin key, or a key with admin:read or admin:write")
    if settings.is_local:
        return Finding("admin API", "ok", "open to everybody on this machine")
    mend = "name the variable with its key with --admin-key-env, or make a key with --scope admin:write"
    return Finding("admin API", "warn", "others can reach this server and it has no admin key", mend)


def _keys(settings: Settings) -> Finding:
    """Keys that were given out, as far as this folder knows."""
    records = KEYS.known(
        {str(path): path.read_bytes() for path in sorted((settings.data_dir / FOLDER).glob("key_*.json"))}
    )
    active = sum(record.state(time.time()) == "active" for record in records)
    said = f"{active} that hold, {len(records) - active} that ended"
    if not settings.needs_keys:
        return Finding("keys", "ok", f"{said}; whoever sends another credential, or none, is served, too")
    if active or settings.redis or settings.oidc.issuer:
        return Finding(
            "keys", "ok", f"{said}; nobody is served without one" + (" or a token" * bool(settings.oidc.issuer))
        )
    return Finding("keys", "warn", "keys are required, and there is none", "twicetold keys create NAME --data-dir DIR")


def _tokens(settings: Settings) -> Finding:
    try:
        issuer = issuer_of(settings, b"")
    except Unavailable as error:
        return Finding("tokens", "bad", str(error), "install it")
    assert issuer is not None
    num = asyncio.run(issuer.read())
    if num == 0:
        mend = "start it, or correct oidc.issuer, oidc.jwks_url and oidc.algorithms"
        return Finding("tokens", "bad", f"{settings.oidc.issuer} names no key that can be used", mend)
    return Finding("tokens", "ok", f"{settings.oidc.issuer} can be asked for its keys")


def _seal(settings: Settings) -> Finding:
    """Whether what is kept opens with the keys that are given."""
    try:
        seal = seal_of(settings)
        read_secret(settings.data_dir, settings.secret, seal)
    except Unavailable as error:
        return Finding("seal", "bad", str(error), "install it")
    except (SecretLocked, OSError) as error:
        detail, _, mend = str(error).partition(": ")
        return Finding("seal", "bad", detail, mend or "let this user read it")
    return Finding("seal", "ok", f"under the key {seal.name}" if seal.name else "what is kept is not encrypted")
