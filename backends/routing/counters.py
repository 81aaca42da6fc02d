"""What this gateway has sent where and not had back.

    with counters.sent(choice.replica, tokens_to_read) as sent:
        async for delta in ...:
            sent.answering()      # every time; the first counts

Whatever way the block is left (an error, a cancelled task, a closed generator), the counts are as before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from backends.routing.base import Load


@dataclass(slots=True)
class _Counts:
    running: int = 0
    prefill_tokens: int = 0
    decodes: int = 0


class Sent:
    """One request on its way: reading its prompt, then answering."""

    __slots__ = ("_counts", "_is_answering", "_tokens")

    def __init__(self, counts: _Counts, tokens: int) -> None:
        self._counts, self._tokens, self._is_answering = counts, tokens, False

    def __enter__(self) -> Self:
        self._counts.running += 1
        self._counts.prefill_tokens += self._tokens
        return self

    def answering(self) -> None:
        """The first delta came: the prompt is read."""
        if not self._is_answering:
            self._is_answering = True
            self._counts.prefill_tokens -= self._tokens
            self._counts.decodes += 1

    def __exit__(self, *_: object) -> None:
        self._counts.running -= 1
        if self._is_answering:
            self._counts.decodes -= 1
        else:
            self._counts.prefill_tokens -= self._tokens


class Counters:
    """The loads of replicas, counted here. Of one event loop."""

    def __init__(self) -> None:
        self._counts: dict[str, _Counts] = {}

    def sent(self, replica: str, prefill_tokens: int) -> Sent:
        """Count a request as long as the block lasts. `prefill_tokens`: of its prompt, what is not thought held."""
        counts = self._counts.get(replica)
        if counts is None:
            counts = self._counts[replica] = _Counts()
        return Sent(counts, prefill_tokens)

    def load(self, replica: str, waiting: int = 0) -> Load:
        """What a replica has to do now."""
        counts = self._counts.get(replica) or _Counts()
        return Load(replica, counts.running, waiting, counts.prefill_tokens, counts.decodes)

    def loads(self, replicas: Sequence[str], waiting: Mapping[str, int] | None = None) -> list[Load]:
        """What each of these replicas has to do now."""
        return [self.load(replica, (waiting or {}).get(replica, 0)) for replica in replicas]
