"""Which replica of a model gets a request: what is known of each, and what a policy answers.

A chooser is a value machine: no clock, no I/O, no task. The router counts (`counters.py`), asks `choose` among the
replicas that may take the request, tells what came of it by `heard`, and calls `reset` when a replica has begun anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from backends.routing.prompt import Prompt


@dataclass(frozen=True, slots=True)
class Load:
    """What a replica has to do, as far as this gateway knows."""

    replica: str
    running: int = 0  # requests sent and not ended: in prefill or decoding
    waiting: int = 0  # requests that wait here for their turn to be sent
    prefill_tokens: int = 0  # prompt tokens, less those it is thought to hold, of requests without a first delta
    decodes: int = 0  # of `running`, how many have begun to answer

    @property
    def requests(self) -> int:
        return self.running + self.waiting


@dataclass(frozen=True, slots=True)
class Choice:
    """A replica, and how many of the prompt's tokens it is thought to hold."""

    replica: str
    predicted_tokens: int = 0


class Chooser(Protocol):
    """A routing policy over the replicas of one model."""

    def choose(self, prompt: Prompt, loads: Sequence[Load]) -> Choice:
        """Choose among the replicas of `loads`, at least one."""

    def heard(self, choice: Choice, prompt: Prompt, cached_tokens: int | None, prompt_tokens: int) -> None:
        """Learn what the replica reported of a prompt it has read; `cached_tokens` is None where it says nothing."""

    def reset(self, replica: str) -> None:
        """Forget what a replica held: it has restarted, or is gone."""
