"""What the engine does next: a pure function of who waits and who runs. No tensors, no clock, nothing is changed here.

Per step: slabs that are too small grow, waiting sequences are admitted, one prefill chunk and one decode row of every
running sequence are computed. The rules:

- Admission is first come, first served, except that a sequence whose next block is being computed by another one waits
  for it (prefix single-flight) and lets others pass. It waits for running sequences only, so it cannot wait for ever.
- Chunks end at absolute multiples of the chunk size, so shapes do not depend on who else is there.
- Every second chunk goes to the oldest prompt, the others to the one nearest its end: a long prompt cannot starve, and
  a short one does not queue behind it.
- Memory is counted in tokens of slab. When a slab cannot grow, the youngest sequence gives its own back and waits in
  front; the oldest always fits alone, so something always moves.
"""

from collections.abc import Iterable
from collections.abc import Sequence as Many
from dataclasses import dataclass

from backends.local.sequence import Sequence

FIRST_ROOM = 256  # tokens a slab has room for beyond the known ones


@dataclass(frozen=True, slots=True)
class Limits:
    """What may be used at once."""

    max_running: int
    max_waiting: int
    chunk_tokens: int
    slab_tokens: int  # of all slabs together; at least one context
    block_tokens: int = 32


@dataclass(frozen=True, slots=True)
class Growth:
    """A slab that must hold more tokens."""

    sequence: Sequence
    capacity: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """Tokens [start, stop) of one sequence, and drafts of the tokens after them."""

    sequence: Sequence
    start: int
    stop: int
    drafts: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class StepPlan:
    """One step, in the order of its fields. What is admitted now is computed from the next step on."""

    preempt: tuple[Sequence, ...] = ()
    grow: tuple[Growth, ...] = ()
    admit: tuple[Growth, ...] = ()
    prefill: Chunk | None = None
    decode: tuple[Sequence, ...] = ()


def plan(waiting: Iterable[Sequence], running: Many[Sequence], limits: Limits, step: int) -> StepPlan:
    """Decide one step; `waiting` and `running` are in order of arrival, `step` counts the steps."""
    grow, preempt, free = _make_room(running, limits)
    staying = [sequence for sequence in running if sequence not in preempt]
    admit = () if preempt else _admit(waiting, staying, limits, free)
    return StepPlan(
        preempt=tuple(preempt),
        grow=tuple(grow),
        admit=admit,
        prefill=_prefill(staying, limits.chunk_tokens, step),
        decode=tuple(sequence for sequence in staying if sequence.num_left == 1),
    )


def _make_room(running: Many[Sequence], limits: Limits) -> tuple[list[Growth], list[Sequence], int]:
    """Slabs to grow, sequences that give theirs up, and the tokens left."""
    free = limits.slab_tokens - sum(sequence.capacity for sequence in running)
    staying = list(running)
    grow: list[Growth] = []
    preempt: list[Sequence] = []
    for sequence in running:
        if sequence in preempt or sequence.num_tokens <= sequence.capacity:
            continue
        capacity = min(sequence.max_total, sequence.num_tokens + sequence.num_tokens // 2)
        while free < capacity - sequence.capacity and sequence in staying:
            youngest = staying.pop()
            preempt.append(youngest)
            free += youngest.capacity
        if sequence in staying:
            grow.append(Growth(sequence, capacity))
            free -= capacity - sequence.capacity
    return grow, preempt, free


def _admit(waiting: Iterable[Sequence], running: Many[Sequence], limits: Limits, free: int) -> tuple[Growth, ...]:
    admitted: list[Growth] = []
    computing = [sequence for sequence in running if sequence.num_left > 1]
    for sequence in waiting:
        if len(running) + len(admitted) >= limits.max_running:
            break
        if is_computed_elsewhere(sequence, computing, limits.block_tokens):
            continue
        capacity = min(sequence.max_total, sequence.num_tokens + FIRST_ROOM)
        if capacity > free:
            break
        admitted.append(Growth(sequence, capacity))
        computing.append(sequence)
        free -= capacity
    return tuple(admitted)


def is_computed_elsewhere(sequence: Sequence, computing: Iterable[Sequence], block_tokens: int) -> bool:
    """Whether one of `computing` publishes, as its next block, one of `sequence` too: equal keys are equal prefixes."""
    for other in computing:
        block = other.num_computed // block_tokens
        is_shared = block < min(len(sequence.keys), len(other.keys)) and sequence.keys[block] == other.keys[block]
        if is_shared and other.publishes:
            return True
    return False


def _prefill(running: Many[Sequence], chunk_tokens: int, step: int) -> Chunk | None:
    prompts = [sequence for sequence in running if sequence.num_left > 1]
    if not prompts:
        return None
    sequence = prompts[0] if step % 2 == 0 else min(prompts, key=lambda each: each.num_left)
    start = sequence.num_computed
    border = (start // chunk_tokens + 1) * chunk_tokens
    return Chunk(sequence, start, min(sequence.num_tokens, border))
