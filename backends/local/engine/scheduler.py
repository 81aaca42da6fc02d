"""What the engine does next: a pure function of who waits and who runs. No tensors, no clock, nothing is changed here.

Per step: slabs that are too small grow, waiting sequences are admitted, chunks of prompts and one decode row of every
running sequence are computed. The rules:

- Admission goes by turns (`fairness`), except that a sequence whose next block is being computed by another one waits
  for it (prefix single-flight), and one whose prefix is being fetched from a slower tier waits for that; both let
  others pass. They wait for what runs or is under way only, so they cannot wait for ever.
- One long prompt is in the works per step. Its chunk is doubled while nobody decodes, and halved while somebody does:
  that bounds the time between tokens. Every second chunk goes to the oldest prompt, the others to the one nearest its
  end: a long prompt cannot starve, and a short one does not queue behind it. What is left of the chunk is filled with
  whole short prompts.
- In exact mode a chunk ends at absolute multiples of the chunk size and holds one prompt, so shapes do not depend on
  who else is there; what was decoded before a preemption is computed again row by row, as it was the first time.
- Memory is counted in tokens of slab. When a slab cannot grow, the least of those running by priority and age gives its
  own back and waits in front; the first of them always fits alone, so something always moves.
"""

from collections.abc import Iterable
from collections.abc import Sequence as Many
from dataclasses import dataclass

from backends.local.engine.sequence import Sequence

FIRST_ROOM = 256  # tokens a slab has room for beyond the known ones


