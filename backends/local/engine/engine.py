"""The engine: who waits, who runs, and one step after the other. It knows token ids only, and no text.

    submit -> waiting -> (admit: slab, prefix copied) -> running -> (finish, abort or deadline) -> gone
                 ^-------------- preempted ----------------|

    warm -> idle work, done a chunk at a time while nobody waits or runs

Single-threaded: whoever drives it calls `submit`, `warm`, `abort` and `step`, passes the events on, and waits for more
messages no longer than `pause_s` says.
"""

import time
from collections import deque
from collections.abc import Callable
from collections.abc import Sequence as Many
from itertools import pairwise
from random import Random

import torch

from backends.local.engine.choosing import Drafting, settle
from backends.local.engine.fairness import OUTPUT_WEIGHT, Shares, in_turn, pushed_out
from backends.local.engine.headroom import free_bytes
from backends.local.engine.idle import IdleWork
from backends.local.engine.matcher import GrammarError, Grammars, Matcher
from backends.local.engine.runner import Runner
from backends.local.engine.scheduler import Chunk, Growth, Limits, plan
from backends.local.engine.sequence import Sequence
from backends.local.wire import Abort, Admitted, Broken, Event, Expired, Refused, Stats, Submit, Warm
from kvtier.cache import Erasing
from kvtier.survey import Survey

HELD_UP_S = 0.002  # between two looks at what the waiting wait for, when nothing else is to do
MEMORY_WAIT_S = 10.0  # for memory that others on the machine may give back
RESERVE_BYTES = 64 << 20  # not for slabs: what a forward needs on its way


