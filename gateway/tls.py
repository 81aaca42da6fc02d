"""HTTPS: the certificate and key of [tls], and renewed ones taken up while serving.

The server holds one context for its whole life. It hands every new connection to the context that was made last, whole
and checked: so a renewal is of certificate, key and callers' roots at once, and a half-written one changes nothing.
"""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from gateway.settings import SettingsError, TlsSettings

log = logging.getLogger(__name__)

LOOK_S = 10.0  # files are looked at so often

Stamp = tuple[tuple[int, int, int], ...]


def context_of(tls: TlsSettings) -> ssl.SSLContext:
    """A context for callers. Raises `SettingsError` naming the key, and says nothing of what is in the files."""
    key = tls.key or tls.cert
    named = [("cert", tls.cert), ("key", key), *([("client_ca", tls.client_ca)] if tls.client_ca else [])]
    texts = {name: _read(name, path) for name, path in named}
    is_locked = b"ENCRYPTED" in texts["key"]
    if is_locked and not tls.key_password:
        raise SettingsError(f"tls.key {key} has a password: name the variable that holds it in tls.key_password_env")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(tls.cert, key, tls.key_password)
    except (ssl.SSLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", None)
        if reason == "KEY_VALUES_MISMATCH":
            raise SettingsError(f"tls.key {key} is not the key of the certificate in tls.cert {tls.cert}") from error
        if is_locked:
            raise SettingsError(f"tls.key {key} cannot be opened with the password of tls.key_password_env") from error
        if not tls.key and b"CERTIFICATE" in texts["cert"] and b"PRIVATE KEY" not in texts["cert"]:
            raise SettingsError(f"tls.cert {tls.cert} holds no key in PEM: name the file with it in tls.key") from error
        raise SettingsError(f"tls.cert {tls.cert} and tls.key {key} are no certificate and key in PEM") from error
    if tls.client_ca:
        try:
            context.load_verify_locations(tls.client_ca)
        except (ssl.SSLError, OSError, ValueError) as error:
            raise SettingsError(f"tls.client_ca {tls.client_ca} holds no certificates in PEM") from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _read(name: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise SettingsError(f"tls.{name} {path} cannot be read: {error.strerror}") from error


class _Front(ssl.SSLContext):
    """What the server holds."""

    latest: ssl.SSLContext

    def wrap_bio(self, *args: Any, **named: Any) -> ssl.SSLObject:
        return self.latest.wrap_bio(*args, **named)


class Certificates:
    """Belongs to one event loop, once it serves."""

    def __init__(self, tls: TlsSettings, *, look_s: float = LOOK_S) -> None:
        """Raises `SettingsError`."""
        self._tls = tls
        self._look_s = look_s
        self._paths = [Path(path) for path in (tls.cert, tls.key, tls.client_ca) if path]
        self._stamp = self._stamped()
        self.context = _Front(ssl.PROTOCOL_TLS_SERVER)
        self.context.latest = context_of(tls)

    def renew(self) -> bool:
        """Take up files that have changed; whether they were. Raises `SettingsError` when they are of no use."""
        stamp = self._stamped()
        if stamp == self._stamp:
            return False
        self.context.latest = context_of(self._tls)
        self._stamp = stamp
        return True

    @asynccontextmanager
    async def followed(self) -> AsyncIterator[None]:
        """Look at the files for so long."""
        looking = asyncio.create_task(self._follow())
        try:
            yield
        finally:
            looking.cancel()
            with suppress(asyncio.CancelledError):
                await looking

    async def _follow(self) -> None:
        refused = ""
        while True:
            await asyncio.sleep(self._look_s)
            try:
                if await asyncio.to_thread(self.renew):
                    log.info("the certificate in %s was renewed", self._tls.cert)
                refused = ""
            except SettingsError as error:  # perhaps it is half written: looked at again
                if str(error) != refused:
                    log.warning("the certificate is not renewed, the one before goes on: %s", error)
                refused = str(error)

    def _stamped(self) -> Stamp:
        """What tells whether the files are others: a link that points elsewhere is another file, too."""
        return tuple(_stamp(path) for path in self._paths)


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        said = path.stat()
    except OSError:
        return (0, 0, 0)
    return (said.st_ino, said.st_mtime_ns, said.st_size)