@dataclass(frozen=True, slots=True)
class Limits:
    """What may be used at once."""

    max_running: int
    max_waiting: int
    chunk_tokens: int
    slab_tokens: int  # of all slabs together; at least one context
    block_tokens: int = 32
    is_exact: bool = False

    @property
    def busy_chunk_tokens(self) -> int:
        """The chunk while others decode."""
        return self.chunk_tokens if self.is_exact else max(self.block_tokens, self.chunk_tokens // 2)

    @property
    def quiet_chunk_tokens(self) -> int:
        """The chunk while nobody does: fewer and larger forwards."""
        return self.chunk_tokens if self.is_exact else self.chunk_tokens * 2


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

    @property
    def num_logits(self) -> int:
        """Logits wanted: after the last known token and after each draft; none where more of the prompt follows."""
        return 1 + len(self.drafts) if self.stop == self.sequence.num_tokens else 0


@dataclass(frozen=True, slots=True)
class StepPlan:
    """One step, in the order of its fields. What is admitted now is computed from the next step on."""

    preempt: tuple[Sequence, ...] = ()
    grow: tuple[Growth, ...] = ()
    admit: tuple[Growth, ...] = ()
    prefill: tuple[Chunk, ...] = ()
    decode: tuple[Sequence, ...] = ()
    short_of_memory: Growth | None = None  # what is not admitted because the machine has no room for its slab


def plan(
    waiting: Iterable[Sequence], running: Many[Sequence], limits: Limits, step: int, spare_tokens: int | None = None
) -> StepPlan:
    """Decide one step. `waiting` is in the order of their turns, `running` in that of admission; `step` counts steps.

    `spare_tokens` is how much slab the memory of the machine has room for now; None: as much as the limits say.
    """
    grow, preempt, free = _make_room(running, limits)
    staying = [sequence for sequence in running if sequence not in preempt]
    admit, short = ((), None) if preempt else _admit(waiting, staying, limits, free, spare_tokens)
    decode = tuple(sequence for sequence in staying if sequence.num_left == 1)
    return StepPlan(
        preempt=tuple(preempt),
        grow=tuple(grow),
        admit=admit,
        prefill=_prefill(staying, limits, step, is_busy=bool(decode)),
        decode=decode,
        short_of_memory=short,
    )


def _make_room(running: Many[Sequence], limits: Limits) -> tuple[list[Growth], list[Sequence], int]:
    """Slabs to grow, sequences that give theirs up, and the tokens left."""
    free = limits.slab_tokens - sum(sequence.capacity for sequence in running)
    staying = sorted(running, key=lambda sequence: (sequence.priority, sequence.arrival))
    grow: list[Growth] = []
    preempt: list[Sequence] = []
    for sequence in list(staying):
        if sequence in preempt or sequence.num_tokens <= sequence.capacity:
            continue
        capacity = min(sequence.max_total, sequence.num_tokens + sequence.num_tokens // 2)
        while free < capacity - sequence.capacity and sequence in staying:
            last = staying.pop()
            preempt.append(last)
            free += last.capacity
        if sequence in staying:
            grow.append(Growth(sequence, capacity))
            free -= capacity - sequence.capacity
    return grow, preempt, free


def _admit(
    waiting: Iterable[Sequence], running: Many[Sequence], limits: Limits, free: int, spare: int | None
) -> tuple[tuple[Growth, ...], Growth | None]:
    """Who gets a slab, and who would but for the memory of the machine."""
    admitted: list[Growth] = []
    computing = [sequence for sequence in running if sequence.num_left > 1]
    for sequence in waiting:
        if len(running) + len(admitted) >= limits.max_running:
            break
        if not (sequence.is_fetched and sequence.has_grammar) or is_computed_elsewhere(
            sequence, computing, limits.block_tokens
        ):
            continue
        growth = Growth(sequence, min(sequence.max_total, sequence.num_tokens + FIRST_ROOM))
        if growth.capacity > free:
            break
        if spare is not None and growth.capacity > spare:
            return tuple(admitted), growth
        admitted.append(growth)
        computing.append(sequence)
        free -= growth.capacity
        spare = spare if spare is None else spare - growth.capacity
    return tuple(admitted), None


def is_computed_elsewhere(sequence: Sequence, computing: Iterable[Sequence], block_tokens: int) -> bool:
    """Whether one of `computing` publishes, as its next block, one of `sequence` too: equal keys are equal prefixes."""
    for other in computing:
        block = other.num_computed // block_tokens
        is_shared = block < min(len(sequence.keys), len(other.keys)) and sequence.keys[block] == other.keys[block]
        if is_shared and other.publishes:
            return True
    return False


def _prefill(running: Many[Sequence], limits: Limits, step: int, *, is_busy: bool) -> tuple[Chunk, ...]:
    prompts = [sequence for sequence in running if sequence.num_left > 1]
    if not prompts:
        return ()
    size = limits.busy_chunk_tokens if is_busy else limits.quiet_chunk_tokens
    first = prompts[0] if step % 2 == 0 else min(prompts, key=lambda each: each.num_left)
    chunk = next_chunk(first, size, is_exact=limits.is_exact)
    return (chunk,) if limits.is_exact else (chunk, *_riders(prompts, chunk, size))


def next_chunk(sequence: Sequence, size: int, *, is_exact: bool) -> Chunk:
    """The next `size` rows of a sequence, or up to a quarter more where they are the last.

    In exact mode up to a multiple of `size`.
    """
    start = sequence.num_computed
    if not is_exact:  # a forward of few rows takes nearly as long as one of many
        return Chunk(sequence, start, start + (sequence.num_left if sequence.num_left <= size + size // 4 else size))
    stop = min(sequence.num_tokens, (start // size + 1) * size)
    return Chunk(sequence, start, min(stop, sequence.num_prompt) if start < sequence.num_prompt else start + 1)


def _riders(prompts: Iterable[Sequence], chunk: Chunk, size: int) -> Iterable[Chunk]:
    """Short prompts that fit into a forward whole: few rows cost nearly as much as many."""
    left = size - (chunk.stop - chunk.start)
    for sequence in sorted(prompts, key=lambda each: each.num_left):
        if sequence is not chunk.sequence and sequence.num_left <= left:
            left -= sequence.num_left
            yield Chunk(sequence, sequence.num_computed, sequence.num_tokens)
