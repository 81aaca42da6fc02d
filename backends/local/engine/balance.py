"""What drafting has really brought, and when it has to stop: it may lose next to nothing, whatever is hoped of it.

Everything is counted in tokens: one is the time in which a forward without drafts brings one. A step of `b` sequences
that says `n` tokens and takes `t` times as long as such a forward, guessing and settling included, gains `n - b * t`.
Guesses that nobody checks lose the time they took.

    account     of the engine, by number of sequences: may have lost LOSS of what was said in the last WINDOW tokens or
                so. Gains only make up for losses: none are saved, so good answers do not pay for bad ones
    purse       of a sequence: may lose its stake, and of what it has won SAVED; then it rests. Each time its stake is
                half, and its rest twice, of the time before

What a draft may bring is hoped for in `pace`. That hope is tried out here, and stops where it fails.
"""

from dataclasses import dataclass
from math import exp

LOSS = 0.02
WINDOW = 2048  # tokens
START = 256  # tokens that count as said at the beginning: there is something to lose
STAKE = 2.0  # tokens that a sequence may lose before it rests, at most
SHARE = 1 / 8  # of what the engine may still lose, for one sequence
SAVED = 2.0  # tokens
FIRST_REST, LONGEST_REST = 32, 1024  # tokens


@dataclass(slots=True)
class Account:
    """Of the engine, with one number of sequences."""

    _said: float = START
    _gained: float = 0.0

    @property
    def room(self) -> float:
        """Tokens that may still be lost."""
        return LOSS * self._said + self._gained

    def tokens_to_room(self) -> int:
        """How many to say before there is room again; a few more than it takes."""
        return int(max(0.0, -self.room) / LOSS)

    def note(self, tokens: int) -> None:
        """Take in what one step said."""
        keep = exp(-tokens / WINDOW)
        self._said = WINDOW + (self._said - WINDOW) * keep
        self._gained *= keep

    def gain(self, tokens: float) -> None:
        """Take in what drafts, or guesses in vain, brought or lost."""
        self._gained = min(0.0, self._gained + tokens)


@dataclass(slots=True)
class Purse:
    """Of one sequence."""

    rests_until: int = 0  # it has so many tokens
    _gained: float = 0.0
    _rest: int = FIRST_REST

    def gain(self, tokens: float, num_tokens: int, room: float) -> None:
        """Take in what its drafts brought or lost, now that it has `num_tokens` and the engine `room`."""
        self._gained = min(SAVED, self._gained + tokens)
        if self._gained >= SAVED:
            self._rest = FIRST_REST
        elif self._gained < -min(STAKE, SHARE * room) * FIRST_REST / self._rest:
            self.rests_until = num_tokens + self._rest
            self._rest, self._gained = min(LONGEST_REST, 2 * self._rest), 0.0
