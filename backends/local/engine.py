"""The engine: who waits, who runs, and one step after the other. It knows token ids only, and no text.

    submit -> waiting -> (admit: slab, prefix copied) -> running -> (finish or abort) -> gone
                 ^-------------- preempted ----------------|

Single-threaded: whoever drives it calls `submit`, `abort` and `step`, and passes the events on.
"""

from collections import deque
from random import Random

import torch

from backends.local.choosing import propose, settle
from backends.local.runner import Runner
from backends.local.scheduler import Chunk, Limits, plan
from backends.local.sequence import Sequence
from backends.local.wire import Abort, Admitted, Event, Refused, Stats, Submit


class Engine:
    """Continuous batching over one runner."""

    def __init__(self, runner: Runner, limits: Limits, *, context_tokens: int, eos_token_ids: frozenset[int]) -> None:
        self._runner = runner
        self._limits = limits
        self._context_tokens = context_tokens
        self._eos_token_ids = eos_token_ids
        self._waiting: deque[Sequence] = deque()
        self._running: list[Sequence] = []
        self._steps = 0
        self._prefill_tokens = self._decode_tokens = self._preemptions = self._aborts = 0

    @property
    def has_work(self) -> bool:
        return bool(self._waiting or self._running)

    def submit(self, request: Submit) -> list[Event]:
        """Queue a request; the event that answers it at once, if the queue is full."""
        limits = self._limits
        if len(self._waiting) + len(self._running) + request.n > limits.max_waiting + limits.max_running:
            return [Refused(request.request)]
        self._waiting.extend(self._sequence(request, index) for index in range(request.n))
        return []

    def abort(self, abort: Abort) -> None:
        """Forget sequences at once: their slabs are free, full blocks they have published stay."""
        for sequence in [*self._waiting, *self._running]:
            if sequence.request == abort.request and abort.index in (None, sequence.index):
                self._aborts += 1
                self._leave(sequence)

    def step(self) -> list[Event]:
        """Do what the plan says; returns what happened."""
        todo = plan(self._waiting, self._running, self._limits, self._steps)
        self._steps += 1
        for sequence in todo.preempt:
            self._preempt(sequence)
        for growth in todo.grow:
            self._runner.grow(growth.sequence, growth.capacity)
        events: list[Event] = []
        for growth in todo.admit:
            events += self._admit(growth.sequence, growth.capacity)
        if todo.prefill is not None:
            events += self._prefill(todo.prefill)
        if todo.decode:
            events += self._decode([Chunk(s, s.num_computed, s.num_tokens, propose(s)) for s in todo.decode])
        return events

    def stats(self) -> Stats:
        """A snapshot."""
        return Stats(
            running=len(self._running),
            waiting=len(self._waiting),
            slab_tokens=sum(sequence.capacity for sequence in self._running),
            slab_tokens_total=self._limits.slab_tokens,
            prefill_tokens=self._prefill_tokens,
            decode_tokens=self._decode_tokens,
            preemptions=self._preemptions,
            aborts=self._aborts,
            kv=self._runner.cache.snapshot(),
        )

    def _sequence(self, request: Submit, index: int) -> Sequence:
        seed = request.sampling.seed
        cache = self._runner.cache
        chain = cache.chain(request.salt, request.owner) if request.use_kv and cache.blocks.total else None
        return Sequence(
            request=request.request,
            index=index,
            token_ids=list(request.prompt),
            num_prompt=len(request.prompt),
            max_total=min(len(request.prompt) + request.max_tokens, self._context_tokens),
            sampling=request.sampling,
            eos_token_ids=frozenset() if request.ignore_eos else self._eos_token_ids,
            random=Random() if seed is None else Random(seed + index),  # noqa: S311 - samples text, guards nothing
            chain=chain,
            publishes=request.publish_kv and chain is not None,
            keys=cache.keys(chain, request.prompt) if chain is not None else (),
        )

    def _admit(self, sequence: Sequence, capacity: int) -> list[Event]:
        is_first = sequence.num_cached is None
        self._waiting.remove(sequence)
        self._runner.hydrate(sequence, capacity)
        self._running.append(sequence)
        return [Admitted(sequence.request, sequence.index, sequence.num_cached or 0)] if is_first else []

    def _preempt(self, sequence: Sequence) -> None:
        self._preemptions += 1
        self._running.remove(sequence)
        self._runner.release(sequence)
        self._waiting.appendleft(sequence)

    def _prefill(self, chunk: Chunk) -> list[Event]:
        logits = self._runner.compute([chunk])
        self._prefill_tokens += chunk.stop - chunk.start
        return [] if chunk.sequence.num_left else self._settle(chunk, logits)

    def _decode(self, chunks: list[Chunk]) -> list[Event]:
        logits = self._runner.compute(chunks)
        self._prefill_tokens += sum(chunk.stop <= chunk.sequence.num_prompt for chunk in chunks)
        rows = torch.split(logits, [1 + len(chunk.drafts) for chunk in chunks])
        return [event for chunk, own in zip(chunks, rows, strict=True) for event in self._settle(chunk, own)]

    def _settle(self, chunk: Chunk, logits: torch.Tensor) -> list[Event]:
        """The tokens that follow a chunk; drafts that hold are computed already."""
        sequence = chunk.sequence
        events = settle(sequence, chunk.drafts, logits)
        sequence.num_computed += len(events) - 1
        self._decode_tokens += len(events)
        if events[-1].finish_reason is not None:
            self._leave(sequence, keep_tail=True)
        return list(events)

    def _leave(self, sequence: Sequence, *, keep_tail: bool = False) -> None:
        if sequence in self._running:
            self._running.remove(sequence)
            self._runner.release(sequence, keep_tail=keep_tail)
        else:
            self._waiting.remove(sequence)
