"""What a rewriter is."""

from collections import Counter
from typing import Protocol

from gateway.semantic.standalone.talk import Talk, Topics


class Rewriter(Protocol):
    """Makes last turns stand alone. Never raises: what it cannot do is None."""

    @property
    def outcomes(self) -> Counter[str]:
        """What came of asking somebody else, since the start."""

    @property
    def resolves(self) -> bool:
        """Whether it can do anything about "and in Paris?"; else such last turns are not looked for."""

    def flaw(self, talk: Talk) -> str | None:
        """Why it surely cannot, in a word; None: it may be asked. Costs little."""

    def topics(self, talk: Talk, /) -> Topics:
        """What else has to be equal on both sides, because a rewriting does not say it. Costs little."""

    async def rewrite(self, talk: Talk, tenant: str, /) -> str | None:
        """The last turn standing alone, or None."""
