"""The default policy: a prompt goes where the least is left to do, counted in tokens, and load stays even.

    cost(replica) = what waits to be read there, and a little for every answer under way
                    + reading * what is left of this prompt
    1. only replicas that would end up with at most `bound` times the mean of what all would end up with
    2. what a replica is thought to hold of the prompt need not be read; reading what is this conversation's own counts
       more than once, because nobody else will ever use it there; a prefix that many share is worth having everywhere
    3. what nobody is known to hold has a home, the same for every gateway, that is a little cheaper; much cheaper once
       it turns out that others send conversations there
    4. of equals, any

What lies where is guessed (`shadow.py`), and every answer corrects the guess: an engine reports how much of the prompt
it had. What it had not is forgotten with all that hangs on it; a replica that lacks what it just read is believed
less; and how long engines keep what they do not use is learned from the ages of what was there and what was not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from backends.routing.base import Choice, Load
from backends.routing.keeping import Keeping
from backends.routing.placement import draw, seed_of
from backends.routing.prompt import Prompt
from backends.routing.shadow import Overlap, Shadow

SURE = 0.8  # a prefix as likely to be there as this speaks against its replica when it is not


@dataclass(frozen=True, slots=True)
class Weights:
    """The numbers of the policy; docs/routing.md and `python -m bench.routing` say where they come from."""

    bound: float = 2.0  # times the mean of what replicas would have to do; 1.25 loses a tenth of the hits
    reading: float = 4.0  # what a token of this prompt costs beside one that waits to be read, while all are idle
    crowded: float = 0.5  # and more for every request that a replica has, for each of them waits for it too
    most_reading: float = 8.0
    decode_tokens: int = 64  # what an answer under way costs others, in prompt tokens
    home_tokens: int = 1500  # how much cheaper a prompt is at home
    horizon_tokens: int = 1_000_000  # what a replica reads before it drops a prefix, until that is learned
    most_tokens: int = 8_000_000  # remembered of a replica
    patience: float = 0.1  # how far one report moves what is believed


@dataclass(frozen=True, slots=True)
class Guess(Choice):
    """A choice, and what it was made from: learned from when the replica has reported."""

    parts: tuple[Overlap, ...] = ()
    at_home: bool = False
    unknown_tokens: int = 0  # of the prompt, what no replica is thought to hold


@dataclass(slots=True)
class Belief:
    """What is known of one replica besides its prefixes."""

    seed: int  # what it draws homes with
    confidence: float = 1.0  # of the prefixes that all but surely are there, the share that was
    queued_tokens: int = 0  # when it was last looked at


class Affinity:
    """Prefix affinity with bounded loads."""

    def __init__(self, random: Random, weights: Weights | None = None) -> None:
        self.weights = weights or Weights()
        self._random = random
        self.shadow = Shadow(self.weights.most_tokens)
        self.keeping = Keeping(self.weights.horizon_tokens)
        self._beliefs: dict[str, Belief] = {}
        self.elsewhere = 0.1  # of what we do not know of a conversation, the share that turns out to lie at its home
        self._mean_tokens = 1000.0  # of a prompt: what a request that waits will bring

    def choose(self, prompt: Prompt, loads: Sequence[Load]) -> Choice:
        """Choose the cheapest replica within the bound; remember that it reads this prompt."""
        self._mean_tokens += (prompt.num_tokens - self._mean_tokens) / 100
        overlaps = self.shadow.overlaps(prompt)
        beliefs = [self.belief(load.replica) for load in loads]
        works, predicted = [], []
        for load, belief in zip(loads, beliefs, strict=True):
            belief.queued_tokens = load.prefill_tokens
            works.append(self._work(load))
            parts = overlaps.get(load.replica)
            predicted.append(self._expected(prompt, parts, belief.confidence) if parts else 0)
        lefts = [prompt.num_tokens - tokens for tokens in predicted]
        unknown = min(lefts)
        reading = self._reading(loads)
        own = prompt.num_tokens - self.shadow.shared_chunks(prompt) * prompt.chunk_tokens
        costs = {
            place: works[place] + lefts[place] + (reading - 1) * min(lefts[place], own)
            for place in within_bound(works, lefts, self.weights.bound)
        }
        home = self._home(prompt, beliefs, unknown)
        if home in costs:
            costs[home] -= self.weights.home_tokens + reading * self.elsewhere * unknown
        least = min(costs.values())
        place = self._random.choice([place for place, cost in costs.items() if cost == least])
        replica = loads[place].replica
        if prompt.is_kept:
            self.shadow.hold(replica, prompt, is_sure=False)
        return Guess(replica, predicted[place], tuple(overlaps.get(replica, ())), place == home, unknown)

    def heard(self, choice: Choice, prompt: Prompt, cached_tokens: int | None, prompt_tokens: int) -> None:
        """Correct what is believed by what the replica reported."""
        if cached_tokens is not None and prompt_tokens > 0 and prompt.chunks and isinstance(choice, Guess):
            # in our own tokens: what we took for 16 may be 13 of the engine's
            found = round(min(1.0, cached_tokens / prompt_tokens) * prompt.num_tokens)
            self._learn(choice, prompt, found)
        if prompt.is_kept:
            self.shadow.hold(choice.replica, prompt, ahead=self.belief(choice.replica).queued_tokens)

    def reset(self, replica: str) -> None:
        """Forget what a replica held, and what was believed of it."""
        self.shadow.forget(replica)
        self._beliefs.pop(replica, None)

    def held(self, replica: str, prompt: Prompt) -> None:
        """Learn from the engine itself that it holds a prefix."""
        self.shadow.hold(replica, prompt)

    def lost(self, replica: str, prompt: Prompt, num_chunks: int) -> None:
        """Learn from the engine itself that it holds nothing of a prompt behind its first `num_chunks`."""
        self.shadow.cut(replica, prompt, num_chunks)

    def room(self, num_tokens: int) -> None:
        """Learn how many tokens an engine had when it began to push prefixes out; reports move it from there."""
        self.keeping = Keeping(num_tokens)

    def belief(self, replica: str) -> Belief:
        """What is believed of a replica."""
        belief = self._beliefs.get(replica)
        if belief is None:
            belief = self._beliefs[replica] = Belief(seed_of(replica))
        return belief

    def _expected(self, prompt: Prompt, parts: Sequence[Overlap], confidence: float) -> int:
        """The tokens of a prompt that a replica is thought to have still."""
        chunks, start = 0.0, 0
        for end, age, _ in parts:
            chunks += (end - start) * self.keeping.chance(age)
            start = end
        return min(round(confidence * chunks * prompt.chunk_tokens), prompt.num_tokens)

    def _work(self, load: Load) -> float:
        """What a replica has to do, in tokens."""
        return load.prefill_tokens + load.waiting * self._mean_tokens + self.weights.decode_tokens * load.decodes

    def _reading(self, loads: Sequence[Load]) -> float:
        """What a token to read counts, by how busy replicas are."""
        weights = self.weights
        return min(
            weights.most_reading, weights.reading + weights.crowded * sum(load.running for load in loads) / len(loads)
        )

    def _home(self, prompt: Prompt, beliefs: Sequence[Belief], unknown: int) -> int | None:
        """The place where every gateway would look for what this one does not know; None when that is little."""
        if unknown * 8 < prompt.num_tokens:
            return None
        key = prompt.home if unknown == prompt.num_tokens else prompt.opening
        draws = [draw(key, belief.seed) for belief in beliefs]
        return draws.index(max(draws))

    def _learn(self, guess: Guess, prompt: Prompt, found: int) -> None:
        belief, pace = self.belief(guess.replica), self.weights.patience
        slack = max(prompt.chunk_tokens, prompt.num_tokens // 20)  # blocks are rounded, and so is a guess in bytes
        if prompt.is_later and guess.at_home and guess.unknown_tokens > slack:
            more = min(1.0, max(0, found - guess.predicted_tokens) / guess.unknown_tokens)
            self.elsewhere += pace / 2 * (more - self.elsewhere)
        start = 0
        for part in guess.parts:
            end = min(part.chunks * prompt.chunk_tokens, prompt.num_tokens)
            if part.is_sure and end - start > slack:
                was_there = end <= found + slack
                if self.keeping.chance(part.age) > SURE:
                    belief.confidence += pace * (was_there - belief.confidence)
                self.keeping.saw(part.age, was_there, pace)
                if not was_there:
                    self.shadow.cut(guess.replica, prompt, found // prompt.chunk_tokens)
                    return
            start = end


def within_bound(works: Sequence[float], lefts: Sequence[int], bound: float) -> list[int]:
    """The places that a prompt would not leave with more than `bound` times the mean; some, as `bound` is over 1."""
    ends = [work + left for work, left in zip(works, lefts, strict=True)]
    most = bound * sum(ends) / len(ends)
    return [place for place, end in enumerate(ends) if end <= most]
