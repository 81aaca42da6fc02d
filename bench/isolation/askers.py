"""Who asks, and behind which walls: the identity by which the bench, not the gateway, says who may share with whom."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any

MARK = rb"mk[0-9a-f]{20}zz"

# Names that are easily taken for each other; none is another's.
NAMES = (
    "a",
    "A",
    "a ",
    "ab",
    "b",
    "null",
    "None",
    "0",
    "1",
    "\u00e9",
    "e\u0301",
    "a/b",
    "a\u0000b",
    "..",
    "*",
    "%61",
    "a:b",
)
NUM_BEARERS = 12
MODELS = ("m1", "m2", "M1")
CREDENTIALS = ("authorization", "x-api-key", "api-key")  # one key, shown in any of these, is one tenant
WALLS = ("cache", "helicone-cache-seed", "x-portkey-cache-namespace")


@dataclass(frozen=True, slots=True)
class Tenant:
    """A credential, or several of one tenant; none: whoever shows none."""

    name: str
    credentials: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Asker:
    """One scope, and how it happens to say so."""

    tenant: Tenant
    namespace: str = ""
    salt: str = ""
    model: str = MODELS[0]
    said: int = field(default=0, compare=False)  # which spelling of the credential and of the wall

    @property
    def scope(self) -> tuple[str, str, str, str]:
        return self.tenant.name, self.namespace, self.salt, self.model

    @property
    def mark(self) -> str:
        return "mk" + blake2b(repr(self.scope).encode(), digest_size=10).hexdigest() + "zz"

    @property
    def credential(self) -> str:
        shown = self.tenant.credentials
        return shown[self.said % len(shown)] if shown else ""

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The credential, and the wall where a header names it."""
        told: list[tuple[bytes, bytes]] = []
        if self.credential:
            name = CREDENTIALS[self.said % len(CREDENTIALS)]
            prefix = "Bearer " if name == "authorization" else ""
            told.append((name.encode(), (prefix + self.credential).encode()))
        if self.wall != "cache":
            told.append((self.wall.encode(), self.namespace.encode()))
        return told

    @property
    def wall(self) -> str:
        """Where the namespace is named: in the body, or in a header that can spell it."""
        is_plain = (
            self.namespace.isascii() and self.namespace.isprintable() and self.namespace.strip() == self.namespace
        )
        return WALLS[self.said % len(WALLS)] if self.namespace and is_plain else "cache"


def tenants(num_bearers: int, keys: Sequence[tuple[str, ...]]) -> list[Tenant]:
    """Somebody without a credential, bearers, and tenants of keys that the gateway gave out."""
    odd = [Tenant(f"odd {name}", (name,)) for name in ("x", "X", "anonymous", "0" * 32, "null", "Basic x")]
    bearers = [Tenant(f"bearer {n}", (f"sk-{n:04d}-{Asker(Tenant(str(n))).mark}",)) for n in range(num_bearers)]
    return [Tenant("nobody"), *odd, *bearers, *(Tenant(f"key {n}", texts) for n, texts in enumerate(keys))]


@dataclass(slots=True)
class Crowd:
    """Draws askers, and others that differ from them in what is named."""

    rng: random.Random
    tenants: Sequence[Tenant]
    models: Sequence[str] = MODELS

    def one(self) -> Asker:
        rng = self.rng
        return Asker(
            rng.choice(self.tenants),
            rng.choice(NAMES) if rng.random() < 0.4 else "",
            rng.choice(NAMES) if rng.random() < 0.4 else "",
            rng.choice(self.models),
            rng.randrange(6),
        )

    def other(self, asker: Asker) -> tuple[Asker, str]:
        """Another scope, and in what it differs; or the same one, said in another way."""
        rng = self.rng
        parts = rng.choice(
            (("same",), ("same",), ("tenant",), ("tenant",), ("namespace",), ("salt",), ("model",), ("swapped",))
        )
        other = replace(asker, said=rng.randrange(6))
        if parts == ("swapped",):  # the same words on other walls
            other = replace(other, namespace=asker.salt, salt=asker.namespace)
            return other, "same" if other.scope == asker.scope else "swapped"
        if parts == ("same",):
            return other, "same"
        name = parts[0]
        pool: Sequence[Any] = {"tenant": self.tenants, "model": self.models}.get(name, ("", *NAMES))
        choice = rng.choice([one for one in pool if one != getattr(asker, name)])
        changed: dict[str, Any] = {name: choice}
        return replace(other, **changed), name
