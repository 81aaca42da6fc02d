"""The last prompts of every tenant and model, and what was found where they part. Bounded in all it holds.

A prompt is compared with the earlier one that shares most with it: a neighbour in sorted order; and with the few that
came right before, which are of the same conversation when a nonce stands before everything else. Nothing of it is in
the way of an answer: `saw` puts a request in a line, and the line is worked off between other work of the loop.
"""

import asyncio
import time
from bisect import bisect_left, insort
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from operator import itemgetter

from backends.chat import ChatRequest
from gateway.metrics import Sample
from gateway.prefixes.kinds import Spot, spots_of, words_at
from gateway.prefixes.parting import Parting, partings, shared
from gateway.prefixes.prompt import WALL, Prompt, prompt_of, tokens_in

PROMPTS = 32  # of one tenant and model that are held
LATEST = 3  # of them, beside the neighbours, that a prompt is compared with
FINDINGS = 64  # of one tenant and model
SKETCHES = 1000
MIN_LOST_TOKENS = 64  # less is no finding: engines reuse whole blocks
WAITING = 256  # requests in the line
TURN_S = 0.0005  # of the loop, at once: at most a twentieth of it, and what is too much goes unseen
PAUSE_S = 0.01

Sees = tuple[str, str]  # tenant, model


@dataclass(slots=True)
class Finding:
    """One place in which prompts part, time and again."""

    message: int
    role: str
    kind: str
    char: int  # in its message
    token: int  # in the prompt
    count: int = 0
    lost_tokens: int = 0
    last_s: float = 0.0
    words: tuple[str, str, str] | None = None  # before it, here, in the earlier prompt


@dataclass(slots=True)
class Sketch:
    """What is known of the prompts of one tenant and model."""

    since_s: float
    last_s: float
    prompts: int = 0
    tokens: int = 0
    shared_tokens: int = 0  # with an earlier prompt, from the start
    lost_tokens: int = 0
    same_otherwise: int = 0  # prompts that were an earlier one but for what was found
    findings: dict[bytes, Finding] = field(default_factory=dict)
    ordered: list[bytes] = field(default_factory=list)
    arrived: deque[bytes] = field(default_factory=deque)
    size_bytes: int = 0


