"""The server's secret: 32 bytes. Every key of both tiers hangs on it.

Alone, a server makes it once, beside its data. Servers that share a Redis are told one (`secret_env`): with another,
each finds nothing of what the others wrote, for neither the names nor the signatures agree.

    secret              in plain
    secret.<key>        sealed under the key of that name; there is no plain one then

Whoever has the secret can try whether a request of his is stored, so a seal takes it in, too. It is no cache: with
another one nothing that is kept is found, and no key that was given out opens a door. So none is made beside one that
does not open, or in the place of two that differ: who starts gives the key, or removes the file.
"""

import os
import re
import secrets
from collections.abc import Iterable, Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

from gateway.seal import NO_SEAL, Seal, Unsealed, key_name, place

SECRET_BYTES = 32
_PLACE = place("server secret")
_SEALED = re.compile(r"secret\.[0-9a-f]{8}")  # another name is a copy that somebody set aside


class SecretLocked(ValueError):
    """What is here cannot be told to be the secret."""


def load_secret(data_dir: Path, shared: str = "", seal: Seal = NO_SEAL) -> bytes:
    """The secret: of the text that servers share, else read, else made. Raises `SecretLocked`.

    The file is complete before it has its name, so two starts agree on one.
    """
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    secret = read_secret(data_dir, shared, seal)
    if shared and secret is not None:
        return secret
    path = data_dir / (f"secret.{seal.name}" if seal.name else "secret")
    if not path.exists():
        _write(path, seal.seal(secret or secrets.token_bytes(SECRET_BYTES), _PLACE))
    if secret is not None:
        _remove(other for other in _kept(data_dir) if other != path)
    return _read(path, seal)


def read_secret(data_dir: Path, shared: str = "", seal: Seal = NO_SEAL) -> bytes | None:
    """As `load_secret`, and changes nothing; None where none was made yet."""
    if shared:
        return blake2b(shared.encode(), digest_size=SECRET_BYTES, person=b"shared secret").digest()
    try:
        found = {path: _read(path, seal) for path in _kept(data_dir)}
    except FileNotFoundError:  # another start takes it over: the new one was there before the old one went
        return read_secret(data_dir, shared, seal)
    if len(set(found.values())) > 1:
        raise SecretLocked(
            f"{' and '.join(map(str, found))} are different secrets: remove the one that is not meant (as a rule the "
            "younger: nothing was kept under it yet)"
        )
    return next(iter(found.values()), None)


def holds_plain(data_dir: Path) -> bool:
    """Whether a secret lies here in plain. Under a seal the first start takes it over: nobody but who has the secret
    can make a later one believe that it is the first."""
    return (data_dir / "secret").exists()


def _read(path: Path, seal: Seal) -> bytes:
    raw = path.read_bytes()
    try:
        secret = raw if path.name == "secret" else seal.open(raw, _PLACE)
    except Unsealed as error:
        if not error.is_foreign:
            raise SecretLocked(f"{path} was changed, or is not of this place: put it back from a backup") from error
        raise SecretLocked(
            f"{path} is sealed under the key {key_name(raw)}, which is not given: name it in seal.key_env, or in "
            "seal.old_keys_env beside a newer one. If that key is lost, remove the file: nothing that is kept here is "
            "found then, and no key that was given out works"
        ) from error
    if len(secret) != SECRET_BYTES:
        raise SecretLocked(
            f"{path} holds {len(secret)} bytes, not {SECRET_BYTES}; remove it to start with an empty cache"
        )
    return secret


def _kept(data_dir: Path) -> Sequence[Path]:
    sealed = sorted(path for path in data_dir.glob("secret.*") if _SEALED.fullmatch(path.name))
    plain = data_dir / "secret"
    return [*sealed, *([plain] if plain.exists() else [])]


def _remove(others: Iterable[Path]) -> None:
    """What the secret was taken over from has no business here any more."""
    for other in others:
        gone = _draft_of(other)  # nobody reads zeros as a secret
        with suppress(FileNotFoundError):
            other.rename(gone)
            with gone.open("r+b") as file:
                file.write(bytes(gone.stat().st_size))
                os.fsync(file.fileno())
            gone.unlink()


def _write(path: Path, raw: bytes) -> None:
    draft = _draft_of(path)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(raw)
        os.fsync(file.fileno())
    with suppress(FileExistsError):
        os.link(draft, path)
    draft.unlink()


def _draft_of(path: Path) -> Path:
    """A name that nobody else has: in containers that share a folder all processes may be number 1."""
    return path.with_name(f"{path.name}-{secrets.token_hex(8)}.draft")
