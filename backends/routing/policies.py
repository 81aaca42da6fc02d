"""The routing policies by name."""

from random import Random, SystemRandom

from backends.routing.affinity import Affinity
from backends.routing.base import Chooser
from backends.routing.simple import SIMPLE

POLICIES = ("affinity", *SIMPLE)


def make_chooser(policy: str, random: Random | None = None) -> Chooser:
    """A chooser for the replicas of one model. Raises ValueError for an unknown name."""
    random = random or SystemRandom()
    if policy == "affinity":
        return Affinity(random)
    if policy not in SIMPLE:
        raise ValueError(f"no routing policy {policy!r}; there are {', '.join(POLICIES)}")
    return SIMPLE[policy](random)
