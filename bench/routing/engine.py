"""An engine as a clock and an account of blocks: what a request waits for, and what it finds.

Modelled on vLLM's scheduler: first come, first served; prompts are read in chunks that share a step's token budget with
one row of everybody who decodes; a step takes as long as its products (never less than one pass over the weights),
its attention and the keys and values it reads. Prefixes are kept by block, least recently used out first, far end
first; a block can be found once the step that read it has ended. A request waits until its prompt and answer have room.
What is not modelled: preemption (room for the answer is taken at admission) and the host's own overhead beyond a
constant.
"""

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from math import ceil


@dataclass(frozen=True, slots=True)
class Hardware:
    """Llama-3.1-8B in bfloat16 on one 80 GB accelerator of 400 useful TFLOP/s and 2.7 TB/s."""

    kv_tokens: int = 410_000  # (72 - 16 - 2) GB over 128 KiB a token
    token_s: float = 15e9 / 400e12  # products of one token
    look_s: float = 4 * 32 * 32 * 128 / 400e12  # one token's attention to one other
    weights_s: float = 16e9 / 2.7e12  # one pass over the weights
    row_s: float = 131_072 / 2.7e12  # keys and values of one token, read for one step
    step_s: float = 0.001
    step_tokens: int = 2048
    most_running: int = 256


class Job:
    """One request inside an engine."""

    __slots__ = (
        "answer_blocks", "arrived", "blocks", "cached_tokens", "finished", "first",
        "num_answer", "num_tokens", "number", "read", "registered", "room",
    )  # fmt: skip

    def __init__(
        self, number: int, arrived: float, blocks: Sequence[int], num_tokens: int, num_answer: int,
        answer_blocks: Sequence[int] = (),
    ) -> None:  # fmt: skip
        self.number = number
        self.arrived = arrived
        self.blocks = blocks
        self.num_tokens = num_tokens
        self.num_answer = max(1, num_answer)
        self.answer_blocks = answer_blocks  # full blocks that decoding leaves behind, where the workload names them
        self.cached_tokens = 0
        self.read = 0  # tokens in the cache or read
        self.registered = 0  # blocks that can be found
        self.room = 0  # blocks taken at admission and named by nothing yet
        self.first = self.finished = 0.0


Event = tuple[float, int, bool, Job]  # when, a tie-break, whether it is the end (else the first token), whose


class Engine:
    """One replica. `advance` moves its clock; what happened is appended to `events`."""

    def __init__(self, hardware: Hardware, block_tokens: int) -> None:
        self.hardware, self.block_tokens = hardware, block_tokens
        self.now = 0.0
        self.busy_s = 0.0
        self.waiting: deque[Job] = deque()
        self._reading: list[Job] = []
        self._decoding: list[tuple[int, int, Job]] = []  # by the step at which they end
        self._step = 0
        self._context = 0  # tokens that decoding requests look back on, in all
        self._refs: dict[int, int] = {}  # block -> requests that use it; 0: only kept
        self._kept: OrderedDict[int, None] = OrderedDict()  # blocks that nobody uses, next to go first
        self._free = hardware.kv_tokens // block_tokens

    @property
    def num_running(self) -> int:
        return len(self._reading) + len(self._decoding)

    def restart(self) -> None:
        """Lose every block that nobody uses (a crash would lose the rest with the requests; these are let finish)."""
        for block in self._kept:
            del self._refs[block]
        self._free += len(self._kept)
        self._kept.clear()

    def advance(self, until: float, events: list[Event]) -> None:
        """Work until a moment; a step that has begun before it is ended."""
        while self.now < until:
            if self.waiting:
                self._admit()
            began = self.now
            if self._reading:
                self._read(events)
            elif self._decoding:
                self._decode(until, events)
            else:
                self.now = until
                return
            self.busy_s += self.now - began

    def _admit(self) -> None:
        refs, kept = self._refs, self._kept
        while self.waiting and self.num_running < self.hardware.most_running:
            job = self.waiting[0]
            found = 0
            for block in job.blocks:
                if block not in refs:
                    break
                found += 1
            total = ceil((job.num_tokens + job.num_answer) / self.block_tokens)
            need = max(total, len(job.blocks)) - found
            idle = sum(1 for block in job.blocks[:found] if not refs[block])
            if need > self._free + len(kept) - idle:
                return
            self.waiting.popleft()
            for block in job.blocks[:found]:
                if not refs[block]:
                    del kept[block]
                refs[block] += 1
            while self._free < need:
                block, _ = kept.popitem(last=False)
                del refs[block]
                self._free += 1
            self._free -= need
            job.room, job.registered = need, found
            job.cached_tokens = min(found * self.block_tokens, job.num_tokens)
            job.read = min(job.cached_tokens, job.num_tokens - 1)  # the last token is read for its logits
            self._reading.append(job)

    def _read(self, events: list[Event]) -> None:
        """One step: a row of everybody who decodes, and chunks of prompts."""
        hardware = self.hardware
        budget = left = max(1, hardware.step_tokens - len(self._decoding))
        looks = 0.0
        ended = 0
        for job in self._reading:
            chunk = min(left, job.num_tokens - job.read)
            looks += chunk * (job.read + chunk / 2)
            job.read += chunk
            left -= chunk
            ended += job.read == job.num_tokens
            if not left:
                break
        rows = len(self._decoding)
        products = max(hardware.weights_s, (budget - left + rows) * hardware.token_s)
        self.now += hardware.step_s + products + looks * hardware.look_s + self._context * hardware.row_s
        self._step += 1
        self._context += rows
        for job in self._reading[: ended + 1]:
            self._register(job)
        for job in self._reading[:ended]:
            job.first = self.now
            events.append((self.now, job.number, False, job))
            heappush(self._decoding, (self._step + job.num_answer - 1, job.number, job))
            self._context += job.num_tokens
        del self._reading[:ended]
        self._end(events)

    def _decode(self, until: float, events: list[Event]) -> None:
        """Steps without a prompt, as many at once as nothing changes in."""
        hardware, rows = self.hardware, len(self._decoding)
        each = hardware.step_s + max(hardware.weights_s, rows * hardware.token_s) + self._context * hardware.row_s
        steps = max(1, min(self._decoding[0][0] - self._step, ceil((until - self.now) / each)))
        self.now += steps * each + rows * hardware.row_s * steps * (steps - 1) / 2
        self._step += steps
        self._context += rows * steps
        self._end(events)

    def _register(self, job: Job) -> None:
        """What has been read can be found."""
        refs = self._refs
        full = len(job.blocks) if job.read == job.num_tokens else job.read // self.block_tokens
        for block in job.blocks[job.registered : full]:
            if block in refs:  # another request has read the same meanwhile: one copy goes
                if not refs[block]:
                    del self._kept[block]
                refs[block] += 1
                self._free += 1
            else:
                refs[block] = 1
            job.room -= 1
        job.registered = max(job.registered, full)

    def _end(self, events: list[Event]) -> None:
        refs, kept = self._refs, self._kept
        while self._decoding and self._decoding[0][0] <= self._step:
            _, _, job = heappop(self._decoding)
            job.finished = self.now
            events.append((self.now, job.number, True, job))
            self._context -= job.num_tokens + job.num_answer - 1
            for block in reversed(job.answer_blocks):
                if block not in refs and job.room:
                    refs[block] = 0
                    kept[block] = None
                    job.room -= 1
            self._free += job.room
            for block in reversed(job.blocks):
                refs[block] -= 1
                if not refs[block]:
                    kept[block] = None