class Engine:
    """Continuous batching over one runner."""

    def __init__(
        self,
        runner: Runner,
        limits: Limits,
        grammars: Grammars,
        *,
        context_tokens: int,
        vocab_size: int,
        eos_token_ids: frozenset[int],
        drafting: Drafting | None = None,
        idle_work: bool = True,
        clock: Callable[[], float] = time.monotonic,
        free_bytes: Callable[[], int | None] = free_bytes,  # of the machine
    ) -> None:
        self._runner = runner
        self._grammars = grammars
        self._limits = limits
        self._context_tokens = context_tokens
        self._vocab_size = vocab_size
        self._eos_token_ids = eos_token_ids
        self._drafting = drafting
        self._clock = clock
        self._free_bytes = free_bytes
        self._idle = IdleWork(runner, limits, context_tokens=context_tokens) if idle_work else None
        self._shares = Shares()
        self._arrivals = 0
        self._has_leftovers = False  # copies for slower tiers that wait for a quiet moment
        self._is_held_up = False  # the last step could do nothing for those who wait
        self._waiting: deque[Sequence] = deque()
        self._running: list[Sequence] = []
        self._steps = 0
        self._said: list[Event] = []  # by the step under way
        self._entering: Sequence | None = None  # who is being admitted
        self._prefill_tokens = self._decode_tokens = self._preemptions = self._aborts = self._expired = 0
        self._prefill_s = self._idle_s = 0.0

    @property
    def has_work(self) -> bool:
        return bool(self._waiting or self._running or (self._idle is not None and self._idle.has_work))

    @property
    def pause_s(self) -> float | None:
        """How long there is nothing to do but to wait for messages; None: until one comes."""
        if not self.has_work:
            return 0.0 if self._has_leftovers else None
        return HELD_UP_S if self._is_held_up else 0.0

    def close(self, timeout_s: float) -> None:
        """Write what is owed to slower tiers, as far as the time allows; what has not been published yet is."""
        self._runner.publish()
        self._runner.cache.close(timeout_s)

    def submit(self, request: Submit) -> list[Event]:
        """Queue a request; the events that answer it, or whom it pushes out of a full queue, at once."""
        if len(request.prompt) >= self._context_tokens:
            reason = f"the prompt has {len(request.prompt)} tokens; the engine's context is {self._context_tokens}"
            return [Refused(request.request, reason, is_hopeless=True)]
        if unknown := self._unknown([*request.prompt, *request.drafts]):
            return [Refused(request.request, unknown, is_hopeless=True)]
        most = self._limits.max_running + self._limits.max_waiting
        if request.n > most:
            return [Refused(request.request, f"n is {request.n}; the engine takes {most} at once", True, "n")]
        pushed = self._make_way(request)
        if pushed is None:
            return [Refused(request.request)]
        present = {sequence.owner for sequence in self._everyone}
        if request.owner not in present:
            self._shares.arrive(request.owner, present)
        self._waiting.extend(self._sequences(request))
        if self._idle is not None:
            self._idle.yield_slab()
            self._idle.drop_outdated(request.salt, request.prompt)
        return [Refused(gone, "the engine's queue is full, and others have less in it") for gone in pushed]

    def warm(self, warm: Warm) -> list[Event]:
        """Compute a prompt when nothing else is to do; the event that answers it at once, if it is not taken."""
        if self._idle is None:
            return [Refused(warm.request, "the engine does no idle work")] if warm.is_awaited else []
        if unknown := self._unknown(warm.prompt):
            return [Refused(warm.request, unknown, is_hopeless=True)] if warm.is_awaited else []
        return self._idle.add(warm, self._clock())

    def abort(self, abort: Abort) -> None:
        """Forget sequences at once: their slabs are free, full blocks they have published stay."""
        for sequence in self._everyone:
            if sequence.request == abort.request and abort.index in (None, sequence.index):
                self._aborts += not abort.keep_tail
                self._leave(sequence, keep_tail=abort.keep_tail)
        if self._idle is not None:
            self._idle.abort(abort.request)

    def step(self) -> list[Event]:
        """Do what the plan says; returns what happened."""
        events = self._said = []
        self._runner.publish()
        now_s = self._clock()
        events += self._expire(now_s)
        if not self._waiting and not self._running:
            return self._idle_step(now_s)
        todo = plan(
            in_turn(self._waiting, self._shares, now_s), self._running, self._limits, self._steps, self._spare_tokens()
        )
        self._steps += 1
        self._has_leftovers = True
        self._is_held_up = not self._running and not todo.admit
        if todo.short_of_memory is not None:
            self._runner.drop_spare()
        if self._is_held_up and todo.short_of_memory is not None:
            events += self._give_up_on_memory(todo.short_of_memory, now_s)
        for sequence in todo.preempt:
            self._preempt(sequence)
        for growth in todo.grow:
            self._runner.grow(growth.sequence, growth.capacity)
        for growth in todo.admit:
            events += self._admit(growth.sequence, growth.capacity)
        if todo.prefill or todo.decode:
            self._compute(todo.prefill, todo.decode)
        return events

    def _idle_step(self, now_s: float) -> list[Event]:
        """What may be done while there is no request: prompts ahead, and copies for slower tiers."""
        self._has_leftovers = self._runner.cache.idle()
        self._is_held_up = False
        if self._idle is not None:
            started = time.perf_counter()
            self._said += self._idle.step(now_s)
            self._idle_s += time.perf_counter() - started
            self._is_held_up = self._idle.is_held_up
        return self._said

    def shed(self, reason: str) -> list[Event]:
        """Give up the request that holds or wants the most memory: a step has failed for want of it."""
        if self._idle is not None:
            self._said += self._idle.clear(reason)
        self._runner.drop_spare()
        concerned = [*self._running, *((self._entering,) if self._entering is not None else ())] or list(self._waiting)
        self._entering = None
        if not concerned:
            return list(self._said)
        largest = max(concerned, key=lambda sequence: max(sequence.capacity, sequence.num_tokens))
        self.abort(Abort(largest.request))
        return [*self._said, Broken(largest.request, reason)]

    def clear(self) -> None:
        """Forget every kept prefix, and what was to be computed ahead; who is answered leaves none of it behind."""
        self._runner.clear()
        if self._idle is not None:
            self._idle.forget()

    def erase(self, owner: str) -> Erasing:
        """Forget what is kept for one owner; who is answered leaves none of it behind."""
        erasing = self._runner.erase(owner)
        if self._idle is not None:
            self._idle.forget()
        return erasing

    def survey(self, most_nodes: int) -> Survey:
        """Begin to find out which kept prefixes are shared most; it is driven beside the steps."""
        return self._runner.cache.survey(most_nodes)

    def stats(self) -> Stats:
        """A snapshot."""
        return Stats(
            running=len(self._running),
            waiting=len(self._waiting),
            slab_tokens=sum(each.capacity for each in self._running) + (self._idle.slab_tokens if self._idle else 0),
            slab_tokens_total=self._limits.slab_tokens,
            prefill_tokens=self._prefill_tokens,
            prefill_s=self._prefill_s,
            decode_tokens=self._decode_tokens,
            preemptions=self._preemptions,
            aborts=self._aborts,
            expired=self._expired,
            idle_tasks=self._idle.num_tasks if self._idle is not None else 0,
            idle_tokens=self._idle.num_tokens if self._idle is not None else 0,
            idle_s=self._idle_s,
            idle_dropped=self._idle.num_dropped if self._idle is not None else 0,
            drafts_accepted=self._drafting.accepted if self._drafting is not None else 0,
            drafts_rejected=self._drafting.rejected if self._drafting is not None else 0,
            kv=self._runner.cache.snapshot(),
        )

    def _sequences(self, request: Submit) -> list[Sequence]:
        """The choices of a request; one load from slower tiers is for all of them."""
        choices = [self._sequence(request, index) for index in range(request.n)]
        self._runner.publish()  # what was just loaded for somebody else need not be again
        self._runner.prefetch(choices[0])
        for choice in choices[1:]:
            choice.prefetched = choices[0].prefetched
        return choices

    def _sequence(self, request: Submit, index: int) -> Sequence:
        seed = request.sampling.seed
        cache = self._runner.cache
        chain = cache.chain(request.salt, request.owner) if request.use_kv and cache.blocks.total else None
        self._arrivals += 1
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
            guesser=self._drafting.guesser(request.drafts) if self._drafting is not None else None,
            owner=request.owner,
            priority=request.priority,
            arrival=self._arrivals,
            arrived_s=self._clock(),
            timeout_s=request.timeout_s,
            matcher=Matcher(self._grammars.start(request.grammar), self._vocab_size) if request.grammar else None,
        )

    def _unknown(self, token_ids: Many[int]) -> str:
        """What is wrong with tokens that are not all of the model: it would read memory that is not its own."""
        strangers = (each for each in (min(token_ids, default=0), max(token_ids, default=0)))
        stranger = next((each for each in strangers if not 0 <= each < self._vocab_size), None)
        return "" if stranger is None else f"token {stranger} is none of the model's {self._vocab_size}"

    @property
    def _everyone(self) -> list[Sequence]:
        return [*self._waiting, *self._running]

    def _make_way(self, request: Submit) -> list[int] | None:
        """The requests that leave a full queue for a new one; None when it is the one that has to go."""
        limits = self._limits
        num_over = len(self._waiting) + len(self._running) + request.n - limits.max_waiting - limits.max_running
        if num_over <= 0:
            return []
        begun = {sequence.request for sequence in self._everyone if sequence.was_admitted}
        fresh = [sequence for sequence in self._waiting if sequence.request not in begun]
        gone = pushed_out(fresh, request.owner, request.n, num_over)
        for sequence in [sequence for sequence in fresh if sequence.request in (gone or ())]:
            self._leave(sequence)
        return gone

    def _expire(self, now_s: float) -> list[Event]:
        """End the requests whose time is over, with all their choices."""
        overdue = {sequence.request: sequence for sequence in self._everyone if sequence.is_overdue(now_s)}
        events: list[Event] = []
        for request, sequence in overdue.items():
            choices = [each for each in self._everyone if each.request == request]
            for choice in choices:
                self._leave(choice)
            self._expired += 1
            said = sum(choice.num_tokens - choice.num_prompt for choice in choices)
            events.append(Expired(request, sequence.timeout_s or 0.0, said))
        return events

    def _spare_tokens(self) -> int | None:
        """Slab that the memory of the machine has room for, what is promised to slabs but not written yet aside."""
        if not self._waiting or len(self._running) >= self._limits.max_running:
            return None
        free = self._free_bytes()
        if free is None:
            return None
        promised = sum(sequence.capacity - sequence.num_computed for sequence in self._running)
        return max(0, (free - RESERVE_BYTES) // self._runner.cache.geometry.bytes_per_token - promised)

    def _give_up_on_memory(self, growth: Growth, now_s: float) -> list[Event]:
        """Refuse a request that has waited long for memory although nothing runs."""
        sequence = growth.sequence
        if now_s - sequence.arrived_s < MEMORY_WAIT_S:
            return []
        size = growth.capacity * self._runner.cache.geometry.bytes_per_token
        for choice in [each for each in self._everyone if each.request == sequence.request]:
            self._leave(choice)
        reason = f"{size >> 20} MiB for keys and values do not fit into the {(self._free_bytes() or 0) >> 20} MiB free"
        return [Refused(sequence.request, f"{reason} on the engine's machine")]

    def _admit(self, sequence: Sequence, capacity: int) -> list[Event]:
        is_first = not sequence.was_admitted
        self._entering = sequence
        started = time.perf_counter()
        self._runner.hydrate(sequence, capacity)  # may find no memory: then it is still waiting
        self._prefill_s += time.perf_counter() - started
        self._entering = None
        self._waiting.remove(sequence)
        self._running.append(sequence)
        if not is_first:
            return []
        num_cached = sequence.num_cached or 0
        self._shares.charge(sequence.owner, sequence.num_prompt - num_cached)
        return [Admitted(sequence.request, sequence.index, num_cached, dict(sequence.by_tier))]

    def _preempt(self, sequence: Sequence) -> None:
        self._preemptions += 1
        self._running.remove(sequence)
        self._runner.release(sequence)
        self._runner.prefetch(sequence)  # its blocks may go before it comes back
        self._waiting.appendleft(sequence)

    def _compute(self, prefill: Many[Chunk], decode: Many[Sequence]) -> None:
        """One forward over chunks of prompts, the last token of those who decode, and the drafts behind it.

        Memory may end at any row: those before it have said their tokens, those behind it are computed again.
        """
        started = time.perf_counter()
        drafts = self._drafting.propose(decode) if self._drafting is not None else [()] * len(decode)
        drafted = [Chunk(s, s.num_computed, s.num_tokens, own) for s, own in zip(decode, drafts, strict=True)]
        chunks = [*prefill, *drafted]
        rows = torch.split(self._runner.compute(chunks), [chunk.num_logits for chunk in chunks])
        took_s = time.perf_counter() - started
        if len(prefill) == 1 and not decode:  # what it costs to compute, against what it costs to load
            chunk = prefill[0]
            self._runner.cache.observe_compute(chunk.start, chunk.stop - chunk.start, took_s)
        num_prompt = sum(max(0, min(c.stop, c.sequence.num_prompt) - c.start) for c in chunks)
        self._prefill_tokens += num_prompt
        self._prefill_s += took_s * num_prompt / sum(c.stop - c.start + len(c.drafts) for c in chunks)
        ends = [len(self._said)]  # of what each chunk says
        try:
            for chunk, own in zip(chunks, rows, strict=True):
                self._settle(chunk, own)
                ends.append(len(self._said))
        finally:
            for sequence in [each for each in self._running if each.is_finished]:
                self._leave(sequence, keep_tail=True)
        if self._drafting is not None and decode:
            said = [self._said[start:end] for start, end in pairwise(ends)]
            self._drafting.note(drafts, said[len(prefill) :], is_alone=not prefill)

    def _settle(self, chunk: Chunk, logits: torch.Tensor) -> None:
        """Say the tokens that follow a chunk; drafts that hold are computed already."""
        sequence, before = chunk.sequence, len(self._said)
        if sequence not in self._running:  # another choice of its request has just broken
            return
        if chunk.stop < sequence.num_tokens:  # more of its prompt is to come
            sequence.num_computed = chunk.stop
            return
        try:
            settle(sequence, chunk.drafts, logits, self._said)
        except GrammarError as exc:
            self.abort(Abort(sequence.request))
            self._said.append(Broken(sequence.request, str(exc)))
            return
        num_said = len(self._said) - before
        sequence.num_computed = chunk.stop + num_said - 1
        self._decode_tokens += num_said
        self._shares.charge(sequence.owner, OUTPUT_WEIGHT * num_said)

    def _leave(self, sequence: Sequence, *, keep_tail: bool = False) -> None:
        if sequence in self._running:
            self._running.remove(sequence)
            self._runner.release(sequence, keep_tail=keep_tail)
        else:
            self._waiting.remove(sequence)
            self._runner.release(sequence)  # it may have a slab when memory ended during its admission
