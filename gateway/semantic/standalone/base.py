"""What a rewriter is and what it makes."""

from dataclasses import dataclass
from typing import Protocol

from gateway.semantic.standalone.talk import Talk


@dataclass(frozen=True, slots=True)
class Standalone:
    """A last turn that says by itself what it asks; `topics` are what was asked about before, and have to be equal."""

    text: str
    topics: tuple[frozenset[str], ...] = ()


class Rewriter(Protocol):
    """Makes last turns stand alone. Never raises: what it cannot do is None."""

    @property
    def resolves(self) -> bool:
        """Whether it can do anything about "and in Paris?"; else such last turns are not looked for."""

    def flaw(self, talk: Talk) -> str | None:
        """Why it surely cannot, in a word; None: it may be asked. Costs little."""

    async def rewrite(self, talk: Talk) -> Standalone | None:
        """The last turn standing alone, or None."""
