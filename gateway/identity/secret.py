"""The server's secret: 32 bytes. Every key of both tiers hangs on it.

Alone, a server makes it once, beside its data. Servers that share a Redis are told one (`secret_env`): with another,
each finds nothing of what the others wrote, for neither the names nor the signatures agree.
"""

import os
import secrets
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

SECRET_BYTES = 32


def load_secret(data_dir: Path, shared: str = "") -> bytes:
    """The secret: of the text that servers share, else read, else made.

    The file is complete before it has its name, so two starts agree on one.
    """
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    if shared:
        return blake2b(shared.encode(), digest_size=SECRET_BYTES, person=b"shared secret").digest()
    path = data_dir / "secret"
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
