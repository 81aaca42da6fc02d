"""Work for when nothing else is to do: prompts computed ahead, so that they are there when somebody asks.

    the next turn      a conversation as its caller will send it back, up to where the next message begins
    warm-up            system prompts of the operator, perhaps to be pinned

In exact mode this is also how an answer's tokens, computed one by one, become blocks computed as a prompt.

It gives way at once: whoever drives it calls `yield_slab` when a request arrives, which costs no more than the chunk
under way; what was computed is kept in blocks, and goes on from there. Newest first: the conversation that just paused
is the likeliest to go on. What nobody waits for is dropped when it is outdated, old, or too much.
"""

from collections import deque
from collections.abc import Sequence as Ids
from dataclasses import dataclass
from random import Random

from backends.local.engine.runner import Runner
from backends.local.engine.scheduler import Limits, next_chunk
from backends.local.engine.sequence import Sequence
from backends.local.params import Sampling
from backends.local.wire import Broken, Event, Refused, Warm, Warmed

MOST_TASKS = 32
STALE_S = 600.0  # four of five reuses come within ten minutes (arXiv 2506.02634)


@dataclass(frozen=True, slots=True)
class _Task:
    warm: Warm
    since_s: float

    def is_part_of(self, salt: str, prompt: Ids[int]) -> bool:
        return self.warm.salt == salt and len(self.warm.prompt) <= len(prompt) and self._is_beginning(prompt)

    def _is_beginning(self, prompt: Ids[int]) -> bool:
        return list(prompt[: len(self.warm.prompt)]) == self.warm.prompt


class IdleWork:
    """A queue of prompts, and the one being computed."""

    def __init__(self, runner: Runner, limits: Limits, *, context_tokens: int) -> None:
        self.num_tasks = self.num_tokens = self.num_dropped = 0
        self._runner = runner
        self._limits = limits
        self._context_tokens = context_tokens
        self._awaited: deque[_Task] = deque()  # oldest first
        self._others: deque[_Task] = deque()  # newest last
        self._task: _Task | None = None
        self._sequence: Sequence | None = None  # of the task

    @property
    def has_work(self) -> bool:
        return bool(self._task or self._awaited or self._others)

    @property
    def slab_tokens(self) -> int:
        return self._sequence.capacity if self._sequence is not None else 0

    @property
    def is_held_up(self) -> bool:
        """Whether a prefix is under way from a slower tier."""
        return self._sequence is not None and not self._sequence.is_fetched

    def add(self, warm: Warm, now_s: float) -> list[Event]:
        """Take a prompt; the event that answers it at once, if it is not taken."""
        if not self._runner.cache.blocks.total:
            return self._refuse(warm, "the engine keeps no prefixes: engine.kv_mb is too small")
        if (size := len(warm.prompt)) > self._context_tokens:
            reason = f"the prompt has {size} tokens; the engine's context is {self._context_tokens}"
            return self._refuse(warm, reason, is_hopeless=True)
        if warm.is_awaited:
            if len(self._awaited) >= MOST_TASKS:
                return self._refuse(warm, "too many prompts wait to be warmed")
            self._awaited.append(_Task(warm, now_s))
            return []
        self.drop_outdated(warm.salt, warm.prompt)
        if len(self._others) >= MOST_TASKS:
            self._others.popleft()
            self.num_dropped += 1
        self._others.append(_Task(warm, now_s))
        return []

    def drop_outdated(self, salt: str, prompt: Ids[int]) -> None:
        """Forget what would be computed as part of `prompt` anyway."""
        kept = [task for task in self._others if not task.is_part_of(salt, prompt)]
        self.num_dropped += len(self._others) - len(kept)
        self._others = deque(kept)
        if self._task is not None and not self._task.warm.is_awaited and self._task.is_part_of(salt, prompt):
            self.num_dropped += 1
            self.yield_slab()
            self._task = None

    def abort(self, request: int) -> None:
        """Nobody waits for a prompt any more."""
        self._awaited = deque(task for task in self._awaited if task.warm.request != request)
        if self._task is not None and self._task.warm.is_awaited and self._task.warm.request == request:
            self.yield_slab()
            self._task = None

    def clear(self, reason: str) -> list[Event]:
        """Give everything up; returns whom to tell what."""
        waiting = [task for task in (self._task, *self._awaited) if task is not None and task.warm.is_awaited]
        self.yield_slab()
        self._task = None
        self._others.clear()
        self._awaited.clear()
        return [Broken(task.warm.request, reason) for task in waiting]

    def forget(self) -> None:
        """Drop what nobody waits for, and begin anew with what somebody does."""
        self.yield_slab()
        if self._task is not None and not self._task.warm.is_awaited:
            self.num_dropped += 1
            self._task = None
        self.num_dropped += len(self._others)
        self._others.clear()

    def yield_slab(self) -> None:
        """Give the memory back at once; full blocks are kept, and the task goes on from them later."""
        if self._sequence is not None:
            self._runner.release(self._sequence)
            self._sequence = None

    def step(self, now_s: float) -> list[Event]:
        """One small chunk; returns whom to tell what."""
        task = self._task = self._task or self._next(now_s)
        if task is None:
            return []
        if self._sequence is None:
            self._sequence = self._begin(task)
        sequence = self._sequence
        if not sequence.is_fetched:
            return []
        if not sequence.capacity:
            self._runner.hydrate(sequence, sequence.num_tokens, limit=sequence.num_tokens)
        if sequence.num_computed < sequence.num_tokens:
            chunk = next_chunk(sequence, self._limits.busy_chunk_tokens, is_exact=self._limits.is_exact)
            self._runner.compute([chunk])
            sequence.num_computed = chunk.stop
            self.num_tokens += chunk.stop - chunk.start
        if sequence.num_computed < sequence.num_tokens:
            return []
        return self._finish(task, sequence)

    def _next(self, now_s: float) -> _Task | None:
        if self._awaited:
            return self._awaited.popleft()
        while self._others:
            task = self._others.pop()
            if now_s - task.since_s <= STALE_S:
                return task
            self.num_dropped += 1
        return None

    def _begin(self, task: _Task) -> Sequence:
        warm, cache = task.warm, self._runner.cache
        wanted = len(warm.prompt)
        if self._limits.is_exact:  # nothing but whole chunks is kept
            wanted -= wanted % self._limits.chunk_tokens
        sequence = Sequence(
            request=warm.request,
            index=0,
            token_ids=warm.prompt[:wanted],
            num_prompt=wanted,
            max_total=wanted,
            sampling=Sampling(),
            eos_token_ids=frozenset(),
            random=Random(0),  # noqa: S311 - it chooses no token
            chain=cache.public_chain() if warm.is_public else cache.chain(warm.salt, warm.owner),
            owner=warm.owner,
            is_ahead=True,
        )
        self._runner.prefetch(sequence, limit=wanted)
        return sequence

    def _finish(self, task: _Task, sequence: Sequence) -> list[Event]:
        warm = task.warm
        self._runner.release(sequence, keep_tail=True)
        pinned = self._runner.pin(sequence) if warm.pin else 0
        self._sequence = self._task = None
        self.num_tasks += 1
        if not warm.is_awaited:
            return []
        return [Warmed(warm.request, sequence.num_tokens, pinned, dict(sequence.by_tier))]

    def _refuse(self, warm: Warm, reason: str, *, is_hopeless: bool = False) -> list[Event]:
        self.num_dropped += 1
        return [Refused(warm.request, reason, is_hopeless=is_hopeless)] if warm.is_awaited else []