class PrefixWatch:
    """Belongs to one event loop; without one, `look` is called directly."""

    def __init__(self, budget_bytes: int, *, keeps_words: bool = False, clock: Callable[[], float] = time.time) -> None:
        self.sketches: OrderedDict[Sees, Sketch] = OrderedDict()  # the least lately used first
        self.unseen = 0
        self.size_bytes = 0
        self._budget_bytes = budget_bytes
        self._keeps_words = keeps_words
        self._clock = clock
        self._line: deque[tuple[ChatRequest, float]] = deque()
        self._is_called = False

    def saw(self, request: ChatRequest) -> None:
        """Note a request that goes to a backend: it will be looked at when there is time."""
        if not self._budget_bytes:
            return
        if len(self._line) >= WAITING:
            self.unseen += 1
            return
        self._line.append((request, self._clock()))
        if not self._is_called:
            self._is_called = True
            asyncio.get_running_loop().call_later(PAUSE_S, self._work)

    def settle(self) -> None:
        """Look at everything that waits, now."""
        while self._line:
            self.look(*self._line.popleft())

    def count(self, tenant: str) -> int:
        """How many prompts of a tenant are held."""
        return sum(len(sketch.arrived) for sees, sketch in self.sketches.items() if sees[0] == tenant)

    def forget(self, tenant: str) -> int:
        """Forget the prompts of a tenant and what was found in them; how many prompts those were."""
        count = self.count(tenant)
        self._line = deque(item for item in self._line if item[0].owner != tenant)
        for sees in [sees for sees in self.sketches if sees[0] == tenant]:
            self.size_bytes -= self.sketches.pop(sees).size_bytes
        return count

    def samples(self) -> Iterator[Sample]:
        """What was found, for Prometheus."""
        totals = {"seen": 0, "shared": 0, "lost": 0}
        for sketch in self.sketches.values():
            totals["seen"] += sketch.tokens
            totals["shared"] += sketch.shared_tokens
            totals["lost"] += sketch.lost_tokens
        for outcome, count in totals.items():
            help_ = (
                "Tokens of prompts sent to backends, about: in all, shared with an earlier one, lost to a difference"
            )
            yield Sample("twicetold_prefix_tokens", help_, count, (("outcome", outcome),))
        yield Sample("twicetold_prefix_unseen", "Prompts that were not compared", self.unseen, is_total=True)
        yield Sample("twicetold_prefix_bytes", "What held prompts weigh", self.size_bytes)

    def look(self, request: ChatRequest, at_s: float) -> None:
        """Compare a request with the ones before it."""
        sees = (request.owner, request.model)
        sketch = self.sketches.get(sees)
        if sketch is None:
            sketch = self.sketches[sees] = Sketch(at_s, at_s)
        self.sketches.move_to_end(sees)
        prompt = prompt_of(request)
        sketch.since_s = sketch.since_s or at_s  # a line of a log may tell no time
        sketch.prompts += 1
        sketch.last_s = max(sketch.last_s, at_s)
        sketch.tokens += tokens_in(len(prompt.text) - WALL)
        self._compare(sketch, prompt, at_s)
        self._hold(sketch, prompt.text)

    def _work(self) -> None:
        self._is_called = False
        end = time.perf_counter() + TURN_S
        while self._line and time.perf_counter() < end:
            self.look(*self._line.popleft())
        if self._line:
            self._is_called = True
            asyncio.get_running_loop().call_later(PAUSE_S, self._work)

    def _compare(self, sketch: Sketch, prompt: Prompt, at_s: float) -> None:
        new, ordered = prompt.text, sketch.ordered
        place = bisect_left(ordered, new)
        neighbours = ordered[max(0, place - 1) : place + 1]
        reaches = [shared(new, earlier) for earlier in neighbours]
        best = max(reaches, default=0)
        sketch.shared_tokens += tokens_in(max(0, best - WALL))
        if best < WALL or best == len(new) or any(map(_goes_on, neighbours, reaches)):
            return  # nobody to share with, the same again, or the next turn: nothing is lost
        latest = [one for one in list(sketch.arrived)[-LATEST:] if one not in neighbours]
        pairs = [*zip(neighbours, reaches, strict=True), *((one, shared(new, one)) for one in latest)]
        gains = [
            (_gain(found) - best, found, one)
            for one, reach in pairs
            if reach >= WALL and (found := _telling(one, new, reach))
        ]
        gain, found, earlier = max(gains, key=itemgetter(0), default=(0, [], b""))
        if tokens_in(gain) >= MIN_LOST_TOKENS:
            sketch.lost_tokens += tokens_in(gain)
            for number, one in enumerate(found):
                behind = tokens_in(sum(later.run for later in found[number:]))
                self._note(sketch, prompt, one, earlier, behind, at_s)
            last = found[-1]
            if last.end + last.run == len(new) and last.earlier_end + last.run == len(earlier):
                sketch.same_otherwise += 1

    def _note(
        self, sketch: Sketch, prompt: Prompt, found: Parting, earlier: bytes, lost_tokens: int, at_s: float
    ) -> None:
        number, role, start, end = prompt.place(found.start)
        head = start if number < 0 else start + len(role) + 1
        there = earlier[found.earlier_start : found.earlier_end].decode("utf-8", "ignore")
        first, last = max(0, found.start - head), max(0, found.end - head)
        for spot in spots_of(prompt.text[head:end], first, last, role, there):
            finding = self._finding(sketch, spot, number, role, tokens_in(head + spot.at_byte - WALL))
            finding.count += 1
            finding.lost_tokens += lost_tokens
            finding.last_s = at_s
            if self._keeps_words and spot.words is not None:
                finding.words = spot.words
            elif self._keeps_words:
                was = words_at(earlier, found.earlier_start, found.earlier_end)
                finding.words = (*words_at(prompt.text, found.start, found.end), was[1])

    def _finding(self, sketch: Sketch, spot: Spot, number: int, role: str, token: int) -> Finding:
        name = f"{number} {role} {spot.kind} {spot.name}".encode("utf-8", "surrogatepass")
        key = blake2b(name, digest_size=16).digest()
        finding = sketch.findings.get(key)
        if finding is None:
            if len(sketch.findings) >= FINDINGS:
                del sketch.findings[min(sketch.findings, key=lambda one: sketch.findings[one].lost_tokens)]
            finding = sketch.findings[key] = Finding(number, role, spot.kind, spot.at, token)
        return finding

    def _hold(self, sketch: Sketch, text: bytes) -> None:
        insort(sketch.ordered, text)
        sketch.arrived.append(text)
        sketch.size_bytes += len(text)
        self.size_bytes += len(text)
        while len(sketch.arrived) > PROMPTS:
            self._drop(sketch)
        while self.size_bytes > self._budget_bytes:
            self._drop(next(one for one in self.sketches.values() if one.arrived))
        while len(self.sketches) > SKETCHES:
            _, gone = self.sketches.popitem(last=False)
            self.size_bytes -= gone.size_bytes

    def _drop(self, sketch: Sketch) -> None:
        text = sketch.arrived.popleft()
        del sketch.ordered[bisect_left(sketch.ordered, text)]
        sketch.size_bytes -= len(text)
        self.size_bytes -= len(text)


def _goes_on(earlier: bytes, reach: int) -> bool:
    return reach == len(earlier)


def _telling(earlier: bytes, new: bytes, start: int) -> list[Parting]:
    """The differences of two prompts, up to the last behind which enough is the same."""
    found = partings(earlier, new, start)
    while found and tokens_in(found[-1].run) < MIN_LOST_TOKENS:
        found.pop()
    return found


def _gain(found: list[Parting]) -> int:
    """How many bytes would be shared were none of the differences there."""
    return found[0].start + sum(one.run for one in found)
