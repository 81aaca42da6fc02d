"""Who may share with whom. One `Scope` roots both the answer keys and the KV chain, so isolation is arithmetic."""

import re
from dataclasses import dataclass
from hashlib import blake2b

ANONYMOUS = "anonymous"  # the tenant of everybody who shows no credential
SCHEMA = 1  # raise it when the meaning of a canonical request changes: every older key stops matching


@dataclass(frozen=True, slots=True)
class Scope:
    """The walls around a lookup. `tenant` comes from the credential; a client can only add walls, never widen."""

    tenant: str
    model: str  # the alias asked for
    revision: str = ""  # what it resolved to
    namespace: str = ""
    salt: str = ""

    def digest(self, secret: bytes) -> bytes:
        """32 bytes; equal for two requests exactly when they may share an answer of the same request."""
        return _digest(
            secret,
            b"scope",
            (str(SCHEMA), self.tenant, self.namespace, self.salt, self.model, self.revision),
        )

    def kv_salt(self, secret: bytes) -> str:
        """The root of this scope's KV chains. The engine adds the model; the prompt adds the rest."""
        return _digest(secret, b"kv", (self.tenant, self.namespace, self.salt)).hex()


def tenant_of(secret: bytes, credential: str | None) -> str:
    """The tenant a bearer credential stands for: an opaque name that does not reveal the credential."""
    if not credential:
        return ANONYMOUS
    return _digest(secret, b"tenant", (credential,)).hex()[:32]


def is_tenant(name: str) -> bool:
    """Whether some credential, or none, could stand for this name."""
    return name == ANONYMOUS or re.fullmatch("[0-9a-f]{32}", name) is not None


def _digest(secret: bytes, purpose: bytes, parts: tuple[str, ...]) -> bytes:
    """Keyed digest of length-prefixed parts, so no two tuples of parts spell the same bytes."""
    state = blake2b(key=secret, digest_size=32, person=purpose)
    for part in parts:
        raw = part.encode("utf-8", "surrogatepass")
        state.update(len(raw).to_bytes(8, "little"))
        state.update(raw)
    return state.digest()
