"""The server's secret: 32 bytes. Every key of both tiers hangs on it.

Alone, a server makes it once, beside its data. Servers that share a Redis are told one (`secret_env`): with another,
each finds nothing of what the others wrote, for neither the names nor the signatures agree.

    secret              in plain
    secret.<key>        sealed under the key of that name; there is no plain one then

Whoever has the secret can try whether a request of his is stored, so a seal takes it in, too. A start with another key
finds no secret, and makes one: nothing that is kept is found, and all of it again once the key is back.
"""

import logging
import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

from gateway.seal import NO_SEAL, Seal, Unsealed, place

log = logging.getLogger(__name__)

SECRET_BYTES = 32
_PLACE = place("server secret")


def load_secret(data_dir: Path, shared: str = "", seal: Seal = NO_SEAL) -> bytes:
    """The secret: of the text that servers share, else read, else made.

    The file is complete before it has its name, so two starts agree on one.
    """
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    if shared:
        return blake2b(shared.encode(), digest_size=SECRET_BYTES, person=b"shared secret").digest()
    path = data_dir / (f"secret.{seal.name}" if seal.name else "secret")
    if path.exists():
        return _read(path, seal)
    secret = _taken_over(data_dir, path, seal)
    _write(path, seal.seal(secret or secrets.token_bytes(SECRET_BYTES), _PLACE))
    if secret is not None:
        _remove_others(data_dir, path, seal)
    return _read(path, seal)


def has_secret(data_dir: Path) -> bool:
    """Whether one was made here."""
    return (data_dir / "secret").exists() or bool(_sealed(data_dir))


def _read(path: Path, seal: Seal) -> bytes:
    secret = seal.open(path.read_bytes(), _PLACE)
    if len(secret) != SECRET_BYTES:
        raise ValueError(
            f"{path} holds {len(secret)} bytes, not {SECRET_BYTES}; remove it to start with an empty cache"
        )
    return secret


def _taken_over(data_dir: Path, path: Path, seal: Seal) -> bytes | None:
    """The secret as it was kept until now: in plain, or under an older key."""
    others = [*_sealed(data_dir), data_dir / "secret"]
    for other in others:
        if other != path and other.exists():
            with suppress(Unsealed):
                return _read(other, NO_SEAL if other.name == "secret" else seal)
    if any(other.exists() for other in others):
        log.error("%s is sealed under a key that is not given: nothing that is kept here is found", data_dir)
    return None


def _remove_others(data_dir: Path, path: Path, seal: Seal) -> None:
    """What the secret was taken over from has no business here any more."""
    for other in (*_sealed(data_dir), data_dir / "secret"):
        if other != path and other.exists():
            with suppress(Unsealed):
                _read(other, NO_SEAL if other.name == "secret" else seal)
                with other.open("r+b") as file:
                    file.write(bytes(other.stat().st_size))
                    os.fsync(file.fileno())
                other.unlink()


def _sealed(data_dir: Path) -> Sequence[Path]:
    return sorted(path for path in data_dir.glob("secret.*") if not path.name.endswith(".draft"))


def _write(path: Path, raw: bytes) -> None:
    draft = path.with_name(f"{path.name}-{os.getpid()}.draft")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(raw)
        os.fsync(file.fileno())
    with suppress(FileExistsError):
        os.link(draft, path)
    draft.unlink()
