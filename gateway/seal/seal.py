"""What passes between content and a disk or a Redis.

Whoever writes words or vectors seals them, and says for which place: the bytes open there and nowhere else, so nobody
can move an answer to another entry or another tenant. `NO_SEAL` leaves everything as it is; `gateway.seal.ring` is the
one with keys. What does not open is a miss, like everything else that a cache cannot read.
"""

from typing import Protocol

from gateway.answers.base import CacheError

OVERHEAD_BYTES = 44  # what sealing adds
MAGIC = b"\xfe2TS"  # no JSON, no UTF-8, and no vector of length one begins like this


class Unsealed(CacheError, ValueError):
    """These bytes do not open: another key, another place, or somebody changed them."""

    def __init__(self, why: str, *, is_foreign: bool = False) -> None:
        super().__init__(why)
        self.is_foreign = is_foreign  # sealed under a key that we were not given: it may come back


class Seal(Protocol):
    """Seals bytes and opens them."""

    @property
    def name(self) -> str:
        """Of the key that seals now; empty: nothing is sealed."""

    @property
    def older(self) -> tuple[str, ...]:
        """The other names under which what it finds still opens; empty: in plain."""

    def seal(self, plain: bytes, place: bytes) -> bytes: ...

    def open(self, sealed: bytes, place: bytes) -> bytes:
        """Raises `Unsealed`."""

    def tokens(self, word: str) -> tuple[str, ...]:
        """What stands in the place of a word that has to be found: as it is written now, then as it once was."""


class NoSeal:
    """Leaves everything as it is."""

    name = ""
    older = ()

    def seal(self, plain: bytes, place: bytes) -> bytes:  # noqa: ARG002
        return plain

    def open(self, sealed: bytes, place: bytes) -> bytes:  # noqa: ARG002
        if is_sealed(sealed):
            raise Unsealed("it is sealed, and there is no key", is_foreign=True)
        return sealed

    def tokens(self, word: str) -> tuple[str, ...]:
        return (word,)


NO_SEAL: Seal = NoSeal()


def is_sealed(raw: bytes) -> bool:
    """Whether these bytes are what a seal writes; content of ours never begins like that."""
    return raw[: len(MAGIC)] == MAGIC


def key_name(raw: bytes) -> str:
    """The name of the key that these bytes are sealed under; empty when they are not."""
    return raw[len(MAGIC) : len(MAGIC) + 4].hex() if is_sealed(raw) else ""


def place(kind: str, *parts: bytes | str) -> bytes:
    """The name of a place: no two lists of parts have the same."""
    raw = [kind.encode(), *(part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part for part in parts)]
    return b"".join(len(part).to_bytes(4, "little") + part for part in raw)
