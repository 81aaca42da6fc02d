"""Policies that know nothing of prefixes: selectable, and what affinity is compared with."""

# ruff: noqa: ARG002  (the protocol has arguments that these do not need)

from collections.abc import Callable, Sequence
from itertools import count
from random import Random

from backends.routing.base import Choice, Chooser, Load
from backends.routing.prompt import Prompt


class Unlearned:
    """The half of a chooser that listens, for those that learn nothing."""

    def heard(self, choice: Choice, prompt: Prompt, cached_tokens: int | None, prompt_tokens: int) -> None:
        """Nothing to learn."""

    def reset(self, replica: str) -> None:
        """Nothing to forget."""


class LeastLoad(Unlearned):
    """The replica with the fewest requests; of equals the one with the least to read, of these any."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def choose(self, prompt: Prompt, loads: Sequence[Load]) -> Choice:
        def work(load: Load) -> tuple[int, int]:
            return load.requests, load.prefill_tokens

        least = min(map(work, loads))
        return Choice(self._random.choice([load for load in loads if work(load) == least]).replica)


class RoundRobin(Unlearned):
    """One after the other, in the order of their names; who is not offered is passed over."""

    def __init__(self) -> None:
        self._turn = count()

    def choose(self, prompt: Prompt, loads: Sequence[Load]) -> Choice:
        names = sorted(load.replica for load in loads)
        return Choice(names[next(self._turn) % len(names)])


class AtRandom(Unlearned):
    """Any replica."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def choose(self, prompt: Prompt, loads: Sequence[Load]) -> Choice:
        return Choice(self._random.choice(loads).replica)


SIMPLE: dict[str, Callable[[Random], Chooser]] = {
    "least_load": LeastLoad,
    "round_robin": lambda _: RoundRobin(),
    "random": AtRandom,
}
