"""The server's secret: 32 random bytes beside the data, made once. Every key of both tiers hangs on it."""

import os
import secrets
from contextlib import suppress
from pathlib import Path

SECRET_BYTES = 32


def load_secret(data_dir: Path) -> bytes:
    """Read the secret, or make it. The file is complete before it has its name, so two starts agree on one."""
    path = data_dir / "secret"
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        draft = data_dir / f"secret.{os.getpid()}"
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(secrets.token_bytes(SECRET_BYTES))
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    secret = path.read_bytes()
    if len(secret) != SECRET_BYTES:
        raise ValueError(
            f"{path} holds {len(secret)} bytes, not {SECRET_BYTES}; remove it to start with an empty cache"
        )
    return secret
