"""Names that stand for other models: weighted targets, and who answers when they cannot. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from math import log

import orjson

from backends.chat import Fields


@dataclass(frozen=True, slots=True)
class Target:
    """A model that answers for an alias, for a share of its conversations."""

    model: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Alias:
    """A name clients may ask for. Without targets it is a model's own name, given a fallback."""

    name: str
    targets: tuple[Target, ...] = ()
    fallback: tuple[str, ...] = ()  # models, asked in this order when the target cannot answer

    @property
    def models(self) -> tuple[str, ...]:
        """Every model that may come to answer."""
        targets = [target.model for target in self.targets if target.weight > 0]
        return tuple(dict.fromkeys([*(targets or [self.name]), *self.fallback]))


def chain(alias: Alias, messages: Sequence[Fields]) -> tuple[str, ...]:
    """The models to ask, in order: the conversation's target, then its fallback; without one, the other targets."""
    first, *others = ranked(alias.targets, messages) or [alias.name]
    return (first, *(name for name in alias.fallback or others if name != first))


def ranked(targets: Sequence[Target], messages: Sequence[Fields]) -> list[str]:
    """The targets of a conversation, its own first: the same for all its turns, on every gateway.

    Weighted rendezvous hashing (Schindelhauer and Schomaker 2005): a weight that changes moves only what has to move.
    """
    opening = opening_of(messages)

    def score(target: Target) -> float:  # the largest is the conversation's own
        digest = blake2b(opening, key=target.model.encode("utf-8", "surrogatepass")[:64], digest_size=8).digest()
        chance = (int.from_bytes(digest, "little") + 1) / (2**64 + 1)  # in (0, 1)
        return -target.weight / log(chance)

    heavy = [target for target in targets if target.weight > 0]
    return [target.model for target in sorted(heavy, key=score, reverse=True)]


def opening_of(messages: Sequence[Fields]) -> bytes:
    """The first user message: what stands before it, the system prompt, is the same for a whole app."""
    users = (message for message in messages if message.get("role") == "user")
    first = next(users, messages[0] if messages else {})
    return orjson.dumps(first.get("content"), default=str)
