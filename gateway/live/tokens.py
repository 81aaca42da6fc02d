"""Tokens of one model by what became of them, so that they can be priced whenever somebody asks.

prompt      given to the model and computed          completion   generated
reused      of a prompt, not computed again (kv)
saved_*     not sent to a model at all, as a stored answer was given: what its making took
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from backends.chat import Usage
from gateway.ledger import Line

if TYPE_CHECKING:
    from gateway.live.prices import Price

MILLION = 1_000_000


@dataclass(slots=True)
class Tokens:
    """Sums."""

    prompt: int = 0
    reused: int = 0
    completion: int = 0
    saved_prompt: int = 0
    saved_reused: int = 0  # of a stored answer: prompt tokens that were not computed when it was made
    saved_completion: int = 0

    def count(self, line: Line) -> None:
        """Add one answered request."""
        usage = line.usage
        if line.outcome.tier in ("exact", "semantic"):
            self.count_hits(usage, 1)
            return
        self.prompt += max(0, usage.prompt_tokens - usage.cached_tokens)
        self.reused += usage.cached_tokens
        self.completion += usage.completion_tokens

    def count_hits(self, usage: Usage, times: int) -> None:
        """Add requests that were given what took this to make."""
        self.saved_prompt += max(0, usage.prompt_tokens - usage.cached_tokens) * times
        self.saved_reused += usage.cached_tokens * times
        self.saved_completion += usage.completion_tokens * times

    def merge(self, other: "Tokens") -> None:
        """Add all of the other."""
        self.prompt += other.prompt
        self.reused += other.reused
        self.completion += other.completion
        self.saved_prompt += other.saved_prompt
        self.saved_reused += other.saved_reused
        self.saved_completion += other.saved_completion

    @property
    def saved(self) -> int:
        """Tokens no model had to work on."""
        return self.reused + self.saved_prompt + self.saved_reused + self.saved_completion

    def money_saved(self, price: "Price") -> float:
        """What stored answers would have cost to make again, and what reused prompt tokens cost less than others."""
        stored = (
            self.saved_prompt * price.prompt
            + self.saved_reused * price.cached_prompt
            + self.saved_completion * price.completion
        )
        return (stored + self.reused * (price.prompt - price.cached_prompt)) / MILLION

    def money_spent(self, price: "Price") -> float:
        """What the tokens that a model worked on cost, reused ones at their own price."""
        spent = self.prompt * price.prompt + self.reused * price.cached_prompt + self.completion * price.completion
        return spent / MILLION


def tokens_of(line: Line) -> Tokens:
    """Those of one request."""
    tokens = Tokens()
    tokens.count(line)
    return tokens
