"""Does the promise hold? The lane at several targets, over shuffles of every stream."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.quality.policies import Served
from bench.quality.streams import Stream
from bench.quality.walk import Tally, tally_of, walk
from embeddings.verifier import Verifier

TARGETS = (0.005, 0.01, 0.02, 0.05)


@dataclass(frozen=True, slots=True)
class Run:
    """One order of one stream at one target."""

    stream: str
    target: float
    tally: Tally

    @property
    def is_kept(self) -> bool:
        """Whether wrong / hits stayed at or under the target."""
        return self.tally.wrong <= self.target * self.tally.hits


def serve(stream: Stream, verifier: Verifier, target: float, seed: int | None, *, is_refitted: bool = False) -> Tally:
    """One walk of the product's lane; `seed` None is the stream's own order."""
    policy = Served(verifier, stream.memo, target, seed, is_refitted=is_refitted)
    return tally_of(walk(stream, stream.shuffled(seed), policy, policy))


def runs(stream: Stream, verifier: Verifier, targets: Sequence[float], seeds: Sequence[int]) -> Iterator[Run]:
    for target in targets:
        for seed in seeds:
            yield Run(stream.name, target, serve(stream, verifier, target, seed))
