"""Does the promise hold? The lane at several targets, over shuffles of every stream."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.quality.memo import Remembering
from bench.quality.policies import Served
from bench.quality.streams import Stream, Tally, walk
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


def serve(stream: Stream, verifier: Verifier, target: float, seed: int | None) -> Tally:
    """One walk of the product's lane; `seed` None is the stream's own order."""
    policy = Served(Remembering(verifier, stream.memo), stream.memo.refusal, target, seed)
    return walk(stream, stream.shuffled(seed), policy)


def runs(stream: Stream, verifier: Verifier, targets: Sequence[float], seeds: Sequence[int]) -> Iterator[Run]:
    verifier_here = Remembering(verifier, stream.memo)
    for target in targets:
        for seed in seeds:
            policy = Served(verifier_here, stream.memo.refusal, target, seed)
            yield Run(stream.name, target, walk(stream, stream.shuffled(seed), policy))
